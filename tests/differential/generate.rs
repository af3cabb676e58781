//! Programs out of random numbers.
//!
//! Few names and a memory of those in use make it likely that operations meet: on a file that was
//! removed, renamed, copied up or is open elsewhere.

use fastrand::Rng;
use rustix::fs::{FallocateFlags, OFlags, RenameFlags};

use super::act::{MAP_SLOTS, SLOTS};
use super::layers::{Entry, LAYER_TIME, What};
use super::program::{ACTORS, AclKind, Base, Lock, MapKind, NodeKind, Op, Program, Step, Whence};
use super::text::{Acl, Bytes, Flags, MapSlot, Object, Octal, Path, Slot, Time};

const NAMES: &[&str] = &["a", "b", "c", "d", "e", "f"];

/// The programs of a seed.
pub fn program(seed: u64, options: &str, steps: usize) -> Program {
    let mut generator = Generator {
        rng: Rng::with_seed(seed),
        base: Base::Memory,
        linked: false,
        known: vec![b"/".to_vec()],
        lowers: 1,
        entries: Vec::new(),
        actor: 0,
        open: Default::default(),
        mapped: false,
    };
    if generator.chance(12) {
        generator.base = Base::Disk;
    }
    generator.linked = generator.chance(25);
    generator.layers();
    let mut program = Program {
        options: options.to_owned(),
        base: generator.base,
        lowers: generator.lowers,
        entries: std::mem::take(&mut generator.entries),
        steps: Vec::new(),
    };
    while program.steps.len() < steps {
        let step = generator.step();
        // The numbers that names of one lower file are listed with are pending.
        let lists = matches!(step.op, Op::List { .. } | Op::ListTwice { .. });
        let pending = generator.linked && lists && !super::known::pending_counts();
        if !pending && !super::known::is_pending(&step) {
            program.steps.push(step);
        }
    }
    program
}

struct Generator {
    rng: Rng,
    base: Base,
    /// Whether lower layers have hard links.
    linked: bool,
    /// Paths that have been there at some time.
    known: Vec<Vec<u8>>,
    lowers: u8,
    entries: Vec<Entry>,
    actor: u8,
    /// The slots of each actor that have been opened.
    open: [Vec<u8>; ACTORS.len()],
    mapped: bool,
}

impl Generator {
    fn one<'v, T>(&mut self, values: &'v [T]) -> &'v T {
        &values[self.rng.usize(..values.len())]
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(..100) < percent
    }

    fn name(&mut self) -> Vec<u8> {
        match self.rng.u32(..60) {
            0 => vec![b'n'; 255],
            1 => b"\xff\xfe".to_vec(),
            2 => b".wh.a".to_vec(),
            3 => b"with space".to_vec(),
            _ => self.one(NAMES).as_bytes().to_vec(),
        }
    }

    fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
        match parent {
            b"/" => name.to_vec(),
            _ => [parent, b"/", name].concat(),
        }
    }

    fn layers(&mut self) {
        self.lowers = match self.rng.u32(..20) {
            0 => 20,
            1..=8 => 1,
            9..=13 => 2,
            _ => self.rng.u8(3..=6),
        };
        // From the bottom, so that whiteouts and what replaces something come after it.
        for number in (0..self.lowers).rev() {
            let count = match self.lowers {
                20 => self.rng.usize(0..3),
                _ => self.rng.usize(1..14),
            };
            self.layer(Some(number), count);
        }
        if self.chance(60) {
            let count = self.rng.usize(0..10);
            self.layer(None, count);
        }
        self.known.sort();
        self.known.dedup();
    }

    fn layer(&mut self, layer: Option<u8>, count: usize) {
        let (mode, uid) = (*self.one(&[0o777, 0o755, 0o1777]), *self.one(&[0, 0, 1000]));
        self.put(layer, b"/".to_vec(), What::Dir, mode, uid);
        for _ in 0..count {
            let path = match self.chance(60) {
                true => self.one_known(),
                false => {
                    let parent = self.one_known();
                    let name = self.name();
                    Self::join(&parent, &name)
                }
            };
            if path.iter().filter(|byte| **byte == b'/').count() < 4 {
                self.put_with_parents(layer, &path);
            }
        }
    }

    fn one_known(&mut self) -> Vec<u8> {
        self.known[self.rng.usize(..self.known.len())].clone()
    }

    fn in_layer(&self, layer: Option<u8>, path: &[u8]) -> Option<&Entry> {
        let mut entries = self.entries.iter();
        entries.find(|entry| entry.layer == layer && entry.path.0 == path)
    }

    fn put_with_parents(&mut self, layer: Option<u8>, path: &[u8]) {
        if self.in_layer(layer, path).is_some() {
            return;
        }
        for (end, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let parent = &path[..end];
            match self.in_layer(layer, parent) {
                Some(entry) if entry.is_dir() => {}
                Some(_) => return,
                None => {
                    let (mode, uid) = self.dir_owner();
                    self.put(layer, parent.to_vec(), What::Dir, mode, uid);
                }
            }
        }
        let what = match self.what(layer) {
            What::Whiteout if !self.is_merged(layer, path) => What::Dir,
            what => what,
        };
        let (mode, uid) = match what {
            What::Dir | What::Opaque => self.dir_owner(),
            _ => (self.file_mode(), *self.one(&[0, 0, 1000, 1001])),
        };
        self.put(layer, path.to_vec(), what, mode, uid);
    }

    /// Whether the directory of a path shows one of a lower layer, too.
    fn is_merged(&self, layer: Option<u8>, path: &[u8]) -> bool {
        let Some(end) = path.iter().rposition(|byte| *byte == b'/') else {
            return true;
        };
        let (parent, ends) = (&path[..end], path.iter().enumerate());
        let mut prefixes: Vec<_> = ends
            .filter(|(index, byte)| **byte == b'/' && *index < end)
            .map(|(index, _)| &path[..index])
            .collect();
        prefixes.push(parent);
        let at = |layer, path: &[u8]| self.in_layer(layer, path).map(|entry| &entry.what);
        let hides = |layer| {
            prefixes
                .iter()
                .any(|path| at(layer, path) == Some(&What::Opaque))
        };
        if hides(layer) {
            return false;
        }
        for below in layer.map_or(0, |number| number + 1)..self.lowers {
            let below = Some(below);
            if prefixes.iter().any(|path| {
                at(below, path).is_some_and(|what| !matches!(what, What::Dir | What::Opaque))
            }) {
                return false;
            }
            if at(below, parent).is_some() {
                return true;
            }
            if hides(below) {
                return false;
            }
        }
        false
    }

    fn dir_owner(&mut self) -> (u32, u32) {
        let mode = *self.one(&[0o755, 0o777, 0o777, 0o1777, 0o2775, 0o2777, 0o700, 0o711]);
        (mode, *self.one(&[0, 0, 1000, 1001]))
    }

    fn file_mode(&mut self) -> u32 {
        *self.one(&[
            0o644, 0o644, 0o666, 0o600, 0o755, 0o777, 0o4755, 0o2755, 0o6777, 0o2644, 0o400, 0o000,
        ])
    }

    fn what(&mut self, layer: Option<u8>) -> What {
        match self.rng.u32(..100) {
            0..28 => What::Dir,
            28..34 => What::Opaque,
            34..62 => What::File {
                size: self.size(),
                seed: self.rng.u64(..1000),
            },
            62..66 => What::Sparse {
                size: *self.one(&[20_000, 65_536, 200_000, 1 << 20]),
                seed: self.rng.u64(..1000),
            },
            66..74 => What::Symlink(self.target()),
            74..82 => {
                let files = |entry: &&Entry| {
                    let hard = !entry.is_dir() && entry.what != What::Whiteout;
                    entry.layer == layer && hard
                };
                let files: Vec<_> = self.entries.iter().filter(files).collect();
                match files.is_empty() || (layer.is_some() && !self.linked) {
                    true => What::Dir,
                    false => What::Hard(files[self.rng.usize(..files.len())].path.clone()),
                }
            }
            82..85 => What::Fifo,
            85 => What::Socket,
            86..88 => What::Char(1, 3),
            88 => What::Block(240, 5),
            _ => What::Whiteout,
        }
    }

    fn put(&mut self, layer: Option<u8>, path: Vec<u8>, what: What, mode: u32, uid: u32) {
        let plain = !matches!(what, What::Whiteout | What::Hard(_) | What::Symlink(_));
        let mut xattrs = Vec::new();
        if plain && matches!(what, What::Dir | What::Opaque | What::File { .. }) && self.chance(25)
        {
            let (name, value) = (
                self.one(&["user.a", "user.b", "trusted.a"]).as_bytes(),
                b"value",
            );
            xattrs.push((Bytes(name.to_vec()), Bytes(value.to_vec())));
            if self.chance(30) {
                let name = match what {
                    What::File { .. } => "system.posix_acl_access",
                    _ => *self.one(&["system.posix_acl_access", "system.posix_acl_default"]),
                };
                let acl = self.acl().encode();
                xattrs.push((Bytes(name.as_bytes().to_vec()), Bytes(acl)));
            }
        }
        self.known.push(path.clone());
        let gid = *self.one(&[uid, 1000, 2000]);
        self.entries.push(Entry {
            layer,
            path: Bytes(path),
            what,
            mode,
            uid,
            gid,
            xattrs,
        });
    }

    fn acl(&mut self) -> Acl {
        let all = [
            vec![
                ('u', None, 6),
                ('u', Some(1000), 4),
                ('g', None, 4),
                ('m', None, 6),
                ('o', None, 0),
            ],
            vec![
                ('u', None, 7),
                ('u', Some(1001), 7),
                ('g', None, 5),
                ('m', None, 7),
                ('o', None, 5),
            ],
            vec![
                ('u', None, 7),
                ('g', None, 5),
                ('g', Some(2000), 7),
                ('m', None, 5),
                ('o', None, 0),
            ],
            // What the mode says as well.
            vec![('u', None, 6), ('g', None, 4), ('o', None, 4)],
            // No ACL: it has no owner.
            vec![('g', None, 4), ('o', None, 4)],
        ];
        Acl(self.one(&all).clone())
    }

    fn size(&mut self) -> u64 {
        match self.rng.u32(..100) {
            0..8 => 0,
            8..60 => self.rng.u64(1..2000),
            60..90 => *self.one(&[4095, 4096, 4097, 8192, 10_000, 12_289]),
            90..98 => self.rng.u64(1..70_000),
            _ => *self.one(&[(1 << 20) - 1, 1 << 20, (1 << 20) + 1]),
        }
    }

    fn offset(&mut self) -> u64 {
        match self.rng.u32(..10) {
            0..3 => 0,
            3..7 => self.rng.u64(..10_000),
            7..9 => *self.one(&[4095, 4096, 4097, 8192, 16_384]),
            _ => self.rng.u64(..1 << 20),
        }
    }

    /// The target of a symbolic link: nothing absolute, and at most one level up.
    fn target(&mut self) -> Bytes {
        let name = self.name();
        Bytes(match self.rng.u32(..10) {
            0..5 => name,
            5..7 => [b"../", name.as_slice()].concat(),
            7 => b".".to_vec(),
            8 => b"..".to_vec(),
            _ => {
                let path = self.one_known();
                if path == b"/" { b"a".to_vec() } else { path }
            }
        })
    }

    /// A path; most of those that are there, or beside them.
    fn path(&mut self) -> Path {
        let known = self.one_known();
        Bytes(match self.rng.u32(..100) {
            0..66 => known,
            66..86 => {
                let name = self.name();
                Self::join(&known, &name)
            }
            86..92 => {
                let name = self.name();
                [b"./", name.as_slice()].concat()
            }
            92..97 => {
                let (slot, name) = (self.slot().0, self.name());
                [b"%", [b'0' + slot].as_slice(), b"/", &name].concat()
            }
            97 => [known.as_slice(), b"/"].concat(),
            98 => b".".to_vec(),
            _ => [known.as_slice(), b"/.."].concat(),
        })
    }

    /// A path at which something is to be made; it is remembered.
    fn new_path(&mut self) -> Path {
        let path = match self.chance(60) {
            true => {
                let (parent, name) = (self.one_known(), self.name());
                Self::join(&parent, &name)
            }
            false => self.path().0,
        };
        let depth = path.iter().filter(|byte| **byte == b'/').count();
        let plain = !path.starts_with(b".") && !path.starts_with(b"%") && !path.ends_with(b"/");
        if plain && depth < 6 && !path.windows(2).any(|two| two == b"..") {
            if self.known.len() > 60 {
                let old = self.rng.usize(1..self.known.len());
                self.known.swap_remove(old);
            }
            self.known.push(path.clone());
        }
        Bytes(path)
    }

    /// A slot, most likely one that is open.
    fn slot(&mut self) -> Slot {
        let actor = usize::from(self.actor);
        match self.open[actor].is_empty() {
            true => Slot(self.rng.u8(..SLOTS)),
            false => Slot(self.open[actor][self.rng.usize(..self.open[actor].len())]),
        }
    }

    fn new_slot(&mut self) -> Slot {
        let slot = self.rng.u8(..SLOTS);
        let open = &mut self.open[usize::from(self.actor)];
        if !open.contains(&slot) {
            open.push(slot);
        }
        Slot(slot)
    }

    fn object(&mut self) -> Object {
        match self.rng.u32(..10) {
            0..4 => Object::Slot(self.slot()),
            4..8 => Object::Path(self.path()),
            _ => Object::Link(self.path()),
        }
    }

    fn step(&mut self) -> Step {
        if self.chance(7) {
            self.actor = *self.one(&[0, 0, 0, 1, 1, 2, 3]);
        }
        let op = match self.rng.u32(..100) {
            0..30 => self.data_op(),
            30..65 => self.name_op(),
            65..82 => self.attribute_op(),
            82..98 => self.look_op(),
            _ => self.rare_op(),
        };
        Step {
            actor: self.actor,
            op,
        }
    }

    fn open(&mut self) -> Op {
        let access = *self.one(&[OFlags::RDONLY, OFlags::WRONLY, OFlags::RDWR, OFlags::RDWR]);
        let mut flags = access;
        let rare = [
            (OFlags::CREATE, 45),
            (OFlags::EXCL, 10),
            (OFlags::TRUNC, 15),
            (OFlags::APPEND, 15),
            (OFlags::DIRECTORY, 10),
            (OFlags::NOFOLLOW, 12),
            (OFlags::PATH, 6),
            (OFlags::NOATIME, 2),
            (OFlags::SYNC, 3),
        ];
        for (flag, percent) in rare {
            if self.chance(percent) {
                flags |= flag;
            }
        }
        if self.chance(4) {
            flags = OFlags::TMPFILE | *self.one(&[OFlags::RDWR, OFlags::WRONLY]);
        }
        if self.linked && flags.intersects(OFlags::WRONLY | OFlags::RDWR) {
            flags |= OFlags::TRUNC;
        }
        let path = match flags.contains(OFlags::CREATE) {
            true => self.new_path(),
            false => self.path(),
        };
        let mode = self.mode();
        Op::Open {
            slot: self.new_slot(),
            path,
            flags: Flags::new(flags.bits()),
            mode,
        }
    }

    fn mode(&mut self) -> Octal {
        Octal(match self.chance(70) {
            true => *self.one(&[0o644, 0o666, 0o755, 0o777, 0o600]),
            false => self.rng.u32(..0o10000),
        })
    }

    fn data_op(&mut self) -> Op {
        let slot = self.slot();
        let length = self.size() as u32;
        let seed = self.rng.u64(..1000);
        match self.rng.u32(..40) {
            0..12 => self.open(),
            12..14 => Op::Read { slot, length },
            14..17 => Op::Pread {
                slot,
                offset: self.offset(),
                length,
            },
            17..20 => Op::Write { slot, length, seed },
            20..24 => Op::Pwrite {
                slot,
                offset: self.offset(),
                length,
                seed,
            },
            24..26 => Op::Seek {
                slot,
                whence: *self.one(Whence::ALL),
                offset: match self.chance(20) {
                    true => -(self.offset() as i64),
                    false => self.offset() as i64,
                },
            },
            26..29 => {
                let size = self.size();
                Op::Truncate {
                    what: self.object(),
                    size,
                }
            }
            29..31 => {
                let keep = FallocateFlags::KEEP_SIZE;
                let modes = [
                    FallocateFlags::empty(),
                    keep,
                    FallocateFlags::PUNCH_HOLE | keep,
                    FallocateFlags::ZERO_RANGE,
                    FallocateFlags::ZERO_RANGE | keep,
                    FallocateFlags::COLLAPSE_RANGE,
                    FallocateFlags::INSERT_RANGE,
                ];
                let possible = match self.base {
                    Base::Memory => 3,
                    Base::Disk => 5,
                };
                let mode = *self.one(&modes[..possible]);
                Op::Fallocate {
                    slot,
                    mode: Flags::new(mode.bits()),
                    offset: self.offset(),
                    length: self.size().max(1),
                }
            }
            31..33 => {
                let mut offset = || match self.chance(50) {
                    true => -1,
                    false => self.offset() as i64,
                };
                let (from_offset, to_offset) = (offset(), offset());
                Op::CopyRange {
                    from: slot,
                    from_offset,
                    to: self.slot(),
                    to_offset,
                    length,
                }
            }
            33 => *self
                .one(
                    &[
                        Op::Fsync { slot },
                        Op::Fdatasync { slot },
                        Op::Syncfs { slot },
                    ]
                    .map(Box::new),
                )
                .clone(),
            34 => {
                let actor = usize::from(self.actor);
                self.open[actor].retain(|open| *open != slot.0);
                Op::Close { slot }
            }
            35 => Op::Dup {
                from: slot,
                to: self.new_slot(),
            },
            _ => self.map_op(slot, seed),
        }
    }

    fn map_op(&mut self, slot: Slot, seed: u64) -> Op {
        let map = MapSlot(self.rng.u8(..MAP_SLOTS));
        let (offset, length) = (self.rng.u32(..9000), self.rng.u32(1..3000));
        let what = if self.mapped { self.rng.u32(..10) } else { 0 };
        match what {
            0..4 => {
                self.mapped = true;
                let kind = *self.one(&[MapKind::Write, MapKind::Write, MapKind::Read]);
                // Storing into a mapping for reading alone is a fatal signal.
                let map = MapSlot(if kind == MapKind::Read { 1 } else { 0 });
                Op::Mmap {
                    map,
                    slot,
                    length: *self.one(&[4096, 8192, 16_384]),
                    kind,
                }
            }
            4..7 => Op::MapStore {
                map: MapSlot(0),
                offset: offset / 2,
                length,
                seed,
            },
            7 => Op::MapLoad {
                map,
                offset,
                length,
            },
            8 => Op::Msync { map },
            _ => Op::Munmap { map },
        }
    }

    fn name_op(&mut self) -> Op {
        match self.rng.u32(..36) {
            0..5 => {
                let path = self.new_path();
                Op::Mkdir {
                    path,
                    mode: self.mode(),
                }
            }
            5..8 => Op::Rmdir { path: self.path() },
            8..13 => Op::Unlink { path: self.path() },
            13..16 => {
                let old = self.object();
                Op::Link {
                    old,
                    new: self.new_path(),
                }
            }
            16..18 => {
                let target = self.target();
                Op::Symlink {
                    target,
                    path: self.new_path(),
                }
            }
            18..20 => {
                let kind = *self.one(NodeKind::ALL);
                let (major, minor) = *self.one(&[(1, 3), (240, 6), (0, 0)]);
                let path = self.new_path();
                Op::Mknod {
                    path,
                    kind,
                    mode: self.mode(),
                    major,
                    minor,
                }
            }
            20..32 => {
                let old = self.path();
                let flags = match self.rng.u32(..20) {
                    0..11 => RenameFlags::empty(),
                    11..14 => RenameFlags::NOREPLACE,
                    14..18 => RenameFlags::EXCHANGE,
                    18 => RenameFlags::WHITEOUT,
                    _ => RenameFlags::NOREPLACE | RenameFlags::EXCHANGE,
                };
                let new = match self.chance(50) {
                    true => self.new_path(),
                    false => self.path(),
                };
                Op::Rename {
                    old,
                    new,
                    flags: Flags::new(flags.bits()),
                }
            }
            32 => Op::RemoveTree { path: self.path() },
            33 => Op::Chdir {
                what: self.object(),
            },
            _ => self.open(),
        }
    }

    fn attribute_op(&mut self) -> Op {
        let what = self.object();
        match self.rng.u32(..30) {
            0..6 => Op::Chmod {
                what,
                mode: self.mode(),
            },
            6..11 => {
                let uid = *self.one(&[-1, 0, 1000, 1001]);
                Op::Chown {
                    what,
                    uid,
                    gid: *self.one(&[-1, 0, 1000, 2000, 1001]),
                }
            }
            11..16 => {
                let atime = self.time();
                Op::Utimens {
                    what,
                    atime,
                    mtime: self.time(),
                }
            }
            16..21 => {
                let name = self.xattr_name();
                let value = match name.0.as_slice() {
                    b"security.capability" => CAPABILITY.to_vec(),
                    _ => vec![b'v'; *self.one(&[0, 1, 10, 300])],
                };
                let flags = *self.one(&[0, 0, 0, 1, 2]);
                Op::Setxattr {
                    what,
                    name,
                    value: Bytes(value),
                    flags: Flags::new(flags),
                }
            }
            21..24 => {
                let name = self.xattr_name();
                Op::Removexattr { what, name }
            }
            24..28 => {
                let kind = *self.one(&[AclKind::Access, AclKind::Access, AclKind::Default]);
                Op::Setacl {
                    what,
                    kind,
                    acl: self.acl(),
                }
            }
            _ => Op::Umask {
                mask: Octal(*self.one(&[0o022, 0, 0o077, 0o027])),
            },
        }
    }

    fn time(&mut self) -> Time {
        match self.rng.u32(..8) {
            0..2 => Time::Now,
            2..4 => Time::Omit,
            4 => Time::At(*self.one(&[0, -1, 1, -5_000_000]), 999_999_999),
            _ => Time::At(
                LAYER_TIME + self.rng.i64(1..1000),
                self.rng.u32(..1_000_000_000),
            ),
        }
    }

    fn xattr_name(&mut self) -> Bytes {
        let names = [
            "user.a",
            "user.a",
            "user.b",
            "user.b",
            "user.long-name",
            "trusted.a",
            "trusted.b",
            "security.capability",
            "security.other",
            "system.posix_acl_access",
            "system.posix_acl_default",
            "trusted.overlay.opaque",
            "trusted.overlay.a",
            "user.overlay.opaque",
            "user.overlay.a",
            "trusted.overlay.overlay.a",
            "trusted.overlay.",
            "trusted.overlay",
            "user.",
            "unknown.a",
            "user.containers.override_stat",
        ];
        Bytes(self.one(&names).as_bytes().to_vec())
    }

    fn look_op(&mut self) -> Op {
        match self.rng.u32(..40) {
            0..12 => Op::Stat {
                what: self.object(),
            },
            12..15 => Op::Access {
                path: self.path(),
                rights: Flags::new(self.rng.u32(..8)),
            },
            15..20 => Op::List {
                what: self.object(),
            },
            20..22 => {
                let path = self.path();
                Op::ListTwice {
                    path,
                    first: self.rng.u32(1..5),
                }
            }
            22..25 => Op::Readlink { path: self.path() },
            25..28 => {
                let (what, name) = (self.object(), self.xattr_name());
                Op::Getxattr {
                    what,
                    name,
                    room: *self.one(&[1000, 1000, 5, 0]),
                }
            }
            28..30 => {
                let what = self.object();
                Op::Listxattr { what, room: 1000 }
            }
            30 => Op::Statfs {
                what: self.object(),
            },
            31..33 => Op::Flock {
                slot: self.slot(),
                lock: *self.one(Lock::ALL),
            },
            33..35 => Op::Fcntl {
                slot: self.slot(),
                lock: *self.one(Lock::ALL),
            },
            35 => Op::Getcwd {},
            _ => {
                let slot = self.slot();
                Op::Pread {
                    slot,
                    offset: self.offset(),
                    length: self.size() as u32,
                }
            }
        }
    }

    fn rare_op(&mut self) -> Op {
        match self.rng.u32(..10) {
            0..6 => Op::Tree {},
            6..8 => Op::Remount {},
            _ => Op::Crash {},
        }
    }
}

/// `cap_net_bind_service=ep`, as it is in the attribute.
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

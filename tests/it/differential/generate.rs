//! Programs out of random numbers.
//!
//! Few names and a memory of those in use make it likely that operations meet: on a file that was
//! removed, renamed, copied up or is open elsewhere.

mod attributes;
mod layers;

use fastrand::Rng;
use rustix::fs::{FallocateFlags, OFlags, RenameFlags};

use super::act::{MAP_SLOTS, SLOTS};
use super::layers::Entry;
use super::program::{
    ACTORS, Base, Company, Kill, Lock, MapKind, NodeKind, Op, Place, Program, Step, Whence,
};
use super::text::{Bytes, Flags, MapSlot, Object, Octal, Path, Slot};

const NAMES: &[&str] = &["a", "b", "c", "d", "e", "f"];

/// The programs of a seed.
pub fn program(seed: u64, options: &str, steps: usize) -> Program {
    let mut generator = Generator {
        rng: Rng::with_seed(seed),
        base: Base::Memory,
        linked: false,
        small: false,
        full: false,
        mounts: false,
        large: Vec::new(),
        places: Vec::new(),
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
    // Directories that are copied up to be moved part the names of lower files, as a copy-up does.
    generator.linked = generator.chance(25) && options != "cut_off";
    generator.surroundings(options);
    generator.layers();
    let mut program = Program {
        options: options.to_owned(),
        base: generator.base,
        small: generator.small,
        lowers: generator.lowers,
        places: std::mem::take(&mut generator.places),
        entries: std::mem::take(&mut generator.entries),
        steps: Vec::new(),
    };
    let user = options == "userxattr" || !crate::support::is_initial_namespace();
    while program.steps.len() < steps {
        let step = generator.step();
        // The numbers that names of one lower file are listed with are pending.
        let lists = matches!(step.op, Op::List { .. } | Op::ListTwice { .. });
        let pending = generator.linked && lists && !super::known::pending_counts();
        let link = matches!(step.op, Op::Link { .. }) && user;
        // The kernel copies a file up, and breaks its links, even if nothing is set then.
        let fails = matches!(step.op, Op::Setxattr { flags, .. } if flags.bits != 0);
        // And gives a symbolic link another number, where it cannot note on it what it is a copy of.
        let of_link = matches!(
            step.op,
            Op::Setxattr {
                what: Object::Link(_),
                ..
            }
        );
        let fails = fails && (generator.linked || user && of_link);
        // Reading a hole in a mapping makes it data, in memory.
        let seeks = |whence| matches!(whence, Whence::Data | Whence::Hole);
        let hole = generator.mapped && matches!(step.op, Op::Seek { whence, .. } if seeks(whence));
        // Using a hole of a mapping without space for it is a fatal signal.
        let touches = matches!(step.op, Op::MapStore { .. } | Op::MapLoad { .. });
        let fatal = touches && generator.small;
        if !pending && !link && !fails && !hole && !fatal && !super::known::is_pending(&step) {
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
    /// Whether the disk of the layers can be filled.
    small: bool,
    /// Whether it is full.
    full: bool,
    /// Whether something is mounted inside of layers.
    mounts: bool,
    /// Files whose copy-up takes a while, if processes that wait for it are killed.
    large: Vec<Vec<u8>>,
    places: Vec<(u8, Place)>,
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

    fn one_known(&mut self) -> Vec<u8> {
        self.known[self.rng.usize(..self.known.len())].clone()
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
        if !self.large.is_empty() && self.chance(4) {
            return self.killed();
        }
        if self.small && self.chance(3) {
            return Step {
                actor: self.actor,
                kill: None,
                op: self.space_op(),
            };
        }
        let op = match self.rng.u32(..100) {
            _ if self.full && self.chance(40) => self.taking_op(),
            0..30 => self.data_op(),
            30..65 => self.name_op(),
            65..82 => self.attribute_op(),
            82..98 => self.look_op(),
            _ => self.rare_op(),
        };
        Step {
            actor: self.actor,
            kill: None,
            op,
        }
    }

    /// A change that is begun by a process that is killed.
    fn killed(&mut self) -> Step {
        let large = self.large[self.rng.usize(..self.large.len())].clone();
        let what = Object::Path(Bytes(match self.chance(85) {
            true => large,
            false => self.one_known(),
        }));
        let op = loop {
            let op = match self.chance(20) {
                true => Op::Truncate {
                    what: what.clone(),
                    size: self.size(),
                },
                false => self.attribute_op(),
            };
            if super::known::of_one_path(&op).is_some() {
                break with_object(op, what);
            }
        };
        let kill = Kill {
            company: *self.one(&[Company::Alone, Company::Alone, Company::Beside]),
            microseconds: self.rng.u64(..1200),
        };
        Step {
            actor: self.actor,
            kill: Some(kill),
            op,
        }
    }

    fn space_op(&mut self) -> Op {
        self.full = self.chance(75);
        match self.full {
            true => Op::Fill {
                pages: *self.one(&[0, 0, 0, 1, 2, 5, 40]),
                inodes: *self.one(&[0, 1, 2, 3, 5, 100, 100]),
            },
            false => Op::Free {},
        }
    }

    /// What is likely to take space, or to give some back.
    fn taking_op(&mut self) -> Op {
        let there = Bytes(self.one_known());
        let what = Object::Path(there.clone());
        let (parent, name) = (self.one_known(), self.name());
        let new = Bytes(Self::join(&parent, &name));
        match self.rng.u32(..11) {
            0 => Op::Chmod {
                what,
                mode: self.mode(),
            },
            1 => Op::Setxattr {
                what,
                name: Bytes(b"user.a".to_vec()),
                value: Bytes(vec![b'v'; *self.one(&[10, 300, 3000])]),
                flags: Flags::new(0),
            },
            2 => Op::Mkdir {
                path: new,
                mode: self.mode(),
            },
            3 => Op::Open {
                slot: self.new_slot(),
                path: new,
                flags: Flags::new((OFlags::CREATE | OFlags::RDWR).bits()),
                mode: self.mode(),
            },
            4..6 => Op::Pwrite {
                slot: self.slot(),
                offset: self.offset(),
                length: self.size() as u32,
                seed: self.rng.u64(..1000),
            },
            6 => Op::Unlink { path: there },
            7 => Op::Rename {
                old: there,
                new,
                flags: Flags::new(0),
            },
            8 => Op::Link { old: what, new },
            9 => Op::Symlink {
                target: Bytes(vec![b'a'; *self.one(&[1, 300])]),
                path: new,
            },
            _ => Op::Truncate {
                what,
                size: self.size(),
            },
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

/// An operation that [`super::known::of_one_path`] knows, on another object.
fn with_object(mut op: Op, object: Object) -> Op {
    if let Op::Truncate { what, .. }
    | Op::Chmod { what, .. }
    | Op::Chown { what, .. }
    | Op::Utimens { what, .. }
    | Op::Setxattr { what, .. }
    | Op::Setacl { what, .. } = &mut op
    {
        *what = object;
    }
    op
}

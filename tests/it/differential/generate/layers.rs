//! Random layers: whiteouts, opaque directories and changes of type between any two of them.

use super::attributes::{CAPABILITY, FOREIGN_CAPABILITY};
use super::{Generator, NAMES};
use crate::differential::layers::{Entry, What};
use crate::differential::options::OptionSet;
use crate::differential::program::{Base, Place};
use crate::differential::text::Bytes;

impl Generator {
    /// What the layers lie on, and what else happens around them.
    pub(super) fn surroundings(&mut self, options: &str) {
        let set = OptionSet::named(options);
        match self.rng.u32(..100) {
            // A mount that gathers writes tells late what it has no space for.
            0..12 if set.is_some_and(|set| !set.gathers()) => {
                (self.small, self.base) = (true, Base::Memory);
            }
            12..22 => self.places = vec![(0, Place::Own)],
            22..26 if set.is_some_and(|set| !set.needs_handles()) => {
                self.places = vec![(0, Place::Bindfs)];
            }
            26..36 => self.large = NAMES[..3].iter().map(|n| n.as_bytes().to_vec()).collect(),
            // A file system of the machine, where a capability may be of a user that does not exist here.
            36..66 if crate::differential::outside::is_helped() => self.base = Base::Disk,
            _ => {}
        }
        self.mounts = self.chance(15) || self.places.first() == Some(&(0, Place::Bindfs));
    }

    pub(super) fn layers(&mut self) {
        self.lowers = match self.rng.u32(..20) {
            0 => 20,
            1..=8 => 1,
            9..=13 => 2,
            _ => self.rng.u8(3..=6),
        };
        if let Some((_, place)) = self.places.pop() {
            let of = |number| (number, place);
            let some: Vec<_> = (0..self.lowers).filter(|_| self.rng.bool()).collect();
            // One bindfs is enough: each takes a process.
            let first = some.first().copied().unwrap_or(0);
            self.places = match place {
                Place::Bindfs => vec![of(first)],
                Place::Own => some.into_iter().map(of).collect(),
            };
        }
        // From the bottom, so that whiteouts and what replaces something come after it.
        for number in (0..self.lowers).rev() {
            let count = match self.lowers {
                20 => self.rng.usize(0..3),
                _ => self.rng.usize(1..14),
            };
            let large = match number + 1 == self.lowers {
                true => self.large.clone(),
                false => Vec::new(),
            };
            for path in large {
                let (size, seed) = (self.rng.u64(1 << 20..3 << 20), self.rng.u64(..1000));
                self.put(Some(number), path, What::File { size, seed }, 0o644, 0);
            }
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
        if self.mounts && layer.is_some() {
            for _ in 0..self.rng.usize(..3) {
                self.bind(layer);
            }
        }
    }

    /// Mounts a file or directory of a layer in a second place of it.
    fn bind(&mut self, layer: Option<u8>) {
        let files = self.chance(50);
        let own = |entry: &&Entry| {
            let is_file = matches!(entry.what, What::File { .. } | What::Sparse { .. });
            entry.layer == layer && if files { is_file } else { entry.is_dir() }
        };
        let paths = self.entries.iter().filter(own);
        let paths: Vec<_> = paths.map(|entry| entry.path.clone()).collect();
        if paths.len() < 2 {
            return;
        }
        let (source, target) = (self.one(&paths).clone(), self.one(&paths).clone());
        // Whiteouts of a directory that is merged would be in another that may not be.
        let whiteout = |entry: &Entry| {
            entry.what == What::Whiteout
                && (source.0 == b"/" || entry.path.0.starts_with(&source.0))
        };
        let moves = self.entries.iter().any(|e| e.layer == layer && whiteout(e));
        if source != target && target.0 != b"/" && !moves {
            self.entries.push(Entry {
                layer,
                path: target,
                what: What::Bind(source),
                mode: 0,
                uid: 0,
                gid: 0,
                xattrs: Vec::new(),
            });
        }
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
            What::Dir | What::Opaque | What::Mount => self.dir_owner(),
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
        let at = |layer, path: &[u8]| {
            let entry = self.in_layer(layer, path)?;
            (!self.is_out_of_sight(entry)).then_some(&entry.what)
        };
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

    /// Whether the mount of the layers may not show an entry, since something is mounted over it.
    fn is_out_of_sight(&self, entry: &Entry) -> bool {
        let is_over = |other: &Entry| {
            let rest = entry.path.0.strip_prefix(other.path.0.as_slice());
            let is_inside = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"));
            other.layer == entry.layer && is_inside
        };
        let inside_all_is_shown = self
            .places
            .iter()
            .any(|(number, place)| Some(*number) == entry.layer && *place == Place::Bindfs);
        let hides = |other: &Entry| match other.what {
            What::Mount => !inside_all_is_shown,
            What::Bind(_) => inside_all_is_shown,
            _ => false,
        };
        let mut others = self.entries.iter();
        others.any(|other| hides(other) && is_over(other))
    }

    fn dir_owner(&mut self) -> (u32, u32) {
        let mode = *self.one(&[0o755, 0o777, 0o777, 0o1777, 0o2775, 0o2777, 0o700, 0o711]);
        (mode, *self.one(&[0, 0, 1000, 1001]))
    }

    fn file_mode(&mut self) -> u32 {
        *self.one(&[
            0o644, 0o644, 0o666, 0o600, 0o755, 0o777, 0o4755, 0o4711, 0o400, 0o000,
        ])
    }

    fn what(&mut self, layer: Option<u8>) -> What {
        match self.rng.u32(..100) {
            0..6 if self.mounts && layer.is_some() => What::Mount,
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
        let capable = match crate::differential::outside::is_helped() {
            true => 15,
            false => 3,
        };
        if matches!(what, What::File { .. }) && self.chance(capable) {
            let value = *self.one(&[CAPABILITY, FOREIGN_CAPABILITY]);
            let name = b"security.capability".to_vec();
            xattrs.push((Bytes(name), Bytes(value.to_vec())));
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
}

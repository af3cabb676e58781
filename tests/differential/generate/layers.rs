//! Random layers: whiteouts, opaque directories and changes of type between any two of them.

use super::Generator;
use crate::differential::layers::{Entry, What};
use crate::differential::text::Bytes;

impl Generator {
    pub(super) fn layers(&mut self) {
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
            0o644, 0o644, 0o666, 0o600, 0o755, 0o777, 0o4755, 0o4711, 0o400, 0o000,
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
}

//! Operations on names, and looks.

use super::*;

impl Generator {
    pub(super) fn name_op(&mut self) -> Op {
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

    pub(super) fn look_op(&mut self) -> Op {
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
}

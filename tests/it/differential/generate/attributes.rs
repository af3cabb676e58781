//! Operations on attributes: modes, owners, times, extended attributes and ACLs.

use super::Generator;
use crate::differential::layers::LAYER_TIME;
use crate::differential::program::{AclKind, Op};
use crate::differential::text::{Acl, Bytes, Flags, Octal, Time};

impl Generator {
    pub(super) fn attribute_op(&mut self) -> Op {
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
                    b"security.capability" => self
                        .one(&[CAPABILITY, CAPABILITY, FOREIGN_CAPABILITY])
                        .to_vec(),
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

    pub(super) fn xattr_name(&mut self) -> Bytes {
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
        ];
        Bytes(self.one(&names).as_bytes().to_vec())
    }

    pub(super) fn acl(&mut self) -> Acl {
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
}

/// `cap_net_bind_service=ep`, as it is in the attribute.
pub(super) const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The same for a user namespace whose root is the user 100000 of this one.
pub(super) const FOREIGN_CAPABILITY: &[u8] = &[
    1, 0, 0, 3, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xa0, 0x86, 1, 0,
];

//! Operations on extended attributes.

use super::*;

impl Session {
    /// What is about extended attributes.
    pub(super) fn attempt_xattr(&mut self, op: &Op) -> Answer {
        match op {
            Op::Setxattr {
                what,
                name,
                value,
                flags,
            } => {
                let flags = XattrFlags::from_bits_retain(flags.bits);
                self.setxattr(what, &name.0, &value.0, flags)?;
                Ok(String::new())
            }
            Op::Setacl { what, kind, acl } => {
                let name = match kind {
                    AclKind::Access => "system.posix_acl_access",
                    AclKind::Default => "system.posix_acl_default",
                };
                self.setxattr(what, name.as_bytes(), &acl.encode(), XattrFlags::empty())?;
                Ok(String::new())
            }
            Op::Getxattr { what, name, room } => {
                let mut value = vec![0; *room as usize];
                let (name, value_room) = (&*name.0, &mut value[..]);
                let length = match what {
                    Object::Slot(slot) => rustix::fs::fgetxattr(self.fd(*slot)?, name, value_room),
                    Object::Path(path) => rustix::fs::getxattr(self.path(path), name, value_room),
                    Object::Link(path) => rustix::fs::lgetxattr(self.path(path), name, value_room),
                }?;
                let shown = super::super::text::escape(value.get(..length).unwrap_or(&[]));
                Ok(format!("{length}:{shown}"))
            }
            Op::Listxattr { what, room } => {
                let mut names = vec![0; *room as usize];
                let room = &mut names[..];
                let length = match what {
                    Object::Slot(slot) => rustix::fs::flistxattr(self.fd(*slot)?, room),
                    Object::Path(path) => rustix::fs::listxattr(self.path(path), room),
                    Object::Link(path) => rustix::fs::llistxattr(self.path(path), room),
                }?;
                let mut shown: Vec<_> = names
                    .get(..length)
                    .unwrap_or(&[])
                    .split(|byte| *byte == 0)
                    .map(super::super::text::escape)
                    .collect();
                shown.sort();
                Ok(format!("{length}:{}", shown.join(",")))
            }
            Op::Removexattr { what, name } => {
                match what {
                    Object::Slot(slot) => rustix::fs::fremovexattr(self.fd(*slot)?, &*name.0)?,
                    Object::Path(path) => rustix::fs::removexattr(self.path(path), &*name.0)?,
                    Object::Link(path) => rustix::fs::lremovexattr(self.path(path), &*name.0)?,
                }
                Ok(String::new())
            }
            _ => unreachable!("not done anywhere: {}", op.show()),
        }
    }

    pub(super) fn setxattr(
        &self,
        what: &Object,
        name: &[u8],
        value: &[u8],
        flags: XattrFlags,
    ) -> Result<(), Errno> {
        match what {
            Object::Slot(slot) => rustix::fs::fsetxattr(self.fd(*slot)?, name, value, flags),
            Object::Path(path) => rustix::fs::setxattr(self.path(path), name, value, flags),
            Object::Link(path) => rustix::fs::lsetxattr(self.path(path), name, value, flags),
        }
    }
}

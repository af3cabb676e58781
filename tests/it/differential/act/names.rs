//! Operations on names.

use super::*;

impl Session {
    /// What is about names and attributes.
    pub(super) fn attempt_name(&mut self, op: &Op) -> Answer {
        match op {
            Op::Mkdir { path, mode } => {
                rustix::fs::mkdirat(CWD, self.path(path), Mode::from_raw_mode(mode.0))?;
            }
            Op::Rmdir { path } => {
                rustix::fs::unlinkat(CWD, self.path(path), AtFlags::REMOVEDIR)?;
            }
            Op::Unlink { path } => {
                rustix::fs::unlinkat(CWD, self.path(path), AtFlags::empty())?;
            }
            Op::Link { old, new } => {
                let (flags, old) = match old {
                    Object::Slot(slot) => (AtFlags::SYMLINK_FOLLOW, self.proc_path(*slot)?),
                    Object::Path(path) => (AtFlags::SYMLINK_FOLLOW, self.path(path)),
                    Object::Link(path) => (AtFlags::empty(), self.path(path)),
                };
                rustix::fs::linkat(CWD, old, CWD, self.path(new), flags)?;
            }
            Op::Symlink { target, path } => {
                let target = std::ffi::OsStr::from_bytes(&target.0);
                rustix::fs::symlinkat(target, CWD, self.path(path))?;
            }
            Op::Readlink { path } => {
                let target = rustix::fs::readlinkat(CWD, self.path(path), Vec::new())?;
                return Ok(super::super::text::escape(target.as_bytes()));
            }
            Op::Mknod {
                path,
                kind,
                mode,
                major,
                minor,
            } => {
                let kind = match kind {
                    NodeKind::Fifo => FileType::Fifo,
                    NodeKind::Socket => FileType::Socket,
                    NodeKind::Char => FileType::CharacterDevice,
                    NodeKind::Block => FileType::BlockDevice,
                    NodeKind::Regular => FileType::RegularFile,
                };
                let mode = Mode::from_raw_mode(mode.0);
                let device = makedev(*major, *minor);
                rustix::fs::mknodat(CWD, self.path(path), kind, mode, device)?;
            }
            Op::Rename { old, new, flags } => {
                let flags = RenameFlags::from_bits_retain(flags.bits);
                rustix::fs::renameat_with(CWD, self.path(old), CWD, self.path(new), flags)?;
            }
            Op::Chmod { what, mode } => {
                let mode = Mode::from_raw_mode(mode.0);
                match what {
                    Object::Slot(slot) => rustix::fs::fchmod(self.fd(*slot)?, mode)?,
                    Object::Path(path) | Object::Link(path) => {
                        rustix::fs::chmodat(CWD, self.path(path), mode, AtFlags::empty())?;
                    }
                }
            }
            Op::Chown { what, uid, gid } => {
                let uid = u32::try_from(*uid).ok().map(Uid::from_raw);
                let gid = u32::try_from(*gid).ok().map(Gid::from_raw);
                match what {
                    Object::Slot(slot) => rustix::fs::fchown(self.fd(*slot)?, uid, gid)?,
                    Object::Path(path) => {
                        rustix::fs::chownat(CWD, self.path(path), uid, gid, AtFlags::empty())?;
                    }
                    Object::Link(path) => {
                        let flags = AtFlags::SYMLINK_NOFOLLOW;
                        rustix::fs::chownat(CWD, self.path(path), uid, gid, flags)?;
                    }
                }
            }
            Op::Utimens { what, atime, mtime } => {
                let times = Timestamps {
                    last_access: timespec(*atime),
                    last_modification: timespec(*mtime),
                };
                match what {
                    Object::Slot(slot) => rustix::fs::futimens(self.fd(*slot)?, &times)?,
                    Object::Path(path) => {
                        rustix::fs::utimensat(CWD, self.path(path), &times, AtFlags::empty())?;
                    }
                    Object::Link(path) => {
                        let flags = AtFlags::SYMLINK_NOFOLLOW;
                        rustix::fs::utimensat(CWD, self.path(path), &times, flags)?;
                    }
                }
            }
            Op::Access { path, rights } => {
                let rights = Access::from_bits_retain(rights.bits);
                rustix::fs::accessat(CWD, self.path(path), rights, AtFlags::empty())?;
            }
            Op::Stat { what } => {
                let (base, path, flags) = self.at(what)?;
                return show::stat_at(base, &path, flags);
            }
            Op::List { what } => {
                let (base, path, _) = self.at(what)?;
                return match what {
                    // What is listed of changes since the first reading is left open by POSIX.
                    Object::Slot(_) => {
                        rustix::fs::seek(base, SeekFrom::Start(0))?;
                        let listed = show::list(base);
                        rustix::fs::seek(base, SeekFrom::Start(0))?;
                        listed
                    }
                    _ => show::list(open_directory(&path)?.as_fd()),
                };
            }
            Op::ListTwice { path, first } => {
                let directory = open_directory(&self.path(path))?;
                return show::list_twice(directory.as_fd(), *first);
            }
            Op::RemoveTree { path } => {
                let directory = open_directory(&self.path(path))?;
                let mut errors = std::collections::BTreeSet::new();
                show::remove_below(directory.as_fd(), 0, &mut errors);
                return Ok(errors.into_iter().collect::<Vec<_>>().join(" "));
            }
            Op::Statfs { what } => {
                let (base, path, _) = self.at(what)?;
                let facts = match what {
                    Object::Slot(_) => rustix::fs::fstatvfs(base)?,
                    _ => rustix::fs::statvfs(path)?,
                };
                return Ok(format!(
                    "namemax={} frsize={}",
                    facts.f_namemax, facts.f_frsize
                ));
            }
            _ => return self.attempt_xattr(op),
        }
        Ok(String::new())
    }
}

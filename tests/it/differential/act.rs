//! Doing an operation, and putting what came of it into words.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use plyfs_sys::mapping::Mapping;
use rustix::fs::{
    Access, AtFlags, CWD, FallocateFlags, FileType, FlockOperation, Gid, Mode, OFlags, RenameFlags,
    SeekFrom, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid, XattrFlags, makedev,
};
use rustix::io::Errno;

use super::known;
use super::program::{AclKind, Lock, MapKind, NodeKind, Op, Whence};
use super::show::{self, Shown};
use super::text::{Bytes, Object, Slot, Text, Time};

/// How many descriptors and mappings an actor can keep.
pub const SLOTS: u8 = 6;
pub const MAP_SLOTS: u8 = 2;

type Answer = Result<String, Errno>;

/// What an actor has: descriptors, mappings, and where the mount is.
#[derive(Default)]
pub struct Session {
    root: String,
    slots: [Option<OwnedFd>; SLOTS as usize],
    maps: [Option<Mapping>; MAP_SLOTS as usize],
}

/// `length` bytes that look random and depend on the seed alone.
pub fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut data = vec![0; length];
    rng.fill(&mut data);
    data
}

impl Session {
    pub fn new(root: &str) -> Self {
        let session = Self {
            root: root.to_owned(),
            ..Self::default()
        };
        session.enter();
        session
    }

    pub fn enter(&self) {
        // It may not be allowed to.
        if rustix::process::chdir(&self.root).is_err() {
            rustix::process::chdir("/zz").unwrap();
        }
    }

    pub fn release(&mut self) {
        rustix::process::chdir("/").unwrap();
        self.slots = Default::default();
        self.maps = Default::default();
    }

    pub fn settle(&mut self) {
        // Ignore errors: only regular files can be synced, and a file without a name need not be.
        for map in self.maps.iter().flatten() {
            map.sync().ok();
        }
        for slot in self.slots.iter().flatten() {
            rustix::fs::fsync(slot).ok();
        }
    }

    /// All there is to see of a file.
    pub fn look(&self, path: &str) -> String {
        match super::text::unescape(path) {
            Some(path) => super::snapshot::one(&self.path(&Bytes(path))),
            None => "no path".to_owned(),
        }
    }

    pub fn act(&mut self, op: &Op) -> String {
        if self.changes_special(op) {
            return "not done".to_owned();
        }
        match self.attempt(op) {
            Ok(text) if text.is_empty() => "ok".to_owned(),
            Ok(text) => text,
            Err(error) => show::error(error),
        }
    }

    /// Whether an operation changes a file by a descriptor that is neither a regular one nor a
    /// directory that has a name (`known.rs` says why that is not done).
    fn changes_special(&self, op: &Op) -> bool {
        let (Op::Chmod { what, .. }
        | Op::Chown { what, .. }
        | Op::Utimens { what, .. }
        | Op::Setxattr { what, .. }
        | Op::Removexattr { what, .. }
        | Op::Setacl { what, .. }) = op
        else {
            return false;
        };
        let Object::Slot(slot) = what else {
            return false;
        };
        match self.fd(*slot).map(|fd| (fd, show::kind_of(fd))) {
            Ok((fd, Ok(FileType::Directory))) => {
                let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(fd));
                let shown = rustix::fs::readlinkat(CWD, link, Vec::new());
                shown.is_ok_and(|path| path.as_bytes().ends_with(b" (deleted)"))
            }
            Ok((_, Ok(kind))) => kind != FileType::RegularFile,
            _ => false,
        }
    }

    /// A path as the system calls take it.
    fn path(&self, path: &Bytes) -> Vec<u8> {
        let bytes = path.0.as_slice();
        match bytes {
            b"" | b"." | b".." => return bytes.to_vec(),
            b"/" => return self.root.clone().into_bytes(),
            _ if bytes.starts_with(b"./") || bytes.starts_with(b"../") => return bytes.to_vec(),
            _ => {}
        }
        if let [b'%', slot, b'/', rest @ ..] = bytes {
            let fd = self.fd(Slot(slot.wrapping_sub(b'0')));
            let number = fd.map_or(-1, std::os::fd::AsRawFd::as_raw_fd);
            return [format!("/proc/self/fd/{number}/").as_bytes(), rest].concat();
        }
        [self.root.as_bytes(), b"/", bytes].concat()
    }

    fn fd(&self, slot: Slot) -> Result<&OwnedFd, Errno> {
        let slot = self.slots.get(usize::from(slot.0));
        slot.and_then(Option::as_ref).ok_or(Errno::BADF)
    }

    fn map(&mut self, slot: super::text::MapSlot) -> Result<&mut Mapping, Errno> {
        let map = self.maps.get_mut(usize::from(slot.0));
        map.and_then(Option::as_mut).ok_or(Errno::BADF)
    }

    fn attempt(&mut self, op: &Op) -> Answer {
        match op {
            Op::Open {
                slot,
                path,
                flags,
                mode,
            } => {
                let mut flags = OFlags::from_bits_retain(flags.bits) | OFlags::CLOEXEC;
                if !flags.contains(OFlags::PATH) {
                    // A fifo would wait for its other end.
                    flags |= OFlags::NONBLOCK;
                }
                let mode = Mode::from_raw_mode(mode.0);
                let opened = rustix::fs::openat(CWD, self.path(path), flags, mode)?;
                self.slots[usize::from(slot.0)] = Some(opened);
            }
            Op::Close { slot } => {
                self.fd(*slot)?;
                self.slots[usize::from(slot.0)] = None;
            }
            Op::Dup { from, to } => {
                let copy = rustix::io::dup(self.fd(*from)?)?;
                self.slots[usize::from(to.0)] = Some(copy);
            }
            Op::Truncate { what, size } => match what {
                Object::Slot(slot) => rustix::fs::ftruncate(self.fd(*slot)?, *size)?,
                Object::Path(path) | Object::Link(path) => {
                    // truncate(2), which rustix lacks, is what opening for writing is, up to what
                    // it says of directories.
                    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
                    let file = rustix::fs::openat(CWD, self.path(path), flags, Mode::empty())?;
                    rustix::fs::ftruncate(file, *size)?;
                }
            },
            Op::Fsync { slot } => rustix::fs::fsync(self.fd(*slot)?)?,
            Op::Fdatasync { slot } => rustix::fs::fdatasync(self.fd(*slot)?)?,
            Op::Syncfs { slot } => rustix::fs::syncfs(self.fd(*slot)?)?,
            Op::Flock { slot, lock } => {
                rustix::fs::flock(self.fd(*slot)?, lock_operation(*lock))?;
            }
            Op::Fcntl { slot, lock } => {
                rustix::fs::fcntl_lock(self.fd(*slot)?, lock_operation(*lock))?;
            }
            Op::Chdir { what } => match what {
                Object::Slot(slot) => rustix::process::fchdir(self.fd(*slot)?)?,
                Object::Path(path) | Object::Link(path) => {
                    rustix::process::chdir(self.path(path))?;
                }
            },
            Op::Getcwd {} => {
                let cwd = rustix::process::getcwd(Vec::new())?.into_bytes();
                let below = cwd.strip_prefix(self.root.as_bytes());
                return Ok(super::text::escape(below.unwrap_or(b"outside")));
            }
            Op::Umask { mask } => {
                let old = rustix::process::umask(Mode::from_raw_mode(mask.0));
                return Ok(format!("{:o}", old.bits()));
            }
            Op::Tree {} => return Ok(super::snapshot::tree(&self.root, Shown::Merged)),
            Op::Remount {} | Op::Crash {} | Op::Fill { .. } | Op::Free {} => {}
            Op::Read { .. }
            | Op::Pread { .. }
            | Op::Write { .. }
            | Op::Pwrite { .. }
            | Op::Seek { .. }
            | Op::Fallocate { .. }
            | Op::CopyRange { .. }
            | Op::Mmap { .. }
            | Op::MapStore { .. }
            | Op::MapLoad { .. }
            | Op::Msync { .. }
            | Op::Munmap { .. } => return self.attempt_data(op),
            _ => return self.attempt_name(op),
        }
        Ok(String::new())
    }

    /// What is about the content of files.
    fn attempt_data(&mut self, op: &Op) -> Answer {
        match op {
            Op::Read { slot, length } => {
                let mut data = vec![0; *length as usize];
                let length = rustix::io::read(self.fd(*slot)?, &mut data)?;
                return Ok(show::data(&data[..length]));
            }
            Op::Pread {
                slot,
                offset,
                length,
            } => {
                let mut data = vec![0; *length as usize];
                let length = rustix::io::pread(self.fd(*slot)?, &mut data, *offset)?;
                return Ok(show::data(&data[..length]));
            }
            Op::Write { slot, length, seed } => {
                let data = pattern(*seed, *length as usize);
                return Ok(rustix::io::write(self.fd(*slot)?, &data)?.to_string());
            }
            Op::Pwrite {
                slot,
                offset,
                length,
                seed,
            } => {
                let data = pattern(*seed, *length as usize);
                return Ok(rustix::io::pwrite(self.fd(*slot)?, &data, *offset)?.to_string());
            }
            Op::Seek {
                slot,
                whence,
                offset,
            } => {
                let from_start = || u64::try_from(*offset).map_err(|_| Errno::INVAL);
                let target = match whence {
                    Whence::Set => SeekFrom::Start(from_start()?),
                    Whence::Current => SeekFrom::Current(*offset),
                    Whence::End => SeekFrom::End(*offset),
                    Whence::Data => SeekFrom::Data(from_start()?),
                    Whence::Hole => SeekFrom::Hole(from_start()?),
                };
                let fd = self.fd(*slot)?;
                if show::kind_of(fd) == Ok(FileType::Directory) {
                    rustix::fs::seek(fd, SeekFrom::Start(0))?;
                    return Ok("start".to_owned());
                }
                let found = rustix::fs::seek(fd, target)?;
                let at_end = *whence == Whence::Hole
                    && i64::try_from(found) == Ok(rustix::fs::fstat(fd)?.st_size);
                let end = if at_end { known::AT_END } else { "" };
                return Ok(format!("{found}{end}"));
            }
            Op::Fallocate {
                slot,
                mode,
                offset,
                length,
            } => {
                let mode = FallocateFlags::from_bits_retain(mode.bits);
                rustix::fs::fallocate(self.fd(*slot)?, mode, *offset, *length)?;
            }
            Op::CopyRange {
                from,
                from_offset,
                to,
                to_offset,
                length,
            } => {
                let (mut read_at, mut write_at) = (*from_offset as u64, *to_offset as u64);
                let copied = rustix::fs::copy_file_range(
                    self.fd(*from)?,
                    (*from_offset >= 0).then_some(&mut read_at),
                    self.fd(*to)?,
                    (*to_offset >= 0).then_some(&mut write_at),
                    *length as usize,
                )?;
                return Ok(copied.to_string());
            }
            Op::Mmap {
                map,
                slot,
                length,
                kind,
            } => {
                let writable = *kind == MapKind::Write;
                let mapping = Mapping::new(self.fd(*slot)?, *length as usize, writable)?;
                self.maps[usize::from(map.0)] = Some(mapping);
            }
            Op::MapStore {
                map,
                offset,
                length,
                seed,
            } => {
                let data = pattern(*seed, *length as usize);
                self.map(*map)?.store(*offset as usize, &data)?;
            }
            Op::MapLoad {
                map,
                offset,
                length,
            } => {
                let data = self.map(*map)?.load(*offset as usize, *length as usize)?;
                return Ok(show::data(&data));
            }
            Op::Msync { map } => self.map(*map)?.sync()?,
            Op::Munmap { map } => {
                self.map(*map)?;
                self.maps[usize::from(map.0)] = None;
            }
            _ => unreachable!("no operation on data: {}", op.name()),
        }
        Ok(String::new())
    }

    /// What is about names and attributes.
    fn attempt_name(&mut self, op: &Op) -> Answer {
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
                return Ok(super::text::escape(target.as_bytes()));
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

    /// What is about extended attributes.
    fn attempt_xattr(&mut self, op: &Op) -> Answer {
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
                let shown = super::text::escape(value.get(..length).unwrap_or(&[]));
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
                    .map(super::text::escape)
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

    fn setxattr(
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

    fn proc_path(&self, slot: Slot) -> Result<Vec<u8>, Errno> {
        let number = std::os::fd::AsRawFd::as_raw_fd(self.fd(slot)?);
        Ok(format!("/proc/self/fd/{number}").into_bytes())
    }

    /// An object as the `at` calls take it.
    fn at(&self, what: &Object) -> Result<(std::os::fd::BorrowedFd<'_>, Vec<u8>, AtFlags), Errno> {
        Ok(match what {
            Object::Slot(slot) => (self.fd(*slot)?.as_fd(), Vec::new(), AtFlags::EMPTY_PATH),
            Object::Path(path) => (CWD, self.path(path), AtFlags::empty()),
            Object::Link(path) => (CWD, self.path(path), AtFlags::SYMLINK_NOFOLLOW),
        })
    }
}

fn open_directory(path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
}

fn lock_operation(lock: Lock) -> FlockOperation {
    match lock {
        Lock::Shared => FlockOperation::NonBlockingLockShared,
        Lock::Exclusive => FlockOperation::NonBlockingLockExclusive,
        Lock::None => FlockOperation::NonBlockingUnlock,
    }
}

fn timespec(time: Time) -> Timespec {
    let (tv_sec, tv_nsec) = match time {
        Time::Now => (0, UTIME_NOW),
        Time::Omit => (0, UTIME_OMIT),
        Time::At(secs, nanos) => (secs, i64::from(nanos)),
    };
    Timespec { tv_sec, tv_nsec }
}

//! Results as text, without what cannot be the same on both sides.

use std::collections::BTreeSet;
use std::hash::Hasher;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, SeekFrom, Statx, StatxFlags};
use rustix::io::Errno;

use super::known;
use super::text::escape;

/// Which view of files is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// What programs see through the mount.
    Merged,
    /// What lies in a layer.
    Layer,
}

pub fn error(errno: Errno) -> String {
    let named = [
        (Errno::PERM, "EPERM"),
        (Errno::NOENT, "ENOENT"),
        (Errno::IO, "EIO"),
        (Errno::NXIO, "ENXIO"),
        (Errno::BADF, "EBADF"),
        (Errno::AGAIN, "EAGAIN"),
        (Errno::ACCESS, "EACCES"),
        (Errno::BUSY, "EBUSY"),
        (Errno::EXIST, "EEXIST"),
        (Errno::XDEV, "EXDEV"),
        (Errno::NODEV, "ENODEV"),
        (Errno::NOTDIR, "ENOTDIR"),
        (Errno::ISDIR, "EISDIR"),
        (Errno::INVAL, "EINVAL"),
        (Errno::FBIG, "EFBIG"),
        (Errno::NOSPC, "ENOSPC"),
        (Errno::SPIPE, "ESPIPE"),
        (Errno::ROFS, "EROFS"),
        (Errno::MLINK, "EMLINK"),
        (Errno::RANGE, "ERANGE"),
        (Errno::NAMETOOLONG, "ENAMETOOLONG"),
        (Errno::NOTEMPTY, "ENOTEMPTY"),
        (Errno::LOOP, "ELOOP"),
        (Errno::NODATA, "ENODATA"),
        (Errno::OPNOTSUPP, "EOPNOTSUPP"),
        (Errno::STALE, "ESTALE"),
        (Errno::NOTCONN, "ENOTCONN"),
        (Errno::CONNABORTED, "ECONNABORTED"),
        (Errno::TXTBSY, "ETXTBSY"),
        (Errno::NOTTY, "ENOTTY"),
        (Errno::OVERFLOW, "EOVERFLOW"),
        (Errno::NOSYS, "ENOSYS"),
    ];
    match named.iter().find(|(known, _)| *known == errno) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("E{}", errno.raw_os_error()),
    }
}

/// Data as its length and a hash, with the first bytes for who reads it.
pub fn data(data: &[u8]) -> String {
    let zeros = data.iter().take_while(|byte| **byte == 0).count();
    if zeros == data.len() {
        return format!("{zeros} zeros");
    }
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(data);
    let first: String = data
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(
        "{} bytes {first}..{:08x}",
        data.len(),
        hasher.finish() >> 32
    )
}

pub fn kind_of(fd: impl AsFd) -> Result<FileType, Errno> {
    let stat = rustix::fs::fstat(fd)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

pub fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "file",
        FileType::Directory => "dir",
        FileType::Symlink => "symlink",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        FileType::CharacterDevice => "char",
        FileType::BlockDevice => "block",
        FileType::Unknown => "unknown",
    }
}

pub fn statx(base: BorrowedFd<'_>, path: &[u8], flags: AtFlags) -> Result<Statx, Errno> {
    rustix::fs::statx(base, path, flags, StatxFlags::BASIC_STATS)
}

pub fn stat_at(base: BorrowedFd<'_>, path: &[u8], flags: AtFlags) -> Result<String, Errno> {
    statx(base, path, flags).map(|stat| facts(&stat, Shown::Merged))
}

/// The comparable facts of a file. A number after `#`, with that of a device, stands for itself: which files
/// share it is compared, and whether it stays.
pub fn facts(stat: &Statx, shown: Shown) -> String {
    let kind = FileType::from_raw_mode(stat.stx_mode.into());
    let mut text = format!(
        "{} mode={:o} owner={}:{}",
        kind_name(kind),
        stat.stx_mode & 0o7777,
        stat.stx_uid,
        stat.stx_gid
    );
    if kind != FileType::Directory || !known::DIRECTORY_SIZE_AND_LINKS {
        text.push_str(&format!(" size={} nlink={}", stat.stx_size, stat.stx_nlink));
    }
    if matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
        text.push_str(&format!(
            " rdev={}:{}",
            stat.stx_rdev_major, stat.stx_rdev_minor
        ));
    }
    text.push_str(&format!(
        " mtime={}",
        time(stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec)
    ));
    if shown == Shown::Merged {
        text.push_str(&format!(
            " ino=#{}:{}:{}",
            stat.stx_ino, stat.stx_dev_major, stat.stx_dev_minor
        ));
    }
    text
}

/// A time that a program or a layer has set as it is, any other as `now`.
pub fn time(secs: i64, nanos: u32) -> String {
    match secs > known::SET_TIMES_END {
        true => "now".to_owned(),
        false => format!("{secs}.{nanos}"),
    }
}

/// A name in a directory, what it is, and its number.
type Listed = (Vec<u8>, FileType, u64);

/// Reads entries from where the directory stands, and stops after `most`: names, types, numbers,
/// and how far that is.
fn entries(dir: BorrowedFd<'_>, most: usize) -> Result<(Vec<Listed>, Option<u64>), Errno> {
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut found = Vec::new();
    let mut listing = RawDir::new(dir, &mut buffer);
    while found.len() < most {
        let Some(entry) = listing.next() else {
            return Ok((found, None));
        };
        let entry = entry?;
        let (name, kind) = (entry.file_name().to_bytes().to_vec(), entry.file_type());
        found.push((name, kind, entry.ino()));
        if found.len() == most {
            return Ok((found, Some(entry.next_entry_cookie())));
        }
    }
    Ok((found, None))
}

fn shown(found: &mut [Listed]) -> String {
    found.sort_by(|one, other| one.0.cmp(&other.0));
    let words: Vec<_> = found
        .iter()
        .map(|(name, kind, ino)| {
            let name = escape(name);
            match name.as_str() {
                // Of the root it leads out of the mount.
                ".." => "..".to_owned(),
                _ => format!("{name}:{}:#{ino}", kind_name(*kind)),
            }
        })
        .collect();
    words.join(" ")
}

pub fn list(dir: BorrowedFd<'_>) -> Result<String, Errno> {
    let (mut found, _) = entries(dir, usize::MAX)?;
    Ok(shown(&mut found))
}

pub fn list_twice(dir: BorrowedFd<'_>, first: u32) -> Result<String, Errno> {
    let (mut found, position) = entries(dir, first as usize)?;
    let Some(position) = position else {
        return Ok(shown(&mut found));
    };
    rustix::fs::seek(dir, SeekFrom::Start(position))?;
    let (rest, _) = entries(dir, usize::MAX)?;
    rustix::fs::seek(dir, SeekFrom::Start(position))?;
    let (again, _) = entries(dir, usize::MAX)?;
    let without_numbers = |found: &[Listed]| -> Vec<_> {
        let pairs = found.iter().map(|(name, kind, _)| (name.clone(), *kind));
        pairs.collect()
    };
    let same = match rest == again {
        true => "same",
        false if without_numbers(&rest) == without_numbers(&again) => "other numbers",
        false => "other",
    };
    found.extend(rest);
    rustix::fs::seek(dir, SeekFrom::Start(0))?;
    let (whole, _) = entries(dir, usize::MAX)?;
    Ok(format!(
        "{} entries, {same}, {}",
        whole.len(),
        shown(&mut found)
    ))
}

/// Removes what is below a directory, reading it in small pieces, and gathers why something stays:
/// the order in which names come is not the same on both sides.
pub fn remove_below(dir: BorrowedFd<'_>, depth: usize, errors: &mut BTreeSet<String>) {
    // Deeper than any program makes it, so that a mistake ends.
    if depth > 20 {
        return;
    }
    let mut buffer = [MaybeUninit::uninit(); 320];
    let mut listing = RawDir::new(dir, &mut buffer);
    while let Some(entry) = listing.next() {
        let entry = match entry {
            Ok(entry) => entry,
            // Of a directory that is removed itself: each further reading would tell the same.
            Err(errno) => {
                errors.insert(error(errno));
                return;
            }
        };
        if let Err(errno) = remove(dir, &entry, depth, errors) {
            errors.insert(error(errno));
        }
    }
}

fn remove(
    dir: BorrowedFd<'_>,
    entry: &rustix::fs::RawDirEntry<'_>,
    depth: usize,
    errors: &mut BTreeSet<String>,
) -> Result<(), Errno> {
    let name = entry.file_name();
    // No program makes a file of the last name: it is the one beside the mount, and takes long.
    if matches!(name.to_bytes(), b"." | b".." | b"proc") {
        return Ok(());
    }
    if entry.file_type() != FileType::Directory {
        return rustix::fs::unlinkat(dir, name, AtFlags::empty());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let below = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    remove_below(below.as_fd(), depth + 1, errors);
    rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
}

//! What is not compared, and why. Everything else that a program can see is.

use rustix::fs::OFlags;

use super::program::{Op, Step, Whence};
use super::show::Shown;
use super::snapshot::SEPARATOR;
use super::text::{Object, Text, Time};

/// Size and link count of directories: those of a merged directory are made up by either side, and
/// POSIX gives them no meaning.
pub const DIRECTORY_SIZE_AND_LINKS: bool = true;

/// Times after this one were set by the passing of time, which is not the same on both sides, and
/// are shown as `now`. Times before were set by a program or in a layer. The time of last access and
/// of last change of attributes are not shown at all: the first depends on mount options, the other
/// cannot be set.
pub const SET_TIMES_END: i64 = 1_500_000_000;

/// Takes the times of directories from an answer about layers on a disk: a rename that fails there may
/// have made a whiteout before, and removed it again, in a directory that nothing happened to.
pub fn without_directory_times(answer: &str) -> String {
    let lines = answer.split(SEPARATOR).map(|line| {
        let is_dir = line.starts_with("dir ") || line.contains(" dir mode=");
        let words = line
            .split(' ')
            .filter(|word| !is_dir || !word.starts_with("mtime="));
        words.collect::<Vec<_>>().join(" ")
    });
    lines.collect::<Vec<_>>().join(&SEPARATOR.to_string())
}

/// What of an attribute is shown; `None` for none of it.
pub fn attribute(name: &[u8], value: &[u8], shown: Shown) -> Option<Vec<u8>> {
    if shown == Shown::Layer {
        // Where a copy came from, as a file handle, and hints for the kernel that follow from it.
        let unlike = ["origin", "impure", "uuid"];
        let unlike = |rest: &[u8]| unlike.iter().any(|name| name.as_bytes() == rest);
        let own = [b"trusted.overlay.".as_slice(), b"user.overlay."];
        if own
            .iter()
            .any(|prefix| name.strip_prefix(*prefix).is_some_and(unlike))
        {
            return None;
        }
    }
    Some(value.to_vec())
}

/// Whether the number of a file is to stay. plyfs does not write down yet where a copy came from, so
/// a file that was copied up has another number after a remount, or after the kernel forgot it.
pub fn numbers_stay() -> bool {
    pending_counts()
}

/// Whether a record of plyfs in its upper layer is to be there as the kernel would have made it. Of
/// directories that are moved, the kernel makes some opaque where nothing is below.
pub fn records_agree() -> bool {
    pending_counts()
}

// What programs are not made to do:
//
// - Ask for the names of attributes with less room than there may be: the kernel's overlay reads them
//   into it before it takes out its own, and says how many those were.
// - Set a position in a directory but the start: FUSE's directories take every position, and the
//   overlay's only those it gave out (`ovl_dir_llseek`).
// - Allocate space in ways that the file system below cannot do: FUSE sets the time of change before
//   it asks, and the overlay drops set-id bits before it asks.
// - Find whiteouts in a directory that one layer alone has: the kernel lists them there, as names
//   that do not exist (`ovl_dir_is_real`).
// - Change a device, fifo or socket by a descriptor: if it was removed in a lower layer, the kernel
//   fails with EIO, or gives it its name back.
// - Link files with userxattr, or in a user namespace: where a copy came from cannot always be written
//   down there, and two names of one file then have two numbers in the kernel.
// - Open a file for writing without truncating it, where lower layers have hard links: the kernel
//   copies up, and breaks the link, when it is opened, and plyfs when it is written to.

/// What a difference between two answers means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// plyfs is wrong.
    Bug,
    /// It is as well as the kernel's.
    Fine,
    /// So is it, but what comes after cannot be compared any more.
    FineAndOver,
}

/// Judges two answers to an operation that differ.
pub fn judge(op: &Op, kernel: &str, plyfs: &str) -> Verdict {
    match op {
        // The kernel shows the link count that a removed file has in its lower layer.
        Op::Stat {
            what: Object::Slot(_),
        } if same_but_links(kernel, plyfs) => Verdict::Fine,
        // Both refuse, and ask in another order: may it be set at all, and is there one to replace.
        Op::Setxattr { flags, .. }
            if flags.bits != 0 && [kernel, plyfs] == ["EPERM", "ENODATA"] =>
        {
            Verdict::Fine
        }
        // The kernel cannot copy up a removed file for the sake of an attribute, if another has its name.
        Op::Setxattr { flags, .. } if flags.bits != 0 => Verdict::Bug,
        Op::Link { .. } | Op::Open { .. } => Verdict::Bug,
        _ if kernel == "EEXIST" && on_slot(op) => Verdict::FineAndOver,
        // Nor a removed directory, for an ACL.
        Op::Setacl { .. } if kernel == "ENOTDIR" && on_slot(op) => Verdict::FineAndOver,
        // A file without an ACL that was opened for writing: the kernel asks the copy, where removing
        // none is fine, and plyfs the file in the lower layer.
        Op::Removexattr { name, .. }
            if name.0.starts_with(b"system.") && [kernel, plyfs] == ["ok", "ENODATA"] =>
        {
            Verdict::Fine
        }
        // Or it does, and takes a link from the one that has the name.
        Op::Tree {} | Op::Stat { .. } if kernel.contains(" nlink=0 ") => Verdict::FineAndOver,
        _ => Verdict::Bug,
    }
}

fn on_slot(op: &Op) -> bool {
    op.show().split(' ').any(|word| word.starts_with('%'))
}

fn same_but_links(kernel: &str, plyfs: &str) -> bool {
    let mut words = kernel.split(' ').zip(plyfs.split(' '));
    words.all(|(k, p)| k == p || k.starts_with("nlink=") && p == "nlink=0")
}

/// Whether what plyfs does not do yet counts, too.
pub fn pending_counts() -> bool {
    std::env::var_os("PLYFS_DIFF_PENDING").is_some()
}

/// Operations that random programs leave out, because plyfs is known to do them differently and is to
/// be changed: those of the cases in `cases/pending`. With `PLYFS_DIFF_PENDING` they are in.
pub fn is_pending(step: &Step) -> bool {
    let private = |name: &[u8]| {
        let prefixes = [b"trusted.overlay".as_slice(), b"user.overlay", b"unknown."];
        prefixes.iter().any(|prefix| name.starts_with(prefix))
    };
    if pending_counts() {
        return false;
    }
    match &step.op {
        Op::Listxattr { .. } => step.actor != 0,
        Op::Seek { whence, .. } => matches!(whence, Whence::Data | Whence::Hole),
        Op::Removexattr { name, .. } if name.0 == b"user." => true,
        Op::CopyRange { .. } => step.actor != 0,
        Op::Setxattr { name, .. } if name.0 == b"security.capability" => true,
        // Set-group-ID of files that others than the group change.
        Op::Chmod { mode, .. } | Op::Mknod { mode, .. } | Op::Open { mode, .. }
            if mode.0 & 0o2000 != 0 =>
        {
            true
        }
        Op::Setacl { .. } => step.actor != 0,
        Op::Chown { uid, gid, .. } => *uid < 0 && *gid < 0,
        Op::Open { flags, .. } => flags.bits & OFlags::TMPFILE.bits() == OFlags::TMPFILE.bits(),
        Op::Setxattr { name, .. } | Op::Removexattr { name, .. } | Op::Getxattr { name, .. } => {
            private(&name.0)
        }
        Op::Utimens { atime, mtime, .. } => [atime, mtime]
            .iter()
            .any(|time| matches!(time, Time::At(..0, 1..))),
        _ => false,
    }
}

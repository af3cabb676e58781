//! What is not compared, and why. Everything else that a program can see is.

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::layers::{Entry, What};
use super::program::{Op, Place, Program, Step};
use super::show::Shown;
use super::snapshot::SEPARATOR;
use super::text::{Object, Text};

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
    without_times(answer, |line| {
        line.starts_with("dir ") || line.contains(" dir mode=")
    })
}

fn without_times(answer: &str, of: impl Fn(&str) -> bool) -> String {
    let lines = answer.split(SEPARATOR).map(|line| {
        let applies = of(line);
        let words = line
            .split(' ')
            .filter(|word| !applies || !word.starts_with("mtime="));
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

/// What is shown of an attribute that is listed and cannot be read. Where a file system lists ACLs that it does
/// not give, plyfs says that there is none: FUSE checks no permissions by an ACL that cannot be read.
pub fn of_unreadable(name: &[u8], error: Errno) -> String {
    let is_acl = name.starts_with(b"system.posix_acl_");
    match error {
        Errno::NODATA | Errno::OPNOTSUPP if is_acl => "none".to_owned(),
        error => super::show::error(error),
    }
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
// - Nor a removed directory: if another was made in its place, the kernel puts a copy of the removed one
//   there instead, with its owner, mode and attributes.
// - Link files with userxattr, or in a user namespace: where a copy came from cannot always be written
//   down there, and two names of one file then have two numbers in the kernel.
// - Open a file for writing without truncating it, where lower layers have hard links: the kernel
//   copies up, and breaks the link, when it is opened, and plyfs when it is written to.

/// How the kernel refuses to move a directory of a lower layer without redirects, or with a redirect
/// that is too long. plyfs copies the directory up as a whole then, so that such a move is not done on
/// its side. It is compared with what the kernel does with redirects in the option set `cut_off`.
pub const REFUSED: &str = "EXDEV";

/// Whether the kernel may answer so where plyfs would not.
pub fn may_be_refused(op: &Op) -> bool {
    matches!(op, Op::Rename { .. })
}

/// What both answer where there is no space.
pub const NO_SPACE: &str = "ENOSPC";

/// Whether two answers that differ do so since one side had space, or more of it. The kernel copies up what is
/// opened for writing and plyfs what is changed, they make different files on the way, and what a removed file
/// took is free when the last of its users has gone, which FUSE tells late.
pub fn is_about_space(op: &Op, kernel: &str, plyfs: &str) -> bool {
    let writes = matches!(
        op,
        Op::Write { .. } | Op::Pwrite { .. } | Op::CopyRange { .. }
    );
    let is_number = |text: &str| text.parse::<u64>().is_ok();
    [kernel, plyfs].iter().any(|side| side.contains(NO_SPACE))
        || writes && is_number(kernel) && is_number(plyfs)
}

/// Whether something that failed may have changed what is shown: what consists of several system calls, or is
/// done a piece at a time.
pub fn may_be_done_in_part(op: &Op) -> bool {
    matches!(
        op,
        Op::RemoveTree { .. } | Op::Write { .. } | Op::Pwrite { .. } | Op::CopyRange { .. }
    )
}

/// Takes what an operation on data takes away before it does more, and may fail: set-user-ID, set-group-ID and
/// capabilities, as in the kernel.
pub fn without_what_goes_first(op: &Op, answer: String) -> String {
    if !matches!(op, Op::Fallocate { .. } | Op::Truncate { .. }) {
        return answer;
    }
    without_capabilities(&without_file_set_id(&answer))
}

fn without_capabilities(answer: &str) -> String {
    let lines = answer.split(SEPARATOR).map(|line| {
        let words = line.split(' ');
        let words = words.filter(|word| !word.starts_with("security.capability="));
        words.collect::<Vec<_>>().join(" ")
    });
    lines.collect::<Vec<_>>().join(&SEPARATOR.to_string())
}

/// Whether a killed chown(2) took the capabilities of a file of plyfs and did no more: the kernel removes them by
/// a request of its own before it asks for the other owner (`setattr_prepare`), and does not send the second
/// request for a process that was killed.
pub fn has_lost_capabilities_alone(op: &Op, before: &str, between: &str) -> bool {
    matches!(op, Op::Chown { .. }) && between == without_capabilities(before)
}

/// Whether directories may stay copied up for what failed then, on either side: those above a file that there
/// was no space for.
pub fn may_leave_directories(program: &Program) -> bool {
    let mut steps = program.steps.iter();
    program.small && steps.any(|step| matches!(step.op, Op::Fill { .. }))
}

/// Whether an operation opens a file that is there, and changes nothing.
pub fn only_opens(op: &Op) -> bool {
    matches!(op, Op::Open { .. })
}

/// The only path of an operation that may be killed and done again: what it does the second time is what it
/// does the first time.
pub fn of_one_path(op: &Op) -> Option<String> {
    match op {
        Op::Setxattr { flags, .. } if flags.bits != 0 => None,
        Op::Truncate { what, .. }
        | Op::Chmod { what, .. }
        | Op::Chown { what, .. }
        | Op::Utimens { what, .. }
        | Op::Setxattr { what, .. }
        | Op::Setacl { what, .. } => match what {
            Object::Path(path) => Some(path.show()),
            _ => None,
        },
        _ => None,
    }
}

/// Takes what a copy-up changes from the facts of a file: where a lower file has other names or lies on another
/// file system, the copy has a link count and a number of its own.
pub fn without_copy_up(answer: &str) -> String {
    let words = answer.split(' ');
    let words = words.filter(|word| !word.starts_with("nlink=") && !word.starts_with("ino="));
    words.collect::<Vec<_>>().join(" ")
}

/// What the kernel may answer of a file that is the same object at two paths of a layer: it has one inode for
/// both, of which a change makes one a copy. plyfs has two files.
pub const TWO_PATHS: &str = "ESTALE";

/// Takes the numbers from an answer. In listings, where layers lie on several file systems: the kernel shows
/// files of each with the numbers they have there, so that two may have the same, and a directory another than
/// stat(2) shows. Everywhere, where a layer gives two files one number: the kernel shows it for both, and plyfs
/// one of its own for the second.
pub fn without_numbers(answer: &str) -> String {
    let lines = answer.split(SEPARATOR).map(|line| {
        let words = line
            .split(' ')
            .filter(|word| !word.starts_with("ino="))
            .map(|word| word.split_once(":#").map_or(word, |(before, _)| before));
        words.collect::<Vec<_>>().join(" ")
    });
    lines.collect::<Vec<_>>().join(&SEPARATOR.to_string())
}

/// Takes the times of files from an answer. When the data of a metacopy is copied up, the kernel's
/// overlay leaves the file with the present time, though no program wrote to it. And without writeback a FUSE
/// mount learns of what was stored in a mapping, and when, with msync(2), munmap(2) or close(2): until then
/// stat(2) shows the time before, as POSIX allows.
pub fn without_file_times(answer: &str) -> String {
    without_times(answer, |line| {
        line.starts_with("file ") || line.contains(" file mode=")
    })
}

/// Takes set-user-ID and set-group-ID from the modes of files in an answer. Without writeback the kernel
/// asks in the same words for what a chown(2) that changes nothing drops and for what a write to a file
/// with capabilities does. plyfs drops all of it for both, which only the superuser's write can tell.
pub fn without_file_set_id(answer: &str) -> String {
    let lines = answer.split(SEPARATOR).map(|line| {
        let words = line
            .split(' ')
            .map(|word| match word.strip_prefix("mode=") {
                Some(mode) if line.contains("file mode=") => {
                    let mode = u32::from_str_radix(mode, 8).map(|mode| mode & 0o1777);
                    mode.map_or_else(|_| word.to_owned(), |mode| format!("mode={mode:o}"))
                }
                _ => word.to_owned(),
            });
        words.collect::<Vec<_>>().join(" ")
    });
    lines.collect::<Vec<_>>().join(&SEPARATOR.to_string())
}

/// Whether an operation is a chown(2) that changes nothing, by a stranger to a file with set-id bits. The
/// kernel's overlay refuses it; without writeback plyfs cannot tell it from a write, and changes nothing.
pub fn is_taken_for_a_write(op: &Op, kernel: &str, plyfs: &str) -> bool {
    let is_of_nothing = matches!(
        op,
        Op::Chown {
            uid: -1,
            gid: -1,
            ..
        }
    );
    is_of_nothing && [kernel, plyfs] == ["EPERM", "ok"]
}

/// Whether one side refuses by an ACL, or permits by it, that the other does not apply. bindfs shows ACLs and has
/// the kernel check none of them. The kernel's overlay checks what the layer checks, and plyfs by every ACL that is
/// shown: a FUSE mount has no other choice.
pub fn is_by_an_unchecked_acl(program: &Program, kernel: &str, plyfs: &str) -> bool {
    let refuses = |side: &str| side.split(' ').any(|word| word == "EACCES");
    let of_bindfs = |entry: &Entry| {
        let place = entry.layer.and_then(|layer| program.place(layer));
        place == Some(Place::Bindfs)
    };
    let has_acl = |entry: &Entry| {
        let mut names = entry.xattrs.iter().map(|(name, _)| &name.0);
        names.any(|name| name.starts_with(b"system.posix_acl_"))
    };
    let mut entries = program.entries.iter();
    refuses(kernel) != refuses(plyfs) && entries.any(|entry| of_bindfs(entry) && has_acl(entry))
}

/// Takes from a listing that was read twice whether the numbers were the same, where bindfs shows what is mounted in
/// its directory: it lists the number of what lies below the mount, and stat(2) shows another. plyfs lists the one
/// or the other, as the kernel asks for names alone or with their attributes.
pub fn without_numbers_below_mounts(program: &Program, answer: &str) -> String {
    let is_mounted = |entry: &Entry| matches!(entry.what, What::Bind(_) | What::Mount);
    match program.has_equal_numbers() && program.entries.iter().any(is_mounted) {
        true => answer.replace(", other numbers,", ", same,"),
        false => answer.to_owned(),
    }
}

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
        // Both refuse: the kernel asks the copy that opening for writing made, whether it may be removed, and
        // plyfs the file in the lower layer, whether there is one.
        Op::Removexattr { .. } if [kernel, plyfs] == ["EPERM", "ENODATA"] => Verdict::Fine,
        Op::Link { .. } | Op::Open { .. } => Verdict::Bug,
        // The kernel cannot copy up a removed file, if another has its name.
        _ if kernel == "EEXIST" && on_slot(op) => Verdict::FineAndOver,
        // Nor a removed directory, and one in a removed directory not even with an index; nor a file in a
        // directory of the lower layer that was removed, into which it would have to be copied (ENOENT).
        Op::Setacl { .. }
        | Op::Setxattr { .. }
        | Op::Chmod { .. }
        | Op::Chown { .. }
        | Op::Utimens { .. }
            if (["ENOTDIR", "EIO"].contains(&kernel) || [kernel, plyfs] == ["ENOENT", "ok"])
                && (on_slot(op) || on_current_directory(op)) =>
        {
            Verdict::FineAndOver
        }
        // A file without an ACL that was opened for writing: the kernel asks the copy, where removing
        // none is fine, and plyfs the file in the lower layer.
        Op::Removexattr { name, .. }
            if name.0.starts_with(b"system.") && [kernel, plyfs] == ["ok", "ENODATA"] =>
        {
            Verdict::Fine
        }
        // The kernel copies files up a mebibyte at a time, or as much as is left, and fills what holes are in it.
        Op::Seek { .. } if op.show().contains(" hole ") && fills_a_hole(kernel, plyfs) => {
            Verdict::FineAndOver
        }
        Op::Seek { offset, .. }
            if op.show().contains(" data ") && found_in_a_hole(*offset, kernel, plyfs) =>
        {
            Verdict::FineAndOver
        }
        // As in `of_unreadable`.
        Op::Getxattr { name, .. } | Op::Removexattr { name, .. }
            if name.0.starts_with(b"system.posix_acl_")
                && [kernel, plyfs] == ["EOPNOTSUPP", "ENODATA"] =>
        {
            Verdict::Fine
        }
        // The same, said by an ACL without entries.
        Op::Setxattr { name, value, .. }
            if name.0.starts_with(b"system.")
                && value.0.is_empty()
                && [kernel, plyfs] == ["ok", "ENODATA"] =>
        {
            Verdict::Fine
        }
        // Or it does, and takes a link from the one that has the name.
        Op::Tree {}
        | Op::Stat {
            what: Object::Path(_),
        } if kernel.contains(" nlink=0 ") => Verdict::FineAndOver,
        _ => Verdict::Bug,
    }
}

/// How much the kernel copies up at a time, in bytes.
const CHUNK: u64 = 1 << 20;

/// What follows an offset that is the size of the file.
pub const AT_END: &str = " end";

fn offsets(kernel: &str, plyfs: &str) -> Option<(u64, u64)> {
    let offset = |text: &str| text.strip_suffix(AT_END).unwrap_or(text).parse().ok();
    offset(kernel).zip(offset(plyfs))
}

/// Whether the kernel's hole begins where what was copied at a time ends: after whole pieces, or at the end of the
/// file, if plyfs's hole is in the last piece.
fn fills_a_hole(kernel: &str, plyfs: &str) -> bool {
    let at_end = kernel.ends_with(AT_END);
    offsets(kernel, plyfs).is_some_and(|(kernel, plyfs)| {
        kernel > plyfs && (kernel % CHUNK == 0 || at_end && kernel - plyfs < CHUNK)
    })
}

/// Whether there is data for the kernel where it was asked, in what is copied at a time with plyfs's.
fn found_in_a_hole(asked: i64, kernel: &str, plyfs: &str) -> bool {
    offsets(kernel, plyfs).is_some_and(|(kernel, plyfs)| {
        u64::try_from(asked) == Ok(kernel) && plyfs > kernel && plyfs - kernel < CHUNK
    })
}

fn on_slot(op: &Op) -> bool {
    op.show().split(' ').any(|word| word.starts_with('%'))
}

fn on_current_directory(op: &Op) -> bool {
    op.show().split(' ').any(|word| word == "." || word == "@.")
}

fn same_but_links(kernel: &str, plyfs: &str) -> bool {
    let mut words = kernel.split(' ').zip(plyfs.split(' '));
    words.all(|(k, p)| k == p || k.starts_with("nlink=") && p == "nlink=0")
}

/// Whether what plyfs does differently is in random programs, too.
pub fn pending_counts() -> bool {
    std::env::var_os("PLYFS_DIFF_PENDING").is_some()
}

/// Operations that random programs leave out, because plyfs is known to do them differently: those of
/// the cases in `cases/pending`. With `PLYFS_DIFF_PENDING` they are in.
///
/// The FUSE library has no `O_TMPFILE`, and takes one number for a node and for what a directory lists, so
/// that without an index names of one lower file are listed with different ones.
pub fn is_pending(step: &Step) -> bool {
    match &step.op {
        _ if pending_counts() => false,
        Op::Open { flags, .. } => flags.bits & OFlags::TMPFILE.bits() == OFlags::TMPFILE.bits(),
        _ => false,
    }
}

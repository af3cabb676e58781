//! Standard input, output and error, which a container has from the caller: what they may be, and reading and
//! writing them.

use std::os::fd::{AsFd, OwnedFd};

use plyfs_sys::mount::{Change, change};
use plyfs_sys::process::{Fork, fork, unshare};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::{WaitOptions, waitpid};
use rustix::thread::UnshareFlags;

use super::descriptor;
use crate::failure::{Doing, Failure, Outcome};

/// What keeps a file at standard input as it is, until this is dropped.
pub(crate) struct Input {
    /// As the caller opened it.
    original: OwnedFd,
}

/// Makes standard input, output and error safe to pass on to a container, which opens them once more by
/// /proc/self/fd, as it likes.
///
/// - A directory leads to the machine's tree (openat(2)), and so does what is open only as a path.
/// - A block device, opened for reading, could be written to.
/// - A file that the caller opened for reading could be written to. So standard input becomes the same file on
///   a mount that is read-only.
///
/// What is open for writing can be read and truncated: it is the container's.
///
/// # Errors
/// If one is nothing that can be passed on.
pub(crate) fn protect() -> Outcome<Option<Input>> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for (name, fd) in [
        ("input", stdin.as_fd()),
        ("output", stdout.as_fd()),
        ("error", stderr.as_fd()),
    ] {
        let Ok(stat) = rustix::fs::fstat(fd) else {
            continue;
        };
        let doing = format!("examine standard {name}");
        let flags = rustix::fs::fcntl_getfl(fd).doing(&doing)?;
        let refused = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Some("a directory"),
            FileType::BlockDevice => Some("a block device"),
            _ if flags.contains(OFlags::PATH) => Some("open as a path only"),
            FileType::RegularFile if name != "input" && is_read_only(flags) => {
                Some("a file that is open for reading only")
            }
            _ => None,
        };
        if let Some(what) = refused {
            return Err(Failure::new(format_args!(
                "standard {name} is {what}, by which a container could leave; use a pipe instead"
            )));
        }
    }
    let Ok(stat) = rustix::fs::fstat(&stdin) else {
        return Ok(None);
    };
    let flags = rustix::fs::fcntl_getfl(&stdin).doing("examine standard input")?;
    let is_file = FileType::from_raw_mode(stat.st_mode).is_file();
    // A file without a name is nothing that others see: shells make some for here-documents.
    if !is_file || !is_read_only(flags) || stat.st_nlink == 0 {
        return Ok(None);
    }
    Input::replace(&stat).map(Some)
}

fn is_read_only(flags: OFlags) -> bool {
    flags & OFlags::RWMODE == OFlags::RDONLY
}

impl Input {
    fn replace(stat: &Stat) -> Outcome<Self> {
        const DOING: &str = "make standard input read-only for the container";
        let stdin = std::io::stdin();
        let original = rustix::io::fcntl_dupfd_cloexec(&stdin, 3).doing(DOING)?;
        let file = read_only(stat).map_err(|failure| {
            Failure::new(format_args!("{failure}; use a pipe (cat FILE | plyfs ...)"))
        })?;
        let position = rustix::fs::tell(&stdin).doing(DOING)?;
        rustix::fs::seek(&file, SeekFrom::Start(position)).doing(DOING)?;
        rustix::stdio::dup2_stdin(&file).doing(DOING)?;
        Ok(Self { original })
    }
}

impl Drop for Input {
    /// What the container has read, the caller's file has been read: `(plyfs run ...; cat) <FILE` prints the
    /// rest.
    fn drop(&mut self) {
        let position = rustix::fs::tell(std::io::stdin());
        let moved = position.and_then(|position| {
            rustix::fs::seek(&self.original, SeekFrom::Start(position)).map(drop)
        });
        if let Err(errno) = moved {
            log::debug!("cannot say how far standard input was read: {errno}");
        }
    }
}

/// The file at standard input, opened once more on a read-only mount. Such a mount is made in namespaces of a
/// process of its own, and goes with the last descriptor.
fn read_only(stat: &Stat) -> Outcome<OwnedFd> {
    const DOING: &str = "make standard input read-only for the container";
    let (ours, theirs) = descriptor::pair().doing(DOING)?;
    match fork().doing(DOING)? {
        Fork::Child => {
            let sent = open_read_only(stat)
                .and_then(|file| descriptor::send(&theirs, b"f", Some(file.as_fd())));
            let errno = sent.err().map_or(0, Errno::raw_os_error);
            std::process::exit(errno)
        }
        Fork::Parent(child) => {
            drop(theirs);
            let received = descriptor::receive(&ours).doing(DOING)?;
            let ended = rustix::io::retry_on_intr(|| waitpid(Some(child), WaitOptions::empty()));
            let (_, status) = ended.doing(DOING)?.ok_or(Errno::CHILD).doing(DOING)?;
            if let Some(file) = received.and_then(|received| received.fd) {
                return Ok(file);
            }
            let errno = match status.exit_status() {
                Some(errno @ 1..) => Errno::from_raw_os_error(errno),
                _ => Errno::IO,
            };
            Err(errno).doing(DOING)
        }
    }
}

fn open_read_only(stat: &Stat) -> rustix::io::Result<OwnedFd> {
    const INPUT: &str = "/proc/self/fd/0";
    match unshare(UnshareFlags::NEWNS) {
        Err(Errno::PERM) => unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)?,
        made => made?,
    }
    // By its name: what the link itself leads to is in the mount namespace in which it was opened.
    let path = rustix::fs::readlink(INPUT, Vec::new())?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(CWD, path.as_c_str(), flags)?;
    let found = rustix::fs::statat(&mount, c"", AtFlags::EMPTY_PATH)?;
    if (found.st_dev, found.st_ino) != (stat.st_dev, stat.st_ino) {
        // It was replaced, or is hidden by a mount.
        return Err(Errno::STALE);
    }
    let restricted = Change {
        read_only: Some(true),
        nosuid: Some(true),
        nodev: Some(true),
        noexec: None,
    };
    change(mount.as_fd(), restricted, false)?;
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(super::root::proc_path(&mount), flags, Mode::empty())
}

/// Reads. Unlike the standard library it waits where the descriptor would not, for what it is shared with a
/// process that has made it non-blocking (fcntl(2), `O_NONBLOCK`).
pub(super) fn read(from: impl AsFd, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    loop {
        match rustix::io::read(&from, &mut *buffer) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(&from, PollFlags::IN)?,
            read => return read,
        }
    }
}

/// Writes everything, and waits as [`read`] does.
pub(super) fn write_all(to: impl AsFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&to, bytes) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(&to, PollFlags::OUT)?,
            written => bytes = bytes.get(written?..).unwrap_or_default(),
        }
    }
    Ok(())
}

fn wait(fd: impl AsFd, for_what: PollFlags) -> rustix::io::Result<()> {
    let mut fds = [PollFd::new(&fd, for_what)];
    rustix::io::retry_on_intr(|| poll(&mut fds, None)).map(drop)
}

//! Standard input, output and error, which a container has from the caller: what they may be.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use plyfs_sys::process::{Fork, fork, unshare};
use rustix::fs::{FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;
use rustix::process::{WaitOptions, waitpid};
use rustix::thread::UnshareFlags;

use super::detached;
use crate::descriptor;
use crate::error::{CliError, Context, Result};

const DOING: &str = "make standard input read-only for the container";

/// What keeps a file at standard input as it is, until this is dropped.
pub(crate) struct Input {
    /// As the caller opened it.
    original: OwnedFd,
    /// Where it was read next when the container was started, in bytes.
    position: u64,
}

/// Makes standard input, output and error safe to pass on to a container, which opens them once more by
/// /proc/self/fd, as it likes.
///
/// - A directory leads to the machine's tree (openat(2)), and so does what is open only as a path.
/// - A device of the machine, opened for reading, could be written to. Only terminals, /dev/null and their like
///   are harmless.
/// - A file that the caller opened for reading could be written to. So standard input becomes the same file on
///   a mount that is read-only.
///
/// What is open for writing can be read and truncated: it is the container's.
///
/// # Errors
/// If one is nothing that can be passed on.
pub(crate) fn protect() -> Result<Option<Input>> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let mut is_to_replace = false;
    for (name, fd) in [
        ("input", stdin.as_fd()),
        ("output", stdout.as_fd()),
        ("error", stderr.as_fd()),
    ] {
        let Ok(stat) = rustix::fs::fstat(fd) else {
            continue;
        };
        let flags = rustix::fs::fcntl_getfl(fd).context(format_args!("examine standard {name}"))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let is_read_only_file = kind.is_file() && flags & OFlags::RWMODE == OFlags::RDONLY;
        let refused = match kind {
            FileType::Directory => Some("a directory"),
            FileType::BlockDevice => Some("a block device"),
            FileType::CharacterDevice if !is_harmless(fd, &stat) => Some("a device"),
            _ if flags.contains(OFlags::PATH) => Some("open as a path only"),
            _ if name != "input" && is_read_only_file => {
                Some("a file that is open for reading only")
            }
            _ => None,
        };
        if let Some(what) = refused {
            return Err(CliError::new(format_args!(
                "standard {name} is {what}, by which a container could leave; use a pipe instead"
            )));
        }
        // Shells make files without a name for here-documents, which no mount can show.
        is_to_replace |= is_read_only_file && stat.st_nlink > 0;
    }
    is_to_replace.then(Input::replace).transpose()
}

/// Puts a descriptor at standard input, output and error.
pub(super) fn replace_all(with: &OwnedFd) -> rustix::io::Result<()> {
    rustix::stdio::dup2_stdin(with)?;
    rustix::stdio::dup2_stdout(with)?;
    rustix::stdio::dup2_stderr(with)
}

/// Whether nothing can be done to the machine by a character device: a terminal, or /dev/null, zero, full,
/// random and urandom (mem(4), full(4), random(4)).
fn is_harmless(fd: BorrowedFd<'_>, stat: &Stat) -> bool {
    let number = (
        rustix::fs::major(stat.st_rdev),
        rustix::fs::minor(stat.st_rdev),
    );
    matches!(number, (1, 3 | 5 | 7 | 8 | 9)) || rustix::termios::isatty(fd)
}

impl Input {
    fn replace() -> Result<Self> {
        Self::try_replace().map_err(|failure| {
            CliError::new(format_args!("{failure}; use a pipe (cat FILE | plyfs ...)"))
        })
    }

    fn try_replace() -> Result<Self> {
        let stdin = std::io::stdin();
        let original = rustix::io::fcntl_dupfd_cloexec(&stdin, 3).context(DOING)?;
        let file = read_only()?;
        let position = rustix::fs::tell(&stdin).context(DOING)?;
        rustix::fs::seek(&file, SeekFrom::Start(position)).context(DOING)?;
        rustix::stdio::dup2_stdin(&file).context(DOING)?;
        Ok(Self { original, position })
    }
}

impl Drop for Input {
    /// What the container has read, the caller's file has been read: `(plyfs run ...; cat) <FILE` prints the
    /// rest. The file only goes forward, and by no more than that: others may have read from it meanwhile.
    fn drop(&mut self) {
        let moved = rustix::fs::tell(std::io::stdin()).and_then(|position| {
            let read = i64::try_from(position.saturating_sub(self.position)).unwrap_or_default();
            if read == 0 {
                return Ok(());
            }
            rustix::fs::seek(&self.original, SeekFrom::Current(read)).map(drop)
        });
        if let Err(errno) = moved {
            log::debug!("cannot set the offset of standard input: {errno}");
        }
    }
}

/// The file at standard input, opened once more on a read-only mount. Such a mount is made in namespaces of a
/// process of its own, and goes with the last descriptor.
fn read_only() -> Result<OwnedFd> {
    let (ours, theirs) = descriptor::pair().context(DOING)?;
    match fork().context(DOING)? {
        Fork::Child => {
            let sent = open_read_only()
                .and_then(|file| descriptor::send(&theirs, b"f", Some(file.as_fd())));
            let errno = sent.err().map_or(0, Errno::raw_os_error);
            std::process::exit(errno)
        }
        Fork::Parent(child) => {
            drop(theirs);
            let received = descriptor::receive(&ours).context(DOING)?;
            let ended = rustix::io::retry_on_intr(|| waitpid(Some(child), WaitOptions::empty()));
            let (_, status) = ended.context(DOING)?.ok_or(Errno::CHILD).context(DOING)?;
            if let Some(file) = received.and_then(|received| received.fd) {
                return Ok(file);
            }
            let errno = match status.exit_status() {
                Some(errno @ 1..) => Errno::from_raw_os_error(errno),
                _ => Errno::IO,
            };
            Err(errno).context(DOING)
        }
    }
}

fn open_read_only() -> rustix::io::Result<OwnedFd> {
    match unshare(UnshareFlags::NEWNS) {
        Err(Errno::PERM) => unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)?,
        made => made?,
    }
    let mount = detached::read_only("/proc/self/fd/0")?;
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(super::root::proc_path(&mount), flags, Mode::empty())
}

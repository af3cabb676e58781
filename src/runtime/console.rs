//! The terminal of a container: a pair of its own /dev/pts, whose master goes to the caller.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use plyfs_sys::mount::Change;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Uid};
use rustix::pty::OpenptFlags;

use super::mounts::{attach, clone_of, file_system};
use super::report::Report;
use super::root::{Links, Root, openat2};
use super::streams;
use crate::error::{CliError, Context, Result};

/// `DEVPTS_SUPER_MAGIC` (statfs(2)).
const DEVPTS: u64 = 0x1cd1;

/// The container's end of a terminal.
pub(super) struct Console {
    slave: OwnedFd,
}

impl Console {
    /// Makes a terminal in the container's /dev/pts and reports its master. The terminal belongs to `user`.
    pub(super) fn open(dev: impl AsFd, report: &Report, user: u32) -> Result<Self> {
        let master = open_master(dev)?;
        rustix::pty::unlockpt(&master).context("unlock the terminal of the container")?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags);
        let slave = slave.context("open the terminal of the container")?;
        rustix::fs::fchown(&slave, Some(Uid::from_raw(user)), None)
            .context("give the terminal to the user of the container")?;
        report.console(&master)?;
        Ok(Self { slave })
    }

    /// Shows it as /dev/console.
    pub(super) fn show(&self, root: &Root) -> Result {
        const DOING: &str = "make /dev/console in the container";
        let path = Path::new("/dev/console");
        let place = root.place(path, false, Links::Refuse);
        let place = place.map_err(|error| error.failure(path))?;
        let none = Change::default();
        let shown = clone_of(&self.slave, none, false).context(DOING)?;
        attach(&shown, &place).context(DOING)
    }

    /// Makes it the controlling terminal of this session, and standard input, output and error.
    pub(super) fn take(self) -> Result {
        const DOING: &str = "take the terminal of the container";
        rustix::process::ioctl_tiocsctty(&self.slave).context(DOING)?;
        streams::replace_all(&self.slave).context(DOING)
    }
}

/// Opens /dev/pts/ptmx. In a container that runs it may be anything by now, so what it is is looked at
/// first (CVE-2025-52565).
fn open_master(dev: impl AsFd) -> Result<OwnedFd> {
    const DOING: &str = "open /dev/pts/ptmx in the container";
    let path = Path::new("pts/ptmx");
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let open = |flags| {
        openat2(
            dev.as_fd(),
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )
    };
    let found = open(OFlags::PATH).context(DOING)?;
    let stat = rustix::fs::fstat(&found).context(DOING)?;
    let is_device = FileType::from_raw_mode(stat.st_mode).is_char_device();
    let number = rustix::fs::makedev(5, 2);
    if !is_device || stat.st_rdev != number || file_system(&found)? != DEVPTS {
        return Err(CliError::new(
            "cannot open a terminal: /dev/pts/ptmx of the container is not that of a devpts",
        ));
    }
    let master = open(OFlags::RDWR | OFlags::NOCTTY).context(DOING)?;
    let opened = rustix::fs::fstat(&master).context(DOING)?;
    if (opened.st_dev, opened.st_ino) != (stat.st_dev, stat.st_ino) {
        return Err(CliError::new(
            "cannot open a terminal: /dev/pts/ptmx of the container changes",
        ));
    }
    Ok(master)
}

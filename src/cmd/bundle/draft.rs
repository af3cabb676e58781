//! A bundle that is being made: all of it is there in the end, or nothing.

use std::ffi::OsStr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use plyfs_store::{ContainerName, Store};
use plyfs_sys::process::SignalQueue;
use rustix::process::Signal;

use crate::error::{CliError, Context, Result};
use crate::namespace;

/// The directory of a bundle in which the image is mounted.
pub(super) const ROOTFS: &str = "rootfs";
pub(super) const CONFIG: &str = "config.json";

/// Signals that ask for the end, and wait until that leaves nothing behind.
const HELD: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM];

/// What was made so far. Dropped before [`keep`](Self::keep), it removes all of that.
pub(super) struct Draft<'s> {
    store: &'s Store,
    dir: PathBuf,
    /// Whether the directory was made too.
    is_new_dir: bool,
    /// The container that was made for it.
    container: Option<ContainerName>,
    signals: SignalQueue,
    is_kept: bool,
}

impl<'s> Draft<'s> {
    /// Makes the directory, with an empty one to mount on.
    pub(super) fn begin(store: &'s Store, dir: &Path) -> Result<Self> {
        let signals = SignalQueue::block(&HELD).context("hold signals back")?;
        let is_new_dir = make_directory(dir)?;
        // From here on it is removed if anything fails.
        let draft = Self {
            store,
            dir: dir.to_owned(),
            is_new_dir,
            container: None,
            signals,
            is_kept: false,
        };
        let root = draft.root();
        std::fs::create_dir(&root).context(format_args!("make {}", root.display()))?;
        Ok(draft)
    }

    /// Where the image is mounted.
    pub(super) fn root(&self) -> PathBuf {
        self.dir.join(ROOTFS)
    }

    /// Marks a container as one that was made for this bundle.
    pub(super) fn owns(&mut self, container: &ContainerName) {
        self.container = Some(container.clone());
    }

    /// Fails if a signal asks for the end.
    pub(super) fn go_on(&self) -> Result {
        let Some(signal) = self.signals.pending().context("look for signals")? else {
            return Ok(());
        };
        let status = u8::try_from(128 + signal.as_raw()).unwrap_or(1);
        let failure = CliError::new(format_args!(
            "ended by signal {} before the bundle was complete; nothing of it is left",
            signal.as_raw()
        ));
        Err(failure.with_status(status))
    }

    /// Leaves the bundle to the caller.
    pub(super) fn keep(mut self) {
        self.is_kept = true;
    }

    /// Whether something is mounted, and if only by a process that is gone.
    fn is_mounted(&self) -> bool {
        let device = |path: &Path| path.metadata().map(|meta| meta.dev()).ok();
        device(&self.dir) != device(&self.root())
    }

    fn unmount(&self) {
        let root = self.root();
        let mut umount = this_program(self.store);
        umount.arg("umount").arg(&root).stdout(Stdio::null());
        match umount.status() {
            Ok(status) if status.success() => {}
            Ok(_) => log::warn!(
                "cannot unmount {}; run \"plyfs umount\" on it",
                root.display()
            ),
            Err(error) => log::warn!(
                "cannot unmount {}: {error}; run \"plyfs umount\" on it",
                root.display()
            ),
        }
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        let root = self.root();
        if root.exists() && self.is_mounted() {
            self.unmount();
        }
        for name in [CONFIG, "hosts", "hostname", "resolv.conf"] {
            drop(std::fs::remove_file(self.dir.join(name)));
        }
        drop(std::fs::remove_dir(root));
        if self.is_new_dir {
            drop(std::fs::remove_dir(&self.dir));
        }
        if let Some(name) = &self.container
            && let Err(error) = self.store.remove_container(name)
        {
            log::warn!("{error}");
        }
    }
}

/// This program once more, with the same store.
pub(super) fn this_program(store: &Store) -> Command {
    let mut program = Command::new("/proc/self/exe");
    program.args([OsStr::new("--store"), store.path().as_os_str()]);
    program
}

/// Makes the directory; returns whether it was created.
///
/// # Errors
/// If it is there and not empty, or others may enter it.
fn make_directory(dir: &Path) -> Result<bool> {
    let shown = dir.display();
    // Set-uid programs of the image work below it, and are not for other users of this machine.
    let created = std::fs::DirBuilder::new().mode(0o700).create(dir);
    match created {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        created => {
            created.context(format_args!("make {shown}"))?;
            return Ok(true);
        }
    }
    let mut entries = std::fs::read_dir(dir).context(format_args!("list {shown}"))?;
    if entries.next().is_some() {
        return Err(CliError::new(format_args!(
            "{shown} is not empty; give a new directory for the bundle"
        )));
    }
    refuse_open(dir)?;
    Ok(false)
}

/// Refuses a directory of the superuser that others may enter: they could run set-uid programs of the image.
fn refuse_open(dir: &Path) -> Result {
    let shown = dir.display();
    let metadata = dir.metadata().context(format_args!("examine {shown}"))?;
    if namespace::is_real_root() && metadata.mode() & 0o011 != 0 {
        return Err(CliError::new(format_args!(
            "others may enter {shown}, and run set-uid programs of the image there; give a new directory, or \
             chmod 0700 it"
        )));
    }
    Ok(())
}

//! What the options of a mount ask for.

use std::path::PathBuf;
use std::time::Duration;

use plyfs_format::names::Namespace;
use plyfs_fs::{IndexUse, OverrideStatMode, Owners, RedirectDir, Volatile, XattrTrust};
use plyfs_fuse::EnabledRequests;
use rustix::mount::MountFlags;

use super::backend_choice::BackendChoice;

/// What the options of a mount say.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Options {
    /// Lower directories, topmost first.
    pub(crate) lowers: Vec<PathBuf>,
    /// Lower directories that only hold data, below the others.
    pub(crate) data: Vec<PathBuf>,
    /// Whether they are given one by one.
    pub(crate) adds_layers: bool,
    pub(crate) upper: Option<PathBuf>,
    pub(crate) work: Option<PathBuf>,
    pub(crate) read_only: bool,
    /// Change the flags of what is mounted instead of mounting.
    pub(crate) remount: bool,
    pub(crate) volatile: Volatile,
    pub(crate) namespace: Option<Namespace>,
    pub(crate) redirect_dir: Option<RedirectDir>,
    pub(crate) metacopy: Option<bool>,
    pub(crate) copy_up_at_open: bool,
    /// Whether users of the mount see no extended attributes.
    pub(crate) no_xattrs: bool,
    /// Whether every directory has a link count of 1.
    pub(crate) static_nlink: bool,
    pub(crate) owners: Owners,
    /// Whether owners and modes are in `override_stat` records.
    pub(crate) records: OverrideStatMode,
    /// Whether whiteouts may be files called `.wh.NAME`.
    pub(crate) archive_names: bool,
    pub(crate) marks: XattrTrust,
    pub(crate) index: Option<IndexUse>,
    /// `nosuid` and the like; `None` where nothing was said.
    pub(crate) flags: Vec<(MountFlags, bool)>,
    pub(crate) allow_other: bool,
    pub(crate) default_permissions: bool,
    pub(crate) acl: Option<bool>,
    pub(crate) writeback: Option<bool>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) threads: Option<usize>,
    pub(crate) polling: Option<bool>,
    pub(crate) passthrough: bool,
    /// Requests that are sent though they need not be.
    pub(crate) sent: EnabledRequests,
    /// The source shown in /proc/self/mountinfo.
    pub(crate) source: Option<String>,
    /// The part of the type after `fuse.` shown there.
    pub(crate) subtype: Option<String>,
    /// What is to serve the mount.
    pub(crate) backend: Option<BackendChoice>,
    /// What is said to the kernel's overlay as it is, if that serves the mount.
    pub(crate) kernel: Vec<(String, String)>,
}

impl Options {
    /// The options of a mount that `plyfs run` makes. The container gets its devices elsewhere; its
    /// set-uid programs are for its users.
    pub(crate) fn for_run(backend: Option<BackendChoice>) -> Self {
        Self {
            flags: vec![(MountFlags::NODEV, true)],
            ..Self::served_by(backend)
        }
    }

    /// Adds flags that hold unless the options say otherwise.
    pub(crate) fn set_unless_said(&mut self, flags: MountFlags) {
        for flag in flags.iter() {
            if !self.flags.iter().any(|(said, _)| *said == flag) {
                self.flags.push((flag, true));
            }
        }
    }

    /// No options but what is to serve the mount.
    pub(crate) fn served_by(backend: Option<BackendChoice>) -> Self {
        Self {
            backend,
            ..Self::default()
        }
    }

    /// What holds under the name fuse-overlayfs before any option.
    pub(crate) fn for_fuse_overlayfs() -> Self {
        let name = || Some("fuse-overlayfs".to_owned());
        Self {
            allow_other: rustix::process::geteuid().is_root(),
            // As libfuse mounts for root. For others fusermount3 adds it, and `nosuid`.
            flags: match rustix::process::geteuid().is_root() {
                true => vec![(MountFlags::NODEV, true)],
                false => Vec::new(),
            },
            default_permissions: true,
            archive_names: true,
            marks: XattrTrust::Any,
            source: name(),
            subtype: name(),
            ..Self::default()
        }
    }

    /// The flags for mount(2), `default` being those that hold where nothing was said.
    pub(crate) fn mount_flags(&self, default: MountFlags) -> MountFlags {
        let mut flags = default;
        for (flag, value) in &self.flags {
            flags.set(*flag, *value);
        }
        flags.set(MountFlags::RDONLY, self.read_only);
        flags
    }
}

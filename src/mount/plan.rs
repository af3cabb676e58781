//! What a mount is to be: data only. Commands make a [`Plan`], and the process that serves the mount carries it out.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use plyfs_format::names::Namespace;
use plyfs_fs::{Config, OverrideStatMode};
use plyfs_fuse::EnabledRequests;
use plyfs_store::LiveEntry;
use rustix::mount::MountFlags;

use super::backend_choice::BackendChoice;
use super::options::Options;
use crate::namespace;

/// Everything a daemon needs to know.
pub(crate) struct Plan {
    pub(crate) overlay: Config,
    pub(crate) transport: plyfs_fuse::Options,
    pub(crate) target: Target,
    pub(crate) requirements: Requirements,
    pub(crate) place: Place,
    /// How long to wait for directories that another mount has in use.
    pub(crate) patience: Duration,
    /// A lock, or something else that the daemon holds as long as the mount lives.
    pub(crate) hold: Option<Box<dyn std::any::Any>>,
    /// What to do when the mount has ended and the daemon has released all locks.
    pub(crate) after: Option<Box<dyn FnOnce()>>,
    /// Makes the mount known to other commands; called once it exists.
    pub(crate) register: Option<Register>,
}

/// Registers a mount that the backend of this name serves.
pub(crate) type Register = Box<dyn FnOnce(&'static str) -> Option<LiveEntry>>;

/// Where a mount may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where it hides no other union and does not contain itself.
    Free,
    /// Wherever the caller wants it: the caller knows what it hides, or no other process sees the place.
    Any,
}

impl Plan {
    /// The plan of a mount: `overlay` has its layers, and `source` is shown in /proc/self/mountinfo unless an option
    /// names another one.
    pub(crate) fn new(options: &Options, target: PathBuf, overlay: Config, source: &str) -> Self {
        let records = keeps_owners(&overlay);
        let transport = transport(options, records);
        let overlay = Config {
            gathers: transport.writeback,
            lowers_change: transport.allow_for_changes(),
            ..overlay
        };
        Self {
            target: Target::new(options, target, &overlay, source),
            overlay,
            transport,
            requirements: Requirements::of(options),
            place: Place::Any,
            patience: Duration::ZERO,
            hold: None,
            after: None,
            register: None,
        }
    }
}

/// Whether a layer has owners in `override_stat` records.
fn keeps_owners(overlay: &Config) -> bool {
    let lowers = overlay.lowers.iter().map(|lower| lower.records);
    let upper = overlay.upper.as_ref().map(|upper| upper.records);
    lowers.chain(upper).any(OverrideStatMode::keep_owners)
}

fn transport(options: &Options, records: bool) -> plyfs_fuse::Options {
    let default = plyfs_fuse::Options::default();
    let mut transport = plyfs_fuse::Options {
        timeout: options.timeout.unwrap_or(default.timeout),
        writeback: options.writeback.unwrap_or(default.writeback),
        // No ACLs with records: ACLs name ids as the file system has them, while records hold the ids that the
        // mount shows; and with ACLs the kernel would check permissions.
        acl: options.acl.unwrap_or(default.acl) && !records,
        passthrough: options.passthrough,
        copy_up_at_open: options.copy_up_at_open,
        xattrs: !options.no_xattrs,
        threads: options.threads.unwrap_or(default.threads),
        polling: options.polling.unwrap_or(default.polling),
        enabled: options.sent,
    };
    if transport.writeback && transport.allow_for_changes() {
        log::warn!(
            "writeback=1 has no effect with timeout=: the kernel would keep sizes of files that change"
        );
        transport.writeback = false;
    }
    transport
}

/// What is to be mounted where.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// An absolute path.
    pub(crate) path: PathBuf,
    /// The number of a descriptor of /dev/fuse that another program has mounted already.
    pub(crate) device: Option<RawFd>,
    pub(crate) source: String,
    /// The part of the file system type after `fuse.`.
    pub(crate) subtype: String,
    pub(crate) flags: MountFlags,
    /// The flags that were asked for, as words.
    pub(crate) flag_words: Vec<&'static str>,
    pub(crate) allow_other: bool,
    pub(crate) default_permissions: bool,
}

impl Target {
    fn new(options: &Options, path: PathBuf, overlay: &Config, source: &str) -> Self {
        let trusted = namespace::can_mount();
        let mut flags = options.mount_flags(MountFlags::NOATIME);
        flags.set(
            MountFlags::RDONLY,
            options.read_only || overlay.upper.is_none(),
        );
        let subtype = options.subtype.clone();
        Self {
            path,
            device: None,
            source: options.source.clone().unwrap_or_else(|| source.to_owned()),
            subtype: subtype.unwrap_or_else(|| "plyfs".to_owned()),
            flags,
            flag_words: options.flag_words(),
            // A process that may mount is root of a machine or of a namespace, and other users there use the mount, too.
            allow_other: options.allow_other || trusted,
            // An ordinary user sees the owners that records name, but all files are the user's own. So the kernel
            // need not check permissions: no other user can reach the mount, and the daemon has no more rights
            // than the user.
            default_permissions: trusted || !keeps_owners(overlay) || options.default_permissions,
        }
    }
}

/// What the choice depends on, besides the layers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Requirements {
    pub(crate) choice: BackendChoice,
    /// Options to pass on to the kernel's overlay unchanged.
    pub(crate) kernel: Vec<(String, String)>,
    /// The first of those that FUSE cannot honour.
    pub(crate) kernel_only: Option<String>,
    /// The first of the options that the kernel's overlay cannot honour.
    pub(crate) fuse_only: Option<&'static str>,
    /// The first of the options that only tune FUSE.
    pub(crate) tuning: Option<&'static str>,
    /// An empty directory, to be put below a single layer.
    pub(crate) empty: Option<PathBuf>,
    /// For each layer with opaque directories that this program has unpacked: whether they are marked
    /// in `trusted.*`; nothing if that is not known.
    pub(crate) marks: Vec<Option<bool>>,
}

impl Requirements {
    /// Reads it from the options.
    pub(crate) fn of(options: &Options) -> Self {
        let first = |options: &[(bool, &'static str)]| {
            let mut options = options.iter();
            options.find(|(said, _)| *said).map(|(_, name)| *name)
        };
        Self {
            choice: options.backend.unwrap_or_default(),
            kernel: options.kernel.clone(),
            kernel_only: options.for_kernel_only(),
            fuse_only: first(&[
                (options.acl == Some(false), "noacl"),
                (options.subtype.is_some(), "subtype="),
                // Not only a matter of speed: layers may be changed underneath.
                (options.timeout.is_some(), "timeout="),
                (options.passthrough, "passthrough="),
            ]),
            tuning: first(&[
                (options.writeback.is_some(), "writeback="),
                (options.threads.is_some(), "threads="),
                (options.polling.is_some(), "polling="),
                (options.sent != EnabledRequests::default(), "send="),
            ]),
            ..Self::default()
        }
    }

    /// Whether a mount in this mode would not see the marks of all opaque directories.
    pub(crate) fn marks_elsewhere(&self, mode: Mode) -> bool {
        let seen = Some(mode == Mode::Trusted);
        self.marks.iter().any(|marks| *marks != seen)
    }
}

/// Where the kernel's overlay keeps its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// In `trusted.*` attributes: for the superuser.
    Trusted,
    /// In `user.*` attributes (`userxattr`): for all other users, without the features that would have to trust
    /// attributes which others could have written.
    User,
}

impl Mode {
    /// The mode in which the kernel reads the attributes that an overlay has.
    pub(crate) fn of(overlay: &Config) -> Self {
        match overlay.namespace {
            Some(Namespace::Trusted) => Self::Trusted,
            Some(Namespace::User) => Self::User,
            None if namespace::is_initial() => Self::Trusted,
            None => Self::User,
        }
    }

    pub(crate) fn namespace(self) -> Namespace {
        match self {
            Self::Trusted => Namespace::Trusted,
            Self::User => Namespace::User,
        }
    }
}

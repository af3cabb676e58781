//! What serves a mount: the kernel's overlay, or this program through FUSE.
//!
//! Whoever mounts says which, or leaves it to be chosen: then the kernel's overlay serves what it can
//! serve as it was asked for, and FUSE everything else. What the kernel can is found out by trying: a
//! mount is made that nobody sees yet, and shown when it has come about.
//!
//! # Invariants
//!
//! - The layers are checked and locked in the same way for both, so that what is wrong with them is
//!   told in the same words, and neither gets directories that the other has.
//! - What was asked for by name is had or refused; nothing else is taken instead.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use plyfs_fs::fuse::Sent;
use plyfs_fs::{Config, Overlay, Volatile};

use super::connection;
use super::daemon::{Place, Plan};
use super::hindrance::Hindrance;
use super::kernel::{self, Mode, Mounted};
use super::options::Options;
use super::table;
use crate::failure::{Failure, Outcome};
use crate::namespace;

/// What somebody wants a mount to be served by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Wish {
    /// The kernel's overlay where it can give all that is asked for, else FUSE
    #[default]
    Auto,
    /// The kernel's overlay
    Kernel,
    /// This program, through FUSE
    Fuse,
}

impl Wish {
    /// The values, for a message.
    pub(crate) const NAMES: &str = "auto, kernel or fuse";
    /// The environment variable that says it where nothing else does.
    pub(crate) const VARIABLE: &str = "PLYFS_BACKEND";

    /// What was asked for, or what the environment says.
    pub(crate) fn or_environment(asked: Option<Self>) -> Outcome<Option<Self>> {
        if asked.is_some() {
            return Ok(asked);
        }
        // An empty variable is as good as none.
        let value = std::env::var_os(Self::VARIABLE).filter(|value| !value.is_empty());
        let Some(value) = value else { return Ok(None) };
        let wish = value.to_str().and_then(|value| value.parse().ok());
        wish.map(Some).ok_or_else(|| {
            Failure::new(format_args!(
                "{} takes {}, not {value:?}",
                Self::VARIABLE,
                Self::NAMES
            ))
        })
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Kernel => "kernel",
            Self::Fuse => "fuse",
        })
    }
}

impl FromStr for Wish {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "auto" => Ok(Self::Auto),
            "kernel" => Ok(Self::Kernel),
            "fuse" => Ok(Self::Fuse),
            _ => Err(()),
        }
    }
}

/// What the choice depends on, besides the layers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) wish: Wish,
    /// Options that the kernel's overlay is given as they are.
    pub(crate) kernel: Vec<(String, String)>,
    /// The first of those that FUSE cannot honour.
    pub(crate) kernel_only: Option<String>,
    /// The first of the options that the kernel's overlay cannot honour.
    pub(crate) fuse_only: Option<&'static str>,
    /// The first of the options that only say how FUSE works.
    pub(crate) tuning: Option<&'static str>,
    /// An empty directory, to be put below a single layer.
    pub(crate) empty: Option<PathBuf>,
    /// For each layer with opaque directories that this program has unpacked: whether they are marked
    /// in `trusted.*`; nothing if that is not known.
    pub(crate) marks: Vec<Option<bool>>,
}

impl Wanted {
    /// What options say of it.
    pub(crate) fn of(options: &Options) -> Self {
        let first = |options: &[(bool, &'static str)]| {
            let mut options = options.iter();
            options.find(|(said, _)| *said).map(|(_, name)| *name)
        };
        Self {
            wish: options.backend.unwrap_or_default(),
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
                (options.sent != Sent::default(), "send="),
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

/// What was chosen.
pub(crate) enum Backend {
    /// The kernel's overlay, mounted where nobody sees it yet, with the locks of its layers.
    Kernel(Mounted, Box<Overlay>),
    /// FUSE.
    Fuse,
}

/// Chooses what serves a mount, and says so to who wants to hear it.
pub(crate) fn choose(plan: &Plan) -> Outcome<Backend> {
    let place = (plan.place == Place::Free).then_some(&*plan.connection.target);
    table::refuse(&plan.overlay, place)?;
    let hindrance = match plan.backend.wish {
        Wish::Fuse => return fuse(plan, &"it was asked for"),
        Wish::Kernel => match hindrance(plan, None) {
            Some(why) if !why.is_slight() => return Err(cannot(&why)),
            _ => return by_kernel(plan, &"it was asked for").map_err(|why| cannot(&why))?,
        },
        Wish::Auto => hindrance(plan, Some(PATIENCE)),
    };
    let without_fuse = match hindrance {
        None => {
            return match by_kernel(plan, &"it can give all that was asked for") {
                Ok(done) => done,
                Err(why) => fuse(plan, &why),
            };
        }
        // Only then it matters: opening the device costs as much as the rest of the choice.
        Some(why) => match why.is_slight().then(connection::missing_device).flatten() {
            None => return fuse(plan, &why),
            Some(missing) => missing,
        },
    };
    by_kernel(plan, &without_fuse).unwrap_or_else(|why| {
        Err(Failure::new(format_args!(
            "{without_fuse}; and {}",
            cannot(&why)
        )))
    })
}

/// How many files of an upper directory are looked at before something else is done than mounting.
const PATIENCE: usize = 20_000;

fn cannot(why: &dyn fmt::Display) -> Failure {
    Failure::new(format_args!(
        "the kernel's overlay cannot serve this mount: {why}"
    ))
}

/// What keeps the kernel's overlay from giving what was asked for, as far as that can be told before
/// it is tried. `patience` is how many files may be looked at for it.
fn hindrance(plan: &Plan, patience: Option<usize>) -> Option<Hindrance> {
    Hindrance::of(plan, Mode::of(&plan.overlay), patience)
}

/// Mounts with the kernel's overlay. The outer error is why it cannot, the inner one what is wrong
/// with the layers, for whatever serves them.
fn by_kernel(plan: &Plan, why: &dyn fmt::Display) -> Result<Outcome<Backend>, Failure> {
    let mut config = Config {
        // The kernel leaves the mark by itself, and does not go on where there is one.
        volatile: Volatile::No,
        ..plan.overlay.clone()
    };
    if let Some(upper) = &mut config.upper {
        // The kernel believes none, so there are none to remove.
        upper.records = upper.records.untrusted();
    }
    let checked = match Overlay::open(&config) {
        Ok(overlay) => overlay,
        Err(error) => return Ok(Err(error.into())),
    };
    let mounted = kernel::mount(plan)?;
    log::info!("mounting with the kernel's overlay: {why}");
    Ok(Ok(Backend::Kernel(mounted, Box::new(checked))))
}

/// FUSE, unless that cannot give something that was asked for, or is not there.
fn fuse(plan: &Plan, why: &dyn fmt::Display) -> Outcome<Backend> {
    if let Some(option) = &plan.backend.kernel_only {
        return Err(match plan.backend.wish {
            Wish::Fuse => Failure::new(format_args!(
                "{option} is for the kernel's overlay, and backend=fuse was asked for"
            )),
            _ => Failure::new(format_args!(
                "{option} is for the kernel's overlay, which cannot serve this mount: {why}"
            )),
        });
    }
    let mut told = plan.backend.kernel.iter();
    if told.any(|(name, value)| name == "nfs_export" && value == "on") {
        log::warn!("nfs_export=on is not possible through FUSE, falling back to nfs_export=off");
    }
    let may_choose = plan.backend.wish == Wish::Auto && plan.connection.device.is_none();
    if may_choose
        && namespace::can_mount()
        && let Some(missing) = connection::missing_device()
    {
        return Err(Failure::new(format_args!("{missing}; and {}", cannot(why))));
    }
    log::info!("mounting with FUSE: {why}");
    Ok(Backend::Fuse)
}

//! What serves a mount: the kernel's overlay, or this program through FUSE.
//!
//! The user names one of them, or leaves the choice to this program: then the kernel's overlay serves each
//! mount for which it can honour all options, and FUSE serves the others. Only trying shows what the kernel
//! can do: this program makes a mount that is not attached to any directory yet, and attaches it when the
//! kernel has accepted it.
//!
//! # Invariants
//!
//! - This program checks and locks the layers in the same way for both backends, so that both report
//!   faults of layers in the same words, and neither gets directories that the other has in use.
//! - With `kernel` or `fuse` the mount fails if that backend cannot serve it; there is no fallback.

use std::fmt;

use plyfs_fs::{Config, Overlay, Volatile};

use super::backend_choice::BackendChoice;
use super::fuse_mount;
use super::kernel_overlay::{self, Mounted};
use super::mountinfo;
use super::obstacles::Obstacle;
use super::plan::{Mode, Place, Plan};
use crate::error::{CliError, Result};
use crate::namespace;

/// What was chosen.
pub(crate) enum Backend {
    /// The kernel's overlay, mounted, with the locks of its layers.
    Kernel(Mounted, Box<Overlay>),
    /// FUSE.
    Fuse,
}

/// Chooses the backend of a mount, and logs the reason at info level. If it chooses the kernel's overlay, it has
/// mounted it.
pub(crate) fn choose(plan: &Plan) -> Result<Backend> {
    let place = (plan.place == Place::Free).then_some(&*plan.target.path);
    mountinfo::refuse(&plan.overlay, place)?;
    let obstacle = match plan.requirements.choice {
        BackendChoice::Fuse => return fuse(plan, &"it was asked for"),
        BackendChoice::Kernel => match obstacle(plan, None) {
            Some(why) if !why.is_slight() => return Err(cannot(&why)),
            _ => return by_kernel(plan, &"it was asked for").map_err(|why| cannot(&why))?,
        },
        BackendChoice::Auto => obstacle(plan, Some(PATIENCE)),
    };
    let without_fuse = match obstacle {
        None => {
            return match by_kernel(plan, &"it can give all that was asked for") {
                Ok(done) => done,
                Err(why) => fuse(plan, &why),
            };
        }
        // Look for the device only here, where it matters: opening it costs as much as the rest of the choice.
        Some(why) => match why.is_slight().then(fuse_mount::missing_device).flatten() {
            None => return fuse(plan, &why),
            Some(missing) => missing,
        },
    };
    by_kernel(plan, &without_fuse).unwrap_or_else(|why| {
        Err(CliError::new(format_args!(
            "{without_fuse}; and {}",
            cannot(&why)
        )))
    })
}

/// How many files of an upper directory the automatic choice looks at before it takes FUSE instead.
const PATIENCE: usize = 20_000;

fn cannot(why: &dyn fmt::Display) -> CliError {
    CliError::new(format_args!(
        "the kernel's overlay cannot serve this mount: {why}"
    ))
}

/// What keeps the kernel's overlay from serving the mount as the user wants it, as far as this program can
/// know before it tries. `patience` is the number of files that it may look at.
fn obstacle(plan: &Plan, patience: Option<usize>) -> Option<Obstacle> {
    Obstacle::of(plan, Mode::of(&plan.overlay), patience)
}

/// Mounts with the kernel's overlay. The outer error is why the kernel cannot serve the mount; the inner one
/// is a fault of the layers, which FUSE would report as well.
fn by_kernel(plan: &Plan, why: &dyn fmt::Display) -> Result<Result<Backend>, CliError> {
    let mut config = Config {
        // The kernel sets the mark of a volatile mount itself, and refuses to mount where it finds one.
        volatile: Volatile::No,
        ..plan.overlay.clone()
    };
    if let Some(upper) = &mut config.upper {
        // The kernel does not read `override_stat` records, so do not remove any.
        upper.records = upper.records.untrusted();
    }
    let checked = match Overlay::open(&config) {
        Ok(overlay) => overlay,
        Err(error) => return Ok(Err(error.into())),
    };
    let mounted = kernel_overlay::mount(plan)?;
    log::info!("mounting with the kernel's overlay: {why}");
    Ok(Ok(Backend::Kernel(mounted, Box::new(checked))))
}

/// Takes FUSE. Fails if the user gave an option that FUSE cannot honour, or if FUSE is missing.
fn fuse(plan: &Plan, why: &dyn fmt::Display) -> Result<Backend> {
    if let Some(option) = &plan.requirements.kernel_only {
        return Err(match plan.requirements.choice {
            BackendChoice::Fuse => CliError::new(format_args!(
                "{option} is for the kernel's overlay, and backend=fuse was asked for"
            )),
            _ => CliError::new(format_args!(
                "{option} is for the kernel's overlay, which cannot serve this mount: {why}"
            )),
        });
    }
    let mut options = plan.requirements.kernel.iter();
    if options.any(|(name, value)| name == "nfs_export" && value == "on") {
        log::warn!("nfs_export=on is not possible through FUSE, falling back to nfs_export=off");
    }
    let may_choose =
        plan.requirements.choice == BackendChoice::Auto && plan.target.device.is_none();
    if may_choose
        && namespace::can_mount()
        && let Some(missing) = fuse_mount::missing_device()
    {
        return Err(CliError::new(format_args!(
            "{missing}; and {}",
            cannot(why)
        )));
    }
    log::info!("mounting with FUSE: {why}");
    Ok(Backend::Fuse)
}

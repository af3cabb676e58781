//! Mounting plain directories, for `plyfs mount` and under the other names of the program.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plyfs_fs::{
    Config, IndexUse, LowerLayer, MarkedUpper, OverrideStatMode, UpperLayer, was_served_by_kernel,
};

use super::mount_point::mount_point;
use crate::error::{CliError, Context, Result};
use crate::image_mount;
use crate::mount::options::Options;
use crate::mount::plan::Plan;
use crate::mount::server::{self, Announce};

/// How long a mount for a container tool waits for its directories: these tools unmount without waiting until
/// the daemon is done, and mount the same directories again at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// Mounts plain directories on a path, or serves a connection that the caller has mounted and passes as
/// `/dev/fd/N`.
pub(crate) fn mount_directories(options: &Options, mountpoint: &OsStr, foreground: bool) -> Result {
    if options.lowers.is_empty() {
        return Err(CliError::new("no layers were given: lowerdir= is missing"));
    }
    let number = mountpoint
        .to_str()
        .and_then(|path| path.strip_prefix("/dev/fd/"));
    let mut plan = match number.and_then(|number| number.parse().ok()) {
        None => plan_directories(options, mount_point(Path::new(mountpoint), false)?)?,
        Some(number) => {
            let mut plan = plan_directories(options, PathBuf::from(mountpoint))?;
            plan.target.device = Some(number);
            plan
        }
    };
    plan.patience = PATIENCE;
    serve(plan, foreground, &nothing)
}

/// Announces nothing: a mount of directories prints nothing.
pub(crate) fn nothing() -> Result {
    Ok(())
}

/// Returns when a mount that is served in the foreground is gone, or with the reason why it cannot be mounted.
pub(crate) fn serve(plan: Plan, foreground: bool, announce: Announce<'_>) -> Result {
    // Close inherited pipes: a process at the other end may wait for their end, and the daemon would hold them
    // open as long as the mount lives.
    plyfs_sys::process::close_inherited(plan.target.device).context("close descriptors")?;
    if foreground {
        server::run_foreground(plan, announce)
    } else {
        server::daemonize(plan, announce)
    }
}

/// The mount of plain directories.
pub(crate) fn plan_directories(options: &Options, target: PathBuf) -> Result<Plan> {
    let absolute = |path: &PathBuf| std::path::absolute(path).context("resolve a path");
    // As in fuse-overlayfs, the record on the root of a layer shows which attribute the layer uses for records.
    // Users of a mount of the kernel's overlay can write that attribute, so it does not count in a directory
    // that the kernel's overlay has served.
    let records_of = |path: &Path, work: Option<&Path>| match options.archive_names {
        true if !was_served_by_kernel(path, work) => records_on(path).unwrap_or(options.records),
        _ => options.records,
    };
    let layers = |paths: &[PathBuf]| -> Result<Vec<LowerLayer>> {
        paths
            .iter()
            .map(|path| {
                let layer = LowerLayer::new(absolute(path)?);
                Ok(LowerLayer {
                    records: records_of(path, None),
                    marks: options.marks,
                    archive_names: options.archive_names,
                    ..layer
                })
            })
            .collect()
    };
    let upper = match (&options.upper, &options.work) {
        (None, None) => None,
        (Some(upper), Some(work)) => Some(UpperLayer {
            path: absolute(upper)?,
            work: absolute(work)?,
            records: records_of(upper, Some(work)),
            marks: options.marks,
            archive_names: options.archive_names,
        }),
        _ => return Err(plyfs_fs::MountError::UpperWithoutWork.into()),
    };
    let overlay = Config {
        lowers: layers(&options.lowers)?,
        data: layers(&options.data)?,
        upper,
        volatile: options.volatile,
        namespace: options.namespace,
        // By default, write no redirects, metacopies and index entries into a directory of the user: programs
        // that do not know them misread them, and the user may mount the directory with any program.
        redirect_dir: options.redirect_dir.unwrap_or_default(),
        metacopy: options.metacopy.unwrap_or(false),
        index: options.index.unwrap_or(IndexUse::Off),
        shown_ids: image_mount::shown_ids(),
        owners: options.owners.clone(),
        static_nlink: options.static_nlink,
        // Some records may be from before the kernel's overlay served the directory.
        marked_upper: MarkedUpper::Refuse,
        in_store: false,
        ..Config::default()
    };
    Ok(Plan::new(options, target, overlay, "plyfs"))
}

/// The kind of records that the root of a layer has.
fn records_on(path: &Path) -> Option<OverrideStatMode> {
    let mut kinds = [
        OverrideStatMode::Privileged,
        OverrideStatMode::Older,
        OverrideStatMode::All,
    ]
    .into_iter();
    kinds.find(|records| {
        let mut buffer = [0; 256];
        rustix::fs::getxattr(path, records.attribute(), &mut buffer[..]).is_ok()
    })
}

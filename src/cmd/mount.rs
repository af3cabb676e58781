//! `plyfs mount`.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::Args;
use plyfs_store::{LiveKind, LiveRequest};
use rustix::mount::MountFlags;

use super::shared::directories::{nothing, plan_directories, serve};
use super::shared::mount_point::mount_point;
use super::shared::needed::NeededArgs;
use crate::containers::live;
use crate::error::{CliError, Result, USAGE};
use crate::image_mount::{self, Subject};
use crate::mount::backend_choice::BackendChoice;
use crate::mount::fuse_mount;
use crate::mount::options::Options;
use crate::mount::plan::Place;
use crate::{output, storage};

/// Mount an image, or a stack of directories
///
/// An image is mounted writable: its changes are kept in a container, whose name is printed, and
/// which is mounted again by --container NAME.
#[derive(Debug, Args)]
#[command(override_usage = "plyfs mount [OPTIONS] IMAGE MOUNTPOINT\n       \
    plyfs mount [OPTIONS] --container NAME MOUNTPOINT\n       \
    plyfs mount -o lowerdir=A:B[,upperdir=U,workdir=W][,...] MOUNTPOINT")]
pub(crate) struct MountArgs {
    /// Mount options, as for mount(8): lowerdir=A:B, upperdir=U, workdir=W, ro, volatile, ...; all of them
    /// are in mount.plyfs(8)
    #[arg(short = 'o', value_name = "OPTIONS")]
    pub(crate) options: Vec<String>,
    /// Mount read-only
    #[arg(long)]
    pub(crate) ro: bool,
    /// The container that keeps the changes; made if there is none of that name
    #[arg(long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Stay in the foreground and serve the mount until it is unmounted
    #[arg(short, long)]
    pub(crate) foreground: bool,
    /// Take the place of a mount whose daemon has ended
    #[arg(long)]
    pub(crate) replace: bool,
    /// What serves the mount: the kernel's overlay, FUSE, or the first of them that supports all options
    /// [default: $PLYFS_BACKEND, else auto]
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendChoice>,
    /// Do not print the name of the container
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) needed: NeededArgs,
    /// The image, unless layers or a container are given, and the directory to mount on
    #[arg(required = true, num_args = 1..=2, value_names = ["IMAGE", "MOUNTPOINT"])]
    pub(crate) what_and_where: Vec<OsString>,
}

/// Mounts what the arguments name.
pub(crate) fn mount(args: &MountArgs, store: Option<&Path>) -> Result {
    let mut options = Options::parse(&args.options)?;
    options.read_only |= args.ro;
    options.backend = BackendChoice::or_environment(options.backend.or(args.backend))?;
    let (what, mountpoint) = match args.what_and_where.as_slice() {
        [mountpoint] => (None, mountpoint),
        [what, mountpoint, ..] => (Some(what.to_string_lossy()), mountpoint),
        [] => return Err(CliError::new("no directory to mount on was given")),
    };
    let container = args.container.as_deref();
    if what.is_none() && container.is_none() && options.lowers.is_empty() && !options.remount {
        return Err(one_word_alone(mountpoint));
    }
    let target = mount_point(Path::new(mountpoint), args.replace)?;
    if options.remount {
        return fuse_mount::remount(&target, |before| options.mount_flags(before));
    }
    if options.lowers.is_empty() {
        return mount_from_store(args, &options, what.as_deref(), target, store);
    }
    if what.is_some() || container.is_some() {
        return Err(CliError::new(
            "lowerdir= names the layers; an image or a container cannot be given besides",
        ));
    }
    let mut plan = plan_directories(&options, target)?;
    plan.place = Place::Free;
    serve(plan, args.foreground, &nothing)
}

/// What is missing where one word names either what to mount or where.
fn one_word_alone(word: &OsStr) -> CliError {
    let shown = word.display();
    let failure = match Path::new(word).is_dir() {
        true => CliError::new(format_args!(
            "nothing to mount on {shown}: give an image before it (\"plyfs mount IMAGE {shown}\"), a container \
             (--container) or layers (-o lowerdir=)"
        )),
        false => CliError::new(format_args!(
            "the directory to mount on is missing: give it behind the image, as in \"plyfs mount {shown} /mnt\""
        )),
    };
    failure.with_status(USAGE)
}

/// Mounts an image, or a container, which it makes if there is none.
fn mount_from_store(
    args: &MountArgs,
    options: &Options,
    image: Option<&str>,
    target: PathBuf,
    store: Option<&Path>,
) -> Result {
    let name = args.container.as_deref();
    // Images come from others, and containers hold what their users made.
    let mut options = options.clone();
    options.set_unless_said(MountFlags::NODEV | MountFlags::NOSUID);
    let options = &options;
    let store = args.needed.store(storage::location(store)?)?;
    if let (Some(image), None, true) = (image, name, options.read_only) {
        let image = args.needed.image(&store, image)?;
        let request = LiveRequest {
            target: Some(target.clone()),
            ..LiveRequest::of_image(LiveKind::Mount, &image)
        };
        let manifest = image.manifest_digest;
        let subject = Subject::image_of(&store, image)?;
        let mut plan = image_mount::plan(&store, &subject, options, target, true)?;
        // From here on only the plan holds the image, so that the daemon can let go of it.
        drop(subject);
        let its_store = store.clone();
        plan.after = Some(Box::new(move || {
            storage::collect_unnamed(&its_store, &manifest)
        }));
        plan.place = Place::Free;
        plan.register = Some(live::on_mount(&store, request));
        return serve(plan, args.foreground, &nothing);
    }
    let image = image
        .map(|image| args.needed.image(&store, image))
        .transpose()?;
    let (container, made) = image_mount::container(&store, name, image)?;
    let name = container.record.name.clone();
    let request = LiveRequest {
        target: Some(target.clone()),
        ..LiveRequest::of_container(LiveKind::Mount, &container, false)
    };
    let subject = Subject::Container(Box::new(container));
    let was_mounted = Cell::new(false);
    let announce = || {
        if !args.quiet {
            output::write(&format!("{name}\n"))?;
        }
        was_mounted.set(true);
        Ok(())
    };
    let plan = image_mount::plan(&store, &subject, options, target, options.read_only);
    let served = plan.and_then(|mut plan| {
        plan.place = Place::Free;
        plan.register = Some(live::on_mount(&store, request));
        serve(plan, args.foreground, &announce)
    });
    // A later failure, in the foreground, is no reason to remove a container that was mounted: it may hold changes.
    if served.is_err()
        && made
        && !was_mounted.get()
        && let Err(error) = store.remove_container(&name)
    {
        log::warn!("{error}");
    }
    served
}

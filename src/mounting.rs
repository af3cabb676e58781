//! `plyfs mount` and `plyfs umount`.

use std::cell::Cell;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plyfs_fs::{
    Config, IndexUse, LowerLayer, MarkedUpper, OverrideStatMode, UpperLayer, was_served_by_kernel,
};
use plyfs_store::{LiveKind, LiveRecord, LiveRequest};
use rustix::fs::FileType;
use rustix::mount::MountFlags;
use rustix::process::Signal;

use crate::cmd::bundle;
use crate::cmd::mount::MountArgs;
use crate::cmd::umount::UmountArgs;
use crate::containers::live;
use crate::error::{CliError, Context, Result, USAGE};
use crate::image_mount::{self, Subject};
use crate::mount::backend_choice::BackendChoice;
use crate::mount::fuse_mount;
use crate::mount::mountinfo;
use crate::mount::options::Options;
use crate::mount::plan::{Place, Plan};
use crate::mount::server::{self, Announce};
use crate::mount::serving::{Device, Server};
use crate::{output, pidfd, storage};

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

/// Announces nothing: a mount of directories prints nothing.
fn nothing() -> Result {
    Ok(())
}

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
    let store = storage::open_existing(store)?;
    if let (Some(image), None, true) = (image, name, options.read_only) {
        let image = store.image(image)?;
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

/// Returns when a mount that is served in the foreground is gone, or with the reason why it cannot be mounted.
fn serve(plan: Plan, foreground: bool, announce: Announce<'_>) -> Result {
    // Close inherited pipes: a process at the other end may wait for their end, and the daemon would hold them
    // open as long as the mount lives.
    plyfs_sys::process::close_inherited(plan.target.device).context("close descriptors")?;
    if foreground {
        server::run_foreground(plan, announce)
    } else {
        server::daemonize(plan, announce)
    }
}

/// The directory to mount on, without links. With `replace`, unmounts file systems there whose
/// daemons have ended.
fn mount_point(path: &Path, replace: bool) -> Result<PathBuf> {
    let action = format!("mount on {}", path.display());
    let real = match path.canonicalize() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(CliError::new(format_args!(
                "cannot {action}: there is no such directory; make it first"
            )));
        }
        found => found.context(&action)?,
    };
    while is_dead(&real) {
        if !replace {
            return Err(CliError::new(format_args!(
                "cannot mount on {}: the daemon of the file system that is mounted there has ended; take that \
                 away with \"plyfs umount {}\", or with \"plyfs mount --replace\"",
                path.display(),
                path.display()
            )));
        }
        // Detach it (lazily): a program that still uses it does not keep the new mount from being made.
        fuse_mount::unmount(&real, true)?;
    }
    let found = rustix::fs::stat(&real).context(&action)?;
    if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        return Ok(real);
    }
    Err(CliError::new(format_args!(
        "cannot mount on {}: it is no directory",
        path.display()
    )))
}

/// Whether a FUSE file system is mounted on a path whose daemon has ended. The kernel may still know what stat(2)
/// shows; statfs(2) asks the daemon.
fn is_dead(path: &Path) -> bool {
    rustix::fs::statfs(path).err() == Some(rustix::io::Errno::NOTCONN)
}

/// The path that a symbolic link leads to, since [`mount`] mounts there too. Any other path is returned as it is,
/// without a call on the file system mounted there: its daemon may have ended.
fn followed(path: PathBuf) -> PathBuf {
    match path.symlink_metadata() {
        Ok(found) if found.is_symlink() => path.canonicalize().unwrap_or(path),
        _ => path,
    }
}

/// The mount of plain directories.
fn plan_directories(options: &Options, target: PathBuf) -> Result<Plan> {
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

/// Unmounts, and waits until the process that serves or keeps the mount has released the layers.
///
/// If nothing is mounted there in this mount namespace, looks for a mount among the live records of the store.
pub(crate) fn umount(args: &UmountArgs, store: Option<&Path>) -> Result {
    let target = followed(std::path::absolute(&args.mountpoint).context("resolve a path")?);
    let target = match bundle::mounted_below(&target) {
        Some(root) if !mountinfo::is_mount_point(&target) => root,
        _ => target,
    };
    // Asked before the mount is gone: no path leads to its device then.
    let device = Device::mounted_on(&target);
    let is_mounted = device.is_some() || mountinfo::is_mount_point(&target);
    let servers = device.map(Server::all_of).unwrap_or_default();
    if !is_mounted {
        return match live_mount(&args.mountpoint, &target, store)? {
            Some(record) => unmount_live(&record, args.lazy),
            None => Err(not_mounted(&args.mountpoint, &target, store)),
        };
    }
    if !fuse_mount::unmount_own(&target, args.lazy)? {
        return match live_mount(&args.mountpoint, &target, store)? {
            Some(record) => unmount_live(&record, args.lazy),
            None => Err(fuse_mount::not_unmounted(&target, rustix::io::Errno::INVAL)),
        };
    }
    if let Some(device) = device.filter(|_| !args.lazy) {
        wait_for(&servers, device, &target);
    }
    Ok(())
}

/// Why there is nothing to unmount. Does not call fusermount3(1), whose message names the table it has read.
fn not_mounted(argument: &Path, target: &Path, store: Option<&Path>) -> CliError {
    let name = argument.to_str().and_then(|name| name.parse().ok());
    if let (Some(name), Some(store)) = (name, storage::open_if_usable(store))
        && store.container(&name).is_ok()
    {
        return CliError::new(format_args!("the container \"{name}\" is not mounted"));
    }
    match target.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => CliError::new(format_args!(
            "cannot unmount {}: there is no such directory, and no container of that name",
            argument.display()
        )),
        _ => fuse_mount::not_unmounted(target, rustix::io::Errno::INVAL),
    }
}

/// The mount of the store that is on a directory in another mount namespace, or is called so.
fn live_mount(argument: &Path, target: &Path, store: Option<&Path>) -> Result<Option<LiveRecord>> {
    let Some(store) = storage::open_if_usable(store) else {
        return Ok(None);
    };
    let live = match store.live() {
        Ok(live) => live,
        Err(error) => {
            log::debug!("{error}");
            return Ok(None);
        }
    };
    // OverrideStatMode have paths without links.
    let resolved = target.canonicalize();
    let resolved = resolved.as_deref().unwrap_or(target);
    let is_there = |record: &&LiveRecord| {
        let at = record.what.target.as_deref();
        (at == Some(target) || at == Some(resolved)) && !live::is_here(record)
    };
    let there: Vec<&LiveRecord> = live.iter().filter(is_there).collect();
    match there.as_slice() {
        [] => {}
        [one] => return live::settled(&store, (*one).clone()),
        several => return Err(ambiguous(target, several)),
    }
    let name = argument.to_str().unwrap_or_default();
    match live.into_iter().find(|record| record.is_called(name)) {
        Some(record) if record.what.kind == LiveKind::Run => Err(CliError::new(format_args!(
            "the container \"{name}\" is not mounted but runs; end it with \"{}\"",
            live::remedy(&record)
        ))),
        Some(record) => live::settled(&store, record),
        None => Ok(None),
    }
}

/// A directory on which something is mounted in several namespaces.
fn ambiguous(target: &Path, records: &[&LiveRecord]) -> CliError {
    let name = |record: &&LiveRecord| {
        let (id, pid) = (&record.id, record.process.pid);
        format!("{id} ({}) by process {pid}", record.what.image)
    };
    let names: Vec<String> = records.iter().map(name).collect();
    CliError::new(format_args!(
        "{} is mounted on in several other mount namespaces: {}; unmount one by its name",
        target.display(),
        names.join(", ")
    ))
}

/// Unmounts a mount in any mount namespace. In another one the process that serves the mount unmounts it, on a
/// signal.
pub(crate) fn unmount_live(record: &LiveRecord, lazy: bool) -> Result {
    let target = record.what.target.as_deref().unwrap_or(Path::new("/"));
    if live::is_here(record) {
        let device = Device::mounted_on(target);
        let servers = device.map(Server::all_of).unwrap_or_default();
        fuse_mount::unmount(target, lazy)?;
        if let Some(device) = device.filter(|_| !lazy) {
            wait_for(&servers, device, target);
        }
        return Ok(());
    }
    let pid = u32::try_from(record.process.pid);
    let server = pid.ok().and_then(Server::of_process);
    let process = match live::signal(record, Signal::TERM)? {
        Some(process) if !lazy => process,
        _ => return Ok(()),
    };
    let is_ending = || server.as_ref().is_some_and(Server::is_ending);
    if ends_within(PATIENCE_AT_END, || pidfd::has_ended(&process), is_ending) {
        return Ok(());
    }
    // Only now can this process know that the mount is in use there; the other one has already detached it.
    Err(CliError::new(format_args!(
        "{} was detached, but something still uses it in its mount namespace; process {} serves it \
         until that has ended",
        target.display(),
        record.process.pid
    )))
}

/// How long a daemon may take to notice that the file system is gone.
const PATIENCE_AT_END: Duration = Duration::from_secs(3);

/// Waits until the processes that serve a mount have ended, which they do when the file system is gone. As long as there
/// is a copy of the mount, the file system is not gone: then warns and returns.
fn wait_for(servers: &[Server], device: Device, target: &Path) {
    /// Reading the table of mounts takes long where there are many, and most processes end sooner than this.
    const BEFORE_READING: Duration = Duration::from_millis(50);
    for server in servers {
        let ends_within = |time| ends_within(time, || server.has_ended(), || server.is_ending());
        if ends_within(BEFORE_READING) {
            continue;
        }
        let copy = mountinfo::mount_point_of(device);
        if copy.is_none() && ends_within(PATIENCE_AT_END) {
            continue;
        }
        let place = copy.map_or("in another mount namespace".to_owned(), |path| {
            format!("on {}", path.display())
        });
        return log::warn!(
            "{} is still mounted {place}, which keeps its layers in use",
            target.display()
        );
    }
}

/// Waits until a process that serves a mount has ended, however long it needs to sync written data; returns
/// `false` if it serves the mount after this time.
fn ends_within(time: Duration, has_ended: impl Fn() -> bool, is_ending: impl Fn() -> bool) -> bool {
    /// The longest time between two looks. The first ones are short: most processes end at once.
    const TURN: Duration = Duration::from_millis(20);
    let start = Instant::now();
    let mut turn = Duration::from_micros(200);
    while !has_ended() {
        if start.elapsed() >= time && !is_ending() {
            return false;
        }
        std::thread::sleep(turn);
        turn = TURN.min(turn * 2);
    }
    true
}

//! Mounting with the kernel's overlay.
//!
//! The kernel gets the layers as descriptors, so that neither their number nor the length of their paths
//! matters: one by one by fsconfig(2) where the kernel takes that, else by their numbers as names
//! relative to `/proc/self/fd`, all of which fit into the page that mount(2) takes.
//!
//! The mount is attached to its directory only when it is complete, so a failure before leaves nothing.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use plyfs_fs::{IndexUse, RedirectDir, Volatile};
use rustix::fs::{CWD, Mode as FileMode, OFlags, XattrFlags, inotify};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
};

use super::fuse_mount;
use super::plan::{Mode, Plan};
use crate::error::{CliError, Context, Result, reason};

const TYPE: &str = "overlay";

/// A mount of the kernel's overlay.
#[derive(Debug)]
pub(crate) struct Mounted {
    /// An inotify descriptor that reports when the file system is gone from every mount namespace. It does not
    /// keep the file system mounted.
    pub(crate) end: OwnedFd,
}

/// The directories of a mount, opened.
struct Layers {
    lowers: Vec<OwnedFd>,
    data: Vec<OwnedFd>,
    upper_and_work: Option<(OwnedFd, OwnedFd)>,
}

/// Mounts; an error says why the kernel's overlay cannot.
pub(crate) fn mount(plan: &Plan) -> Result<Mounted> {
    if let Some(upper) = &plan.overlay.upper {
        probe_attributes(&upper.work, Mode::of(&plan.overlay))?;
    }
    let layers = Layers::open(plan)?;
    let flags = inotify::CreateFlags::CLOEXEC;
    let end = inotify::init(flags).context("watch a mount (inotify_init1)")?;
    let context = match fsopen(TYPE, FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(context) => context,
        Err(Errno::NOSYS) => return mount_by_names(plan, &layers, end),
        Err(Errno::NODEV) => return Err(CliError::new("this kernel has none (CONFIG_OVERLAY_FS)")),
        Err(errno) => return Err(errno).context("open it (fsopen)"),
    };
    match layers.give(&context) {
        Ok(()) => {}
        // A kernel that takes layers neither by descriptor nor one by one (before 6.8).
        Err(Errno::INVAL) => return mount_by_names(plan, &layers, end),
        Err(errno) => return Err(refused(&context, errno)),
    }
    let configure = || {
        fsconfig_set_string(&context, "source", plan.target.source.as_str())?;
        for (flag, word) in [
            (MountFlags::RDONLY, "ro"),
            (MountFlags::SYNCHRONOUS, "sync"),
        ] {
            if plan.target.flags.contains(flag) {
                fsconfig_set_flag(&context, word)?;
            }
        }
        for (name, value) in options(plan) {
            match value {
                Some(value) => fsconfig_set_string(&context, name, value)?,
                None => fsconfig_set_flag(&context, name)?,
            }
        }
        fsconfig_create(&context)
    };
    configure().map_err(|errno| refused(&context, errno))?;
    mark(plan)?;
    let attributes = attributes(plan.target.flags);
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes);
    let mount = mount.map_err(|errno| refused(&context, errno))?;
    watch(&end, &format!("/proc/self/fd/{}", mount.as_raw_fd()))?;
    let target = &plan.target.path;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&mount, "", CWD, target, flags)
        .context(format_args!("put it on {}", target.display()))?;
    Ok(Mounted { end })
}

/// Fails if the work directory cannot hold the attributes of an overlay. The kernel mounts even then, and later
/// fails single operations of users.
fn probe_attributes(work: &Path, mode: Mode) -> Result {
    let name = match mode {
        Mode::Trusted => "trusted.overlay.probe",
        Mode::User => "user.overlay.probe",
    };
    rustix::fs::setxattr(work, name, b"", XattrFlags::empty())
        .and_then(|()| rustix::fs::removexattr(work, name))
        .context(format_args!(
            "keep attributes ({name}) in {}",
            work.display()
        ))
}

/// Marks the upper directory before users can write to it through the kernel's overlay: they can write
/// `override_stat` records. A read-only mount can be remounted, so its upper directory is marked, too.
fn mark(plan: &Plan) -> Result {
    let Some(upper) = &plan.overlay.upper else {
        return Ok(());
    };
    let namespace = Mode::of(&plan.overlay).namespace();
    plyfs_fs::mark_served_by_kernel(&upper.path, &upper.work, namespace).context(format_args!(
        "mark {} as served by the kernel's overlay",
        upper.path.display()
    ))
}

/// Mounts by mount(2).
fn mount_by_names(plan: &Plan, layers: &Layers, end: OwnedFd) -> Result<Mounted> {
    let target = &plan.target.path;
    let mut data = layers.names();
    for (name, value) in options(plan) {
        let value = value.map(|value| format!("={value}")).unwrap_or_default();
        data.push_str(&format!(",{name}{value}"));
    }
    // One page, with the NUL.
    if data.len() >= rustix::param::page_size() {
        return Err(CliError::new(
            "its layers and options are more than mount(2) takes",
        ));
    }
    let data = CString::new(data).context("mount")?;
    mark(plan)?;
    rustix::process::chdir("/proc/self/fd").context("change to /proc/self/fd")?;
    let source = plan.target.source.as_str();
    let mounted = rustix::mount::mount(source, target, TYPE, plan.target.flags, &*data);
    rustix::process::chdir("/").context("change to /")?;
    match mounted {
        Err(Errno::NODEV) => return Err(CliError::new("this kernel has none (CONFIG_OVERLAY_FS)")),
        other => other.context("mount it")?,
    }
    let path = target.to_string_lossy();
    match watch(&end, &path) {
        Ok(()) => Ok(Mounted { end }),
        Err(failure) => {
            fuse_mount::unmount(target, true)?;
            Err(failure)
        }
    }
}

impl Layers {
    fn open(plan: &Plan) -> Result<Self> {
        let overlay = &plan.overlay;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &Path| {
            let opened = rustix::fs::open(path, flags, FileMode::empty());
            opened.context(format_args!("open {}", path.display()))
        };
        let mut lowers = overlay.lowers.iter().map(|lower| open(&lower.path));
        let mut lowers = lowers.by_ref().collect::<Result<Vec<_>>>()?;
        if let (None, 1, Some(empty)) = (&overlay.upper, lowers.len(), &plan.requirements.empty) {
            lowers.push(open(empty)?);
        }
        let data = overlay.data.iter().map(|layer| open(&layer.path));
        let upper_and_work = match &overlay.upper {
            Some(upper) => Some((open(&upper.path)?, open(&upper.work)?)),
            None => None,
        };
        Ok(Self {
            lowers,
            data: data.collect::<Result<_>>()?,
            upper_and_work,
        })
    }

    /// Gives the layers to a mount that is being made: by descriptor (Linux 6.13), or by the path of the
    /// descriptor.
    fn give(&self, context: &OwnedFd) -> rustix::io::Result<()> {
        let mut by_path = false;
        let mut give = |name: &str, layer: &OwnedFd| {
            if !by_path {
                match fsconfig_set_fd(context, name, layer.as_fd()) {
                    Err(Errno::INVAL) => by_path = true,
                    other => return other,
                }
            }
            let path = format!("/proc/self/fd/{}", layer.as_raw_fd());
            fsconfig_set_string(context, name, path)
        };
        for lower in &self.lowers {
            give("lowerdir+", lower)?;
        }
        for data in &self.data {
            give("datadir+", data)?;
        }
        if let Some((upper, work)) = &self.upper_and_work {
            give("upperdir", upper)?;
            give("workdir", work)?;
        }
        Ok(())
    }

    /// Their names in /proc/self/fd, as options.
    fn names(&self) -> String {
        let number = |fd: &OwnedFd| fd.as_raw_fd().to_string();
        let lowers: Vec<String> = self.lowers.iter().map(number).collect();
        let mut names = format!("lowerdir={}", lowers.join(":"));
        for data in &self.data {
            names.push_str("::");
            names.push_str(&number(data));
        }
        if let Some((upper, work)) = &self.upper_and_work {
            names.push_str(&format!(
                ",upperdir={},workdir={}",
                number(upper),
                number(work)
            ));
        }
        names
    }
}

/// The options of the mount but for its layers.
fn options(plan: &Plan) -> Vec<(&str, Option<&str>)> {
    let overlay = &plan.overlay;
    let switch = |on: bool| Some(if on { "on" } else { "off" });
    let mut options = match Mode::of(overlay) {
        // With `userxattr` the kernel refuses the other options, even with the value `off`.
        Mode::User => vec![("userxattr", None)],
        Mode::Trusted => {
            let redirects = match overlay.redirect_dir {
                RedirectDir::On => "on",
                RedirectDir::Follow => "follow",
                RedirectDir::NoFollow => "nofollow",
            };
            let mut options = vec![
                ("redirect_dir", Some(redirects)),
                ("metacopy", switch(overlay.metacopy)),
            ];
            if overlay.upper.is_some() {
                options.push(("index", switch(overlay.index != IndexUse::Off)));
            }
            options
        }
    };
    if overlay.volatile != Volatile::No {
        options.push(("volatile", None));
    }
    let more = plan.requirements.kernel.iter();
    options.extend(more.map(|(name, value)| (name.as_str(), Some(value.as_str()))));
    options
}

/// The attributes of a mount that fsmount(2) has for the flags of mount(2).
fn attributes(flags: MountFlags) -> MountAttrFlags {
    let mut attributes = MountAttrFlags::empty();
    for (flag, attribute) in [
        (MountFlags::RDONLY, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (MountFlags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (MountFlags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
        (MountFlags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        (
            MountFlags::NODIRATIME,
            MountAttrFlags::MOUNT_ATTR_NODIRATIME,
        ),
    ] {
        attributes.set(attribute, flags.contains(flag));
    }
    // The kernel accepts only one of the three values of MOUNT_ATTR__ATIME.
    if flags.contains(MountFlags::STRICTATIME) {
        attributes |= MountAttrFlags::MOUNT_ATTR_STRICTATIME;
    } else if flags.contains(MountFlags::NOATIME) {
        attributes |= MountAttrFlags::MOUNT_ATTR_NOATIME;
    }
    attributes
}

/// Why the kernel refuses a mount, in its own words if it has any.
fn refused(context: &OwnedFd, errno: Errno) -> CliError {
    let mut words = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(length) = rustix::io::read(context, &mut buffer) {
        let line = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
        // A line begins with a letter for its level (`e `), and then with the name of the file system.
        let line = line.trim_end();
        let line = line.get(2..).unwrap_or(line);
        words.push(line.strip_prefix("overlay: ").unwrap_or(line).to_owned());
    }
    let words = match words.is_empty() {
        true => "it refuses the layers or options".to_owned(),
        false => words.join(", "),
    };
    CliError::new(format_args!("{words} ({})", reason(&errno)))
}

/// Watches the root of a mount, so that inotify(7) reports the end of the file system. The directories in it may
/// come and go meanwhile.
fn watch(end: &OwnedFd, root: &str) -> Result {
    let flags = inotify::WatchFlags::DELETE_SELF;
    let watched = inotify::add_watch(end, root, flags);
    watched
        .map(drop)
        .context("watch a mount (inotify_add_watch)")
}

/// Waits until the file system of a mount is gone.
pub(crate) fn wait_for_end(mounted: &Mounted) -> Result {
    let mut buffer = [std::mem::MaybeUninit::uninit(); 512];
    let mut events = inotify::Reader::new(&mounted.end, &mut buffer);
    loop {
        match events.next() {
            // The watch goes with what it watches.
            Ok(event) if event.events().intersects(ended()) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).context("wait for the end of a mount"),
        }
    }
}

fn ended() -> inotify::ReadFlags {
    inotify::ReadFlags::UNMOUNT | inotify::ReadFlags::IGNORED
}

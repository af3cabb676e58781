//! `plyfs mount` and `plyfs umount`.

use std::path::{Path, PathBuf};

use plyfs_fs::{Config, LowerLayer, UpperLayer, fuse};
use rustix::mount::MountFlags;
use rustix::process::{Pid, PidfdFlags};

use crate::cli::{MountArgs, UmountArgs};
use crate::failure::{Doing, Failure, Outcome};
use crate::mount::connection::{self, Request};
use crate::mount::daemon::{self, Plan};
use crate::mount::options::Options;
use crate::namespace;

/// Mounts what the arguments name.
pub(crate) fn mount(args: &MountArgs) -> Outcome {
    let mut options = Options::parse(&args.options)?;
    options.read_only |= args.ro;
    let target = absolute_directory(&args.mountpoint)?;
    let plan = plan_directories(&options, target)?;
    if args.foreground {
        daemon::serve_here(plan)
    } else {
        daemon::start(plan, false).map(drop)
    }
}

fn absolute_directory(path: &Path) -> Outcome<PathBuf> {
    let real = path
        .canonicalize()
        .doing(format_args!("mount on {}", path.display()))?;
    if real.is_dir() {
        return Ok(real);
    }
    Err(Failure::new(format_args!(
        "cannot mount on {}: it is no directory",
        path.display()
    )))
}

/// The mount of plain directories.
fn plan_directories(options: &Options, target: PathBuf) -> Outcome<Plan> {
    let absolute = |path: &PathBuf| std::path::absolute(path).doing("resolve a path");
    let lowers: Vec<_> = options
        .lowers
        .iter()
        .map(absolute)
        .collect::<Outcome<_>>()?;
    let upper = match (&options.upper, &options.work) {
        (None, None) => None,
        (Some(upper), Some(work)) => Some(UpperLayer {
            path: absolute(upper)?,
            work: absolute(work)?,
            override_stat: false,
        }),
        _ => return Err(plyfs_fs::MountError::UpperWithoutWork.into()),
    };
    let upper = upper.filter(|_| !options.read_only);
    let overlay = Config {
        lowers: lowers.into_iter().map(LowerLayer::new).collect(),
        upper,
        volatile: options.volatile,
        namespace: options.namespace,
        ..Config::default()
    };
    Ok(plan(options, target, overlay, "plyfs"))
}

/// What a mount needs besides its layers.
fn plan(options: &Options, target: PathBuf, overlay: Config, source: &str) -> Plan {
    let default = fuse::Options::default();
    let read_only = overlay.upper.is_none();
    let mut flags = options.mount_flags(MountFlags::NOATIME);
    flags.set(MountFlags::RDONLY, read_only);
    let connection = Request {
        target,
        source: options.source.clone().unwrap_or_else(|| source.to_owned()),
        subtype: options
            .subtype
            .clone()
            .unwrap_or_else(|| "plyfs".to_owned()),
        flags,
        flag_words: options.flag_words(),
        // Who may mount is root of a machine or of a namespace, and others there use the mount, too.
        allow_other: options.allow_other || namespace::can_mount(),
        default_permissions: true,
    };
    let transport = fuse::Options {
        timeout: options.timeout.unwrap_or(default.timeout),
        writeback: options.writeback.unwrap_or(default.writeback),
        acl: options.acl.unwrap_or(default.acl),
        threads: options.threads.unwrap_or(default.threads),
    };
    Plan {
        overlay,
        transport,
        connection,
        hold: None,
    }
}

/// Unmounts, and waits until the daemon has let go of the layers.
pub(crate) fn umount(args: &UmountArgs) -> Outcome {
    let target = std::path::absolute(&args.mountpoint).doing("resolve a path")?;
    let daemon = daemon_of(&target);
    connection::unmount(&target, args.lazy)?;
    match daemon {
        Some(daemon) if !args.lazy => wait_for(&daemon),
        _ => Ok(()),
    }
}

/// A descriptor of the process that serves a mount, if it is one of ours and can be seen.
fn daemon_of(target: &Path) -> Option<std::os::fd::OwnedFd> {
    let mut buffer = [0; 32];
    let length = rustix::fs::lgetxattr(target, fuse::DAEMON_PID, &mut buffer[..]).ok()?;
    let pid = str::from_utf8(buffer.get(..length)?).ok()?.parse().ok()?;
    let daemon = rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    // In another pid namespace the number may stand for anybody.
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    let own = std::fs::read_to_string("/proc/self/comm").ok()?;
    (name == own).then_some(daemon)
}

fn wait_for(daemon: &std::os::fd::OwnedFd) -> Outcome {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut fds = [PollFd::new(daemon, PollFlags::IN)];
    loop {
        match poll(&mut fds, None) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).doing("wait for the daemon"),
        }
    }
}

//! What plyfs is when it is called by another name.
//!
//! - `fuse-overlayfs`: the mount program of Podman, Buildah, Docker and containerd. Command line,
//!   options, messages and exit codes are those of that program, so that it can be replaced by a
//!   link. What it does not know it ignores, and says so.
//! - `mount.plyfs`, `mount.fuse.plyfs`: what mount(8) runs for `-t plyfs` and lines of /etc/fstab.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use plyfs_fs::Volatile;

use crate::cmd::mount::MountArgs;
use crate::cmd::shared::directories::mount_directories;
use crate::cmd::shared::needed::NeededArgs;
use crate::error::{CliError, Result};
use crate::mount::backend_choice::BackendChoice;
use crate::mount::options::Options;
use crate::runtime::child;
use crate::{cmd, logger, output};

/// A name that the command may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Personality {
    /// The FUSE mount program of container tools.
    FuseOverlayfs,
    /// A helper of mount(8).
    MountHelper,
    /// What starts a container, executed by plyfs itself.
    Container,
}

/// What of its command line fuse-overlayfs says it is. Tools ask for the version to tell what it can.
const VERSION: &str = "fuse-overlayfs: version 1.14";

impl Personality {
    /// The personality of a program that was called by this path.
    pub(crate) fn of(program: &OsStr) -> Option<Self> {
        match Path::new(program).file_name()?.to_str()? {
            "fuse-overlayfs" => Some(Self::FuseOverlayfs),
            "mount.plyfs" | "mount.fuse.plyfs" => Some(Self::MountHelper),
            child::NAME => Some(Self::Container),
            _ => None,
        }
    }

    /// Does what the program of that name does.
    pub(crate) fn run(self, arguments: impl Iterator<Item = OsString>) -> Result {
        if self == Self::Container {
            return child::main(arguments);
        }
        let arguments = Arguments::read(arguments)?;
        match self {
            Self::FuseOverlayfs => fuse_overlayfs(&arguments),
            Self::MountHelper | Self::Container => mount_helper(&arguments),
        }
    }
}

/// Arguments as mount programs take them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Arguments {
    options: Vec<String>,
    positional: Vec<OsString>,
    foreground: bool,
    fake: bool,
    help: bool,
    version: bool,
    /// How much to say, if it can be chosen.
    verbose: u8,
    unknown: Vec<String>,
}

impl Arguments {
    fn read(arguments: impl Iterator<Item = OsString>) -> Result<Self> {
        let mut read = Self::default();
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let text = argument.to_str().unwrap_or_default();
            match text {
                "-f" | "--foreground" => read.foreground = true,
                "--fake" => read.fake = true,
                "-h" | "--help" => read.help = true,
                "-V" | "--version" => read.version = true,
                // How much to say, and what not to mind: there is nothing to choose.
                "-d" | "--debug" | "-s" | "-n" | "-i" => {}
                "-v" => read.verbose = 1,
                "-o" => read.take_options(arguments.next())?,
                // The type, which the name says already.
                "-t" => drop(arguments.next()),
                _ => match text.strip_prefix("-o") {
                    Some(options) => read.take_options(Some(options.into()))?,
                    None if text.starts_with('-') && text.len() > 1 => {
                        read.unknown.push(text.to_owned());
                    }
                    None => read.positional.push(argument),
                },
            }
        }
        Ok(read)
    }

    fn take_options(&mut self, options: Option<OsString>) -> Result {
        let options = options.ok_or_else(|| CliError::new("-o needs an argument"))?;
        let options = options.into_string();
        let options = options.map_err(|_| CliError::new("options that are no text (UTF-8)"))?;
        self.options.extend(split_quoted(&options));
        Ok(())
    }

    /// The mount point: whatever comes before it, a source, says nothing.
    fn mountpoint(&self) -> Result<&OsStr> {
        let last = self.positional.last().map(OsString::as_os_str);
        last.ok_or_else(|| CliError::new("no directory to mount on was given"))
    }
}

/// Splits at commas that are neither escaped nor quoted. Quotes are taken away, backslashes stay.
fn split_quoted(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for c in text.chars() {
        let Some(part) = parts.last_mut() else { break };
        match c {
            '"' if !escaped => quoted = !quoted,
            ',' if !quoted && !escaped => {
                parts.push(String::new());
                continue;
            }
            _ => part.push(c),
        }
        escaped = c == '\\' && !escaped;
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// Options that fuse-overlayfs takes and that change nothing here: what they choose is always so, or
/// there is nothing to choose.
const WITHOUT_EFFECT: [&str; 23] = [
    "threaded",
    "fast_ino",
    "xino",
    "context",
    "plugins",
    "max_write",
    "max_read",
    "max_idle_threads",
    "clone_fd",
    "splice_read",
    "splice_write",
    "splice_move",
    "kernel_cache",
    "auto_cache",
    "allow_root",
    "auto_unmount",
    "private",
    "slave",
    "shared",
    "rprivate",
    "rslave",
    "rshared",
    "noxattrs",
];

fn fuse_overlayfs(arguments: &Arguments) -> Result {
    if arguments.version {
        let own = env!("CARGO_PKG_VERSION");
        return output::write(&format!("{VERSION}\nplyfs {own} in its place\n"));
    }
    if arguments.help {
        return output::write(
            "usage: fuse-overlayfs [options] mountpoint\n\
             \x20   -o lowerdir=A:B,upperdir=U,workdir=W[,...]   layers and options\n\
             \x20   -f, --foreground                             stay in the foreground\n\
             \x20   -V, --version                                tell the version\n\
             This is plyfs in the place of fuse-overlayfs; its own options are in plyfs(1).\n",
        );
    }
    let mut options = Options::for_fuse_overlayfs();
    options.backend = Some(BackendChoice::Fuse);
    for unknown in &arguments.unknown {
        output::complain(&format_args!("unknown argument ignored: {unknown}"));
    }
    for option in &arguments.options {
        let name = option.split('=').next().unwrap_or_default();
        match (name, option.as_str()) {
            ("static_nlink", _) => options.static_nlink = true,
            (_, "noxattrs=1") => options.no_xattrs = true,
            _ if WITHOUT_EFFECT.contains(&name) => {}
            (_, "fsync=0") => options.volatile = Volatile::Unmarked,
            (_, "fsync=1") => {}
            // Nothing is said of a mark: the tools decide when an upper directory is thrown away.
            (_, "volatile") => options.volatile = Volatile::Unmarked,
            _ if Options::knows(option) => options.add(option)?,
            _ => output::complain(&format_args!("unknown argument ignored: {option}")),
        }
    }
    mount_directories(&options, arguments.mountpoint()?, arguments.foreground)
}

/// Options of /etc/fstab that are for who reads it.
fn is_for_others(option: &str) -> bool {
    let words = [
        "auto", "noauto", "user", "nouser", "users", "group", "owner", "nofail", "_netdev", "loud",
        "silent",
    ];
    words.contains(&option) || option.starts_with("x-") || option.starts_with("comment=")
}

fn mount_helper(arguments: &Arguments) -> Result {
    let [source, mountpoint] = arguments.positional.as_slice() else {
        return Err(CliError::new(
            "a source and a directory to mount on are needed",
        ));
    };
    let (mut options, mut image, mut container, mut store) = (Vec::new(), None, None, None);
    for option in arguments
        .options
        .iter()
        .filter(|option| !is_for_others(option))
    {
        match option.split_once('=') {
            Some(("image", name)) => image = Some(OsString::from(name)),
            Some(("container", name)) => container = Some(name.to_owned()),
            Some(("store", path)) => store = Some(Path::new(path)),
            _ => options.push(option.clone()),
        }
    }
    let names_layers = options.iter().any(|option| option.starts_with("lowerdir"));
    // A container that is there needs no image, and lines for one may have a word for it.
    let is_word = container.is_some() && (source == "none" || source == "plyfs");
    if !names_layers && image.is_none() && !is_word {
        image = Some(source.clone());
    }
    let what_and_where = image.into_iter().chain([mountpoint.clone()]).collect();
    if arguments.fake {
        return Ok(());
    }
    logger::install(arguments.verbose);
    let arguments = MountArgs {
        backend: None,
        options,
        ro: false,
        container,
        foreground: arguments.foreground,
        replace: false,
        quiet: true,
        needed: NeededArgs::never(),
        what_and_where,
    };
    cmd::mount::mount(&arguments, store)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Arguments {
        Arguments::read(arguments.iter().map(OsString::from)).unwrap()
    }

    #[test]
    fn programs_are_known_by_their_names() {
        let of = |path: &str| Personality::of(OsStr::new(path));
        assert_eq!(
            of("/usr/bin/fuse-overlayfs"),
            Some(Personality::FuseOverlayfs)
        );
        assert_eq!(of("mount.plyfs"), Some(Personality::MountHelper));
        assert_eq!(of("/sbin/mount.fuse.plyfs"), Some(Personality::MountHelper));
        assert_eq!(of("plyfs"), None);
    }

    #[test]
    fn arguments_come_as_the_tools_give_them() {
        // Podman.
        let podman = read(&[
            "-o",
            "lowerdir=/a:/b,upperdir=/u,workdir=/w,context=\"a,b\"",
            "/m",
        ]);
        let options = ["lowerdir=/a:/b", "upperdir=/u", "workdir=/w", "context=a,b"];
        assert_eq!(podman.options, options);
        assert_eq!(podman.mountpoint().unwrap(), "/m");
        // containerd, through mount.fuse3.
        let containerd = read(&[
            "overlay",
            "/t",
            "-o",
            "workdir=W,dev,suid",
            "-olowerdir=A:B",
        ]);
        assert_eq!(containerd.mountpoint().unwrap(), "/t");
        assert_eq!(
            containerd.options,
            ["workdir=W", "dev", "suid", "lowerdir=A:B"]
        );
        // Apptainer.
        let apptainer = read(&["-f", "-o", "allow_other,lowerdir=A,noacl", "/dev/fd/5"]);
        assert!(apptainer.foreground);
        assert_eq!(read(&["--strange", "/m"]).unknown, ["--strange"]);
        assert!(read(&[]).mountpoint().is_err());
    }

    #[test]
    fn commas_are_escaped_or_quoted() {
        assert_eq!(
            split_quoted(r#"a=b\,c,d="e,f",g"#),
            [r"a=b\,c", "d=e,f", "g"]
        );
        assert_eq!(split_quoted(",,"), [""; 0]);
    }
}

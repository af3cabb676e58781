//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::failure::{Failure, Outcome};
use crate::mount::backend::Wish;
use crate::run::RunArgs;

/// Container image stacks, mounted by anyone, without root
#[derive(Debug, Parser)]
#[command(name = "plyfs", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Where images and containers are kept [default: $PLYFS_STORE, else $XDG_DATA_HOME/plyfs, for root
    /// /var/lib/plyfs]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
    /// Say more about what is done; twice for every request
    #[arg(long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// See what plyfs does: a tour with a small image, in a minute
    Demo,
    Import(ImportArgs),
    /// List the images in the store
    Images(ListArgs),
    /// List the containers in the store, and what is mounted of it, with the processes that serve them
    #[command(visible_alias = "containers")]
    Ps(ListArgs),
    /// Say how an image was made, the last step first
    History(ImageListArgs),
    /// Say all that is known of an image or a container, as JSON
    Inspect(InspectArgs),
    Df(crate::df::DfArgs),
    Mount(MountArgs),
    Diff(DiffArgs),
    Commit(CommitArgs),
    /// Write an image to a directory or a file, for other tools and other machines
    #[command(visible_alias = "export")]
    Save(SaveArgs),
    /// Unmount, and wait until everything is written
    #[command(visible_alias = "unmount")]
    Umount(UmountArgs),
    Run(Box<RunArgs>),
    Exec(crate::exec::ExecArgs),
    Bundle(Box<crate::bundle::BundleArgs>),
    Stop(crate::stop::StopArgs),
    Kill(crate::stop::KillArgs),
    /// Remove containers with all that was changed in them
    Rm(RmArgs),
    /// Remove images, and the layers that nothing else needs
    Rmi(RmiArgs),
    Prune(PruneArgs),
    Fsck(crate::fsck::FsckArgs),
    Doctor(DoctorArgs),
    #[command(hide = true)]
    Generate(GenerateArgs),
    /// Run a command, or a shell, in a user namespace in which mounting is allowed
    Unshare(UnshareArgs),
}

/// Import an image: verify it and unpack its layers into the store
#[derive(Debug, Args)]
#[allow(
    rustdoc::broken_intra_doc_links,
    reason = "brackets of a usage, not of a link"
)]
pub(crate) struct ImportArgs {
    /// oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME:TAG]; - in the place of FILE, or alone,
    /// is standard input; of several images, @0 in the place of the name is the first, and @sha256:DIGEST the one
    /// with this digest
    pub(crate) source: String,
    /// Import all images of the source, each under its own names
    #[arg(long, conflicts_with = "name")]
    pub(crate) all: bool,
    /// The name of the image in the store, if not the one it brings along
    #[arg(long, value_name = "NAME[:TAG]")]
    pub(crate) name: Option<String>,
    /// Which of several platforms to take, as OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// How to keep owners: as they are, or in extended attributes; as they are if ids allow it
    #[arg(long, value_enum, default_value = "auto", hide_possible_values = true)]
    pub(crate) ownership: OwnershipArg,
}

/// How owners of files in layers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OwnershipArg {
    Auto,
    Real,
    Override,
}

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
    /// What serves the mount: the kernel's overlay, FUSE, or what can give all that is asked for
    /// [default: $PLYFS_BACKEND,
    /// else auto]
    #[arg(long, value_enum)]
    pub(crate) backend: Option<Wish>,
    /// Do not print the name of the container
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// The image, unless layers or a container are given, and the directory to mount on
    #[arg(required = true, num_args = 1..=2, value_names = ["IMAGE", "MOUNTPOINT"])]
    pub(crate) what_and_where: Vec<OsString>,
}

/// List what was changed in a container: A for added, C for changed, D for deleted
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// As JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
    /// The container
    pub(crate) container: String,
}

/// Make an image of a container: its changes become a layer on top of its image
///
/// The same changes make the same layer. With SOURCE_DATE_EPOCH in the environment, the image is said
/// to be made then.
#[derive(Debug, Args)]
pub(crate) struct CommitArgs {
    /// What the image is for
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Who made it
    #[arg(short, long, value_name = "NAME")]
    pub(crate) author: Option<String>,
    /// Change what the image says of running it, as a Dockerfile does: CMD, ENTRYPOINT, ENV, EXPOSE,
    /// LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
    /// How to compress the layer
    #[arg(long, value_enum, default_value = "gzip")]
    pub(crate) compression: CompressionArg,
    /// The container; it must not be mounted
    pub(crate) container: String,
    /// The name of the new image
    #[arg(value_name = "IMAGE[:TAG]")]
    pub(crate) image: String,
}

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CompressionArg {
    Gzip,
    Zstd,
    None,
}

#[derive(Debug, Args)]
#[allow(
    rustdoc::broken_intra_doc_links,
    reason = "brackets of a usage, not of a link"
)]
pub(crate) struct SaveArgs {
    /// The image
    pub(crate) image: String,
    /// oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME:TAG]; - in the place of FILE is standard
    /// output
    pub(crate) target: String,
}

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Even if they are in use: end what uses them, killing what does not end within ten seconds
    #[arg(short, long)]
    pub(crate) force: bool,
    /// All containers
    #[arg(short, long, conflicts_with = "containers")]
    pub(crate) all: bool,
    /// The containers
    #[arg(required_unless_present = "all", value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RmiArgs {
    /// Even if containers stand on it or it is mounted: they keep their layers until they end, and only the name
    /// goes now. A digest loses all its names
    #[arg(short, long)]
    pub(crate) force: bool,
    /// The images, by name, digest, or the first digits of one (six or more)
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
}

/// Remove what no image, container or mount needs
///
/// Images and containers stay. A blob that no image of plyfs ever needed stays for an hour: another tool may be
/// about to add an image to the store.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// As JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// As JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Say what this machine lets plyfs do, found out by trying, and how to get the rest
///
/// The exit status is 0, and 1 if nothing can be mounted at all.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// As JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Write what is installed beside the program
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// Manual pages, or completions for shells
    pub(crate) what: Generated,
    /// The directory to write to
    pub(crate) dir: PathBuf,
}

/// What can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Generated {
    Man,
    Completions,
}

#[derive(Debug, Args)]
pub(crate) struct ImageListArgs {
    /// As JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
    /// The image
    pub(crate) image: String,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The container, or the image
    #[arg(value_name = "CONTAINER|IMAGE")]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct UmountArgs {
    /// Detach now and finish when it is no longer in use
    #[arg(short, long)]
    pub(crate) lazy: bool,
    /// The directory that is mounted on, in whatever mount namespace of this user, or the container
    #[arg(value_name = "MOUNTPOINT|CONTAINER")]
    pub(crate) mountpoint: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct UnshareArgs {
    /// The command, and its arguments; $SHELL if none is given
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<OsString>,
}

/// Exit status for arguments that cannot be understood.
const USAGE: u8 = 2;

impl Cli {
    /// Reads the arguments of this process. What asks for help is answered here.
    pub(crate) fn read() -> Outcome<Self> {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        if let Some(cli) = Self::read_mount(&arguments) {
            return Ok(cli);
        }
        Self::try_parse_from(arguments).map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
            _ => not_understood(&error.render().to_string(), subcommand().as_deref()),
        })
    }

    /// Reads the arguments of `mount` and `umount`, without describing all other commands to the parser first: that takes
    /// a quarter of the time that a mount takes. `None` for other commands, and for whatever there is to
    /// say something about.
    fn read_mount(arguments: &[OsString]) -> Option<Self> {
        match arguments.get(1)?.to_str()? {
            "mount" => Self::read_alone("mount", arguments, Command::Mount),
            "umount" => Self::read_alone("umount", arguments, Command::Umount),
            _ => None,
        }
    }

    fn read_alone<A: Args>(
        name: &'static str,
        arguments: &[OsString],
        command: impl Fn(A) -> Command,
    ) -> Option<Self> {
        let parser = Global::augment_args(clap::Command::new("plyfs"));
        let parser = parser.subcommand(A::augment_args(clap::Command::new(name)));
        let matches = parser.try_get_matches_from(arguments).ok()?;
        Some(Self {
            global: Global::from_arg_matches(&matches).ok()?,
            command: command(A::from_arg_matches(matches.subcommand_matches(name)?).ok()?),
        })
    }
}

/// The command that was meant, as far as the arguments can be understood.
fn subcommand() -> Option<String> {
    let matches = Cli::command().ignore_errors(true).try_get_matches().ok()?;
    matches.subcommand_name().map(str::to_owned)
}

/// What does what a word of other tools says, if the parser complains of that word as a command.
fn meant_by(said: &str) -> Option<&'static str> {
    let (_, word) = said.split_once("unrecognized subcommand '")?;
    let (word, _) = word.split_once('\'')?;
    Some(match word {
        "delete" | "del" | "remove" => "\"plyfs rm\" removes containers, and \"plyfs rmi\" images",
        "list" | "ls" => "\"plyfs images\" lists images, and \"plyfs ps\" containers",
        "load" | "pull" | "add" => "\"plyfs import\" brings an image in",
        "push" => "\"plyfs save\" writes an image for other tools",
        "clean" | "gc" => "\"plyfs prune\" removes what nothing needs",
        "start" | "create" => "\"plyfs run\" starts a container",
        "info" => "\"plyfs doctor\" says what this machine can do",
        "check" | "verify" => "\"plyfs fsck\" checks the store",
        "show" => "\"plyfs inspect\" says what is known of an image or a container",
        _ => return None,
    })
}

/// What is wrong with the arguments, from the paragraphs that the parser has for it, on one line.
fn not_understood(said: &str, subcommand: Option<&str>) -> Failure {
    let (what, rest) = said.split_once("\n\n").unwrap_or((said, ""));
    let what = what.trim_start_matches("error: ");
    let what: Vec<&str> = what.split_whitespace().collect();
    let mut line = what.join(" ");
    // The parser goes by letters, and finds "generate" for "delete".
    if let Some(meant) = meant_by(said) {
        line = format!("{line}; {meant}");
    } else {
        for tip in rest.lines().filter_map(|line| line.split_once("tip: ")) {
            line.push_str("; ");
            line.push_str(tip.1.trim());
        }
    }
    let command = subcommand.map_or(String::new(), |name| format!(" {name}"));
    Failure::new(format_args!("{line}; see plyfs{command} --help")).with_status(match subcommand {
        // What the command that is run ends with must be told from this.
        Some("run" | "exec") => crate::runtime::NOT_STARTED,
        Some("fsck") => crate::fsck::USAGE,
        _ => USAGE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_alone_is_read_as_among_all_commands() {
        let lines = [
            "plyfs mount -o lowerdir=/a:/b,ro /mnt",
            "plyfs mount --store /s --verbose image /mnt --backend fuse -q",
            "plyfs mount --verbose --verbose --container c --foreground /mnt",
            "plyfs umount -l /mnt",
            "plyfs umount --lazy -- -mnt",
        ];
        for line in lines {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let alone = Cli::read_mount(&arguments).unwrap();
            let among_all = Cli::try_parse_from(&arguments).unwrap();
            assert_eq!(format!("{alone:?}"), format!("{among_all:?}"));
        }
        for line in [
            "plyfs",
            "plyfs mount",
            "plyfs mount --help",
            "plyfs mount --no-such /mnt",
            "plyfs umount /a /b",
            "plyfs run image",
        ] {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert!(Cli::read_mount(&arguments).is_none(), "{line}");
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_cannot_be_understood_is_one_line() {
        let said = |arguments: &[&str]| {
            let error = Cli::try_parse_from(arguments).unwrap_err();
            not_understood(&error.render().to_string(), arguments.get(1).copied()).to_string()
        };
        assert_eq!(
            said(&["plyfs", "images", "--jsn"]),
            "unexpected argument '--jsn' found; a similar argument exists: '--json'; see plyfs \
             images --help"
        );
        assert_eq!(
            said(&["plyfs", "delete"]),
            "unrecognized subcommand 'delete'; \"plyfs rm\" removes containers, and \"plyfs rmi\" \
             images; see plyfs delete --help"
        );
        assert_eq!(
            said(&["plyfs", "import"]),
            "the following required arguments were not provided: <SOURCE>; see plyfs import --help"
        );
    }
}

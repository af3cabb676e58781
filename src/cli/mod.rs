//! The command line.

mod completions;
pub(crate) mod generate;
pub(crate) mod manual;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::cmd::run::RunArgs;
use crate::error::{CliError, Result};
use crate::mount::wish::Wish;
use crate::other_tools;

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
    Images(ImagesArgs),
    #[command(visible_alias = "containers")]
    Ps(PsArgs),
    /// Say how an image was made, the last step first
    History(ImageListArgs),
    /// Say all that is known of an image or a container, as JSON
    Inspect(InspectArgs),
    Df(crate::cmd::df::DfArgs),
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
    Exec(crate::cmd::exec::ExecArgs),
    Bundle(Box<crate::cmd::bundle::BundleArgs>),
    Stop(crate::cmd::stop::StopArgs),
    Kill(crate::cmd::stop::KillArgs),
    /// Remove containers with all that was changed in them
    Rm(RmArgs),
    /// Remove images, and the layers that nothing else needs
    Rmi(RmiArgs),
    Tag(TagArgs),
    Prune(PruneArgs),
    Fsck(crate::cmd::fsck::FsckArgs),
    Doctor(DoctorArgs),
    #[command(hide = true)]
    Generate(GenerateArgs),
    /// Print the version, as --version does
    #[command(hide = true)]
    Version,
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
    /// Even if they are in use: end what uses them, killing what does not end within ten seconds. A container that
    /// is not there is no failure
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
    /// goes now. A digest loses all its names. An image that is not there is no failure
    #[arg(short, long)]
    pub(crate) force: bool,
    /// The images, by name, digest, or the first digits of one (six or more)
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
}

/// Give an image one more name
///
/// An image that has the name already loses it; without another name it goes with the next prune, as after an import
/// under that name. "plyfs rmi NAME" takes one of several names away.
#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// The image, by name or digest
    pub(crate) image: String,
    /// The names that it gets besides those it has
    #[arg(required = true, value_name = "NAME[:TAG]")]
    pub(crate) names: Vec<String>,
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

/// List the images in the store
///
/// SIZE is that of the layers as uncompressed archives; each layer is unpacked once, however many images have it. "plyfs
/// df -v" says what an image takes on disk: the data in its unpacked layers, and its compressed blobs.
#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    /// As JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
    /// The first digits of the digests alone, each once, for inspect and rmi --force
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) quiet: bool,
}

/// List the containers in the store, and what is mounted of it, with the processes that serve them
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// As JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
    /// The names of containers alone, for rm and stop
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) quiet: bool,
    /// Also containers that do not run; they are always listed
    #[arg(short, long)]
    pub(crate) all: bool,
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
pub(crate) const USAGE: u8 = 2;

impl Cli {
    /// Reads the arguments of this process. What asks for help is answered here.
    pub(crate) fn read() -> Result<Self> {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        if let Some(cli) = Self::read_mount(&arguments) {
            return Ok(cli);
        }
        let read = Self::try_parse_from(&arguments).map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
            _ => {
                let subcommand = subcommand();
                let subcommand = subcommand.as_deref();
                not_understood(&error, &arguments, subcommand).with_status(status_of(subcommand))
            }
        });
        read.and_then(Self::checked)
    }

    /// Refuses options that contradict each other, before anything is made.
    fn checked(self) -> Result<Self> {
        let checked = match &self.command {
            Command::Run(args) => args.container_options.check(),
            Command::Bundle(args) => args.container_options.check(),
            _ => Ok(()),
        };
        let command = matches!(self.command, Command::Run(_)).then_some("run");
        checked.map_err(|failure| failure.with_status(status_of(command)))?;
        Ok(self)
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

/// The command that was chosen, as far as the arguments can be understood.
fn subcommand() -> Option<String> {
    let matches = Cli::command().ignore_errors(true).try_get_matches().ok()?;
    matches.subcommand_name().map(str::to_owned)
}

/// What is wrong with the arguments, from the paragraphs that the parser has for it, on one line.
fn not_understood(
    error: &clap::Error,
    arguments: &[OsString],
    subcommand: Option<&str>,
) -> CliError {
    if let Some(meant) = meant(error, arguments, subcommand) {
        return CliError::new(meant);
    }
    let said = error.render().to_string();
    let (what, rest) = said.split_once("\n\n").unwrap_or((&said, ""));
    let what = what.trim_start_matches("error: ");
    let what: Vec<&str> = what.split_whitespace().collect();
    let mut line = what.join(" ");
    let tips = rest.lines().filter_map(|line| line.split_once("tip: "));
    // An option is never meant as a word: those of a program that is run are taken as they are.
    for (_, tip) in tips.filter(|(_, tip)| !tip.starts_with("to pass '")) {
        line.push_str("; ");
        line.push_str(tip.trim());
    }
    let command = subcommand.map_or(String::new(), |name| format!(" {name}"));
    CliError::new(format_args!("{line}; see plyfs{command} --help"))
}

/// The exit status for arguments that a command does not understand.
fn status_of(subcommand: Option<&str>) -> u8 {
    match subcommand {
        // What the command that is run ends with must be told from this.
        Some("run" | "exec") => crate::runtime::NOT_STARTED,
        Some("fsck") => crate::cmd::fsck::USAGE,
        _ => USAGE,
    }
}

/// What to say instead of the parser, which goes by letters: it finds "generate" for "delete".
fn meant(error: &clap::Error, arguments: &[OsString], subcommand: Option<&str>) -> Option<String> {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    match (error.kind(), subcommand) {
        (ErrorKind::InvalidSubcommand, _) => {
            let word = word(ContextKind::InvalidSubcommand)?;
            let mut words = arguments.iter().skip_while(|argument| *argument != word);
            let next = words.nth(1).and_then(|next| next.to_str());
            other_tools::command(word, next)
        }
        (ErrorKind::UnknownArgument, Some(command)) => {
            let word = word(ContextKind::InvalidArg)?;
            let instead = other_tools::option(command, word)?;
            Some(format!("{command} has no option '{word}': {instead}"))
        }
        (ErrorKind::MissingRequiredArgument, Some("mount")) => Some(NO_MOUNT_POINT.to_owned()),
        _ => None,
    }
}

/// What is missing where `mount` has no word at all.
const NO_MOUNT_POINT: &str = "the directory to mount on is missing: give it last, as in \"plyfs mount IMAGE /mnt\" \
     or \"plyfs mount --container NAME /mnt\"; see plyfs mount --help";

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
            let words: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            not_understood(&error, &words, arguments.get(1).copied()).to_string()
        };
        assert_eq!(
            said(&["plyfs", "images", "--jsn"]),
            "unexpected argument '--jsn' found; a similar argument exists: '--json'; see plyfs \
             images --help"
        );
        assert_eq!(
            said(&["plyfs", "delete"]),
            "there is no command 'delete': \"plyfs rm\" removes containers, and \"plyfs rmi\" images"
        );
        assert_eq!(
            said(&["plyfs", "import"]),
            "the following required arguments were not provided: <SOURCE>; see plyfs import --help"
        );
    }
}

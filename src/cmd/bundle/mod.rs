//! `plyfs bundle`: a directory that any OCI runtime takes (runtime specification, bundle.md).

mod draft;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder};
use plyfs_store::{Container, Image, Store};
use plyfs_sys::process::without_blocked_signals;

use crate::error::{CliError, Context, Result};
use crate::guest::{files, host};
use crate::mount::backend_choice::BackendChoice;
use crate::oci::options::ContainerOptions;
use crate::oci::{self, Command};
use crate::runtime::root::Root;
use crate::runtime::{accounts, adapt};
use crate::{image_mount, namespace, output, storage};
use draft::{CONFIG, Draft, ROOTFS, this_program};

/// Make a bundle for an OCI runtime: a directory with config.json, and the image mounted at rootfs
///
/// Of an image a container is made, whose name is printed. The configuration is what plyfs run would
/// use; change it before a runtime reads it. "plyfs umount DIR" unmounts rootfs and leaves the other
/// files.
#[derive(Debug, Args)]
#[command(
    override_usage = "plyfs bundle [OPTIONS] IMAGE|CONTAINER DIR [COMMAND [ARGUMENTS...]]",
    // As in Podman, -h is the host name.
    disable_help_flag = true
)]
pub(crate) struct BundleArgs {
    #[command(flatten)]
    pub(crate) container_options: ContainerOptions,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// The configuration asks for a terminal
    #[arg(short, long)]
    tty: bool,
    /// What serves the container's files: the kernel's overlay, FUSE, or what can give all that is
    /// asked for [default: $PLYFS_BACKEND, else auto]
    #[arg(long, value_enum)]
    backend: Option<BackendChoice>,
    /// The image, or a container that exists
    #[arg(value_name = "IMAGE|CONTAINER")]
    name: String,
    /// The directory, which must be new or empty
    dir: PathBuf,
    /// The command, and its arguments, instead of the image's
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Makes a bundle and prints the name of its container, if it was made.
pub(crate) fn bundle(args: &BundleArgs, store: Option<&Path>) -> Result {
    let store = storage::open_existing(store)?;
    let dir = std::path::absolute(&args.dir).context("resolve a path")?;
    let options = &args.container_options;
    // Before signals are held back: it may be a pipe.
    let environment = host::environment(&options.env_file, &options.env)?;
    let mut draft = Draft::begin(&store, &dir)?;
    let (container, image, is_new) = subject(&store, &args.name)?;
    let name = &container.record.name;
    if is_new {
        draft.owns(name);
    }
    let command = Command::new(&args.command, options, &image.config, image.name.as_str())?;
    draft.go_on()?;
    let mounted = mount(args, &store, name.as_str(), &draft.root());
    // Before its failure: a key at the terminal ends that process too.
    draft.go_on()?;
    mounted?;
    write(args, &dir, &image, &command, name.as_str(), &environment)?;
    draft.go_on()?;
    // The caller does not know of a bundle whose name was not printed.
    if is_new {
        output::write(&format!("{name}\n"))?;
    }
    draft.keep();
    Ok(())
}

/// The container of a name, or a new one of the image of that name; returns whether it is new.
fn subject(store: &Store, name: &str) -> Result<(Container, Image, bool)> {
    if let Ok(known) = name.parse()
        && let Ok(container) = store.container(&known)
    {
        let image = store.container_image(&container.record)?;
        return Ok((container, image, false));
    }
    let image = store.image(name)?;
    let (container, made) = image_mount::container(store, None, Some(image.clone()))?;
    Ok((container, image, made))
}

/// Mounts by another process of this program, which goes on serving. Set-uid programs of the image keep
/// their power, as in a container.
fn mount(args: &BundleArgs, store: &Store, container: &str, root: &Path) -> Result {
    let mut program = this_program(store);
    program.args(["mount", "--quiet", "-o", "suid", "--container", container]);
    if let Some(backend) = args.backend {
        program.args(["--backend", &backend.to_string()]);
    }
    program.arg(root);
    // It goes on serving, and has to end on a signal.
    let output = without_blocked_signals(&mut program).output();
    let output = output.context("mount the container")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().last().unwrap_or("it did not say why");
    Err(CliError::new(line.strip_prefix("plyfs: ").unwrap_or(line)))
}

fn write(
    args: &BundleArgs,
    dir: &Path,
    image: &Image,
    command: &Command,
    container: &str,
    environment: &[String],
) -> Result {
    let options = &args.container_options;
    let root = Root::open(&dir.join(ROOTFS))?;
    let identity = accounts::identity(&root, &command.user)?;
    let hostname = options.hostname.as_deref().unwrap_or(container);
    let files = files::write(dir, &root, options, hostname)?;
    let mut host = host::examine();
    if !namespace::can_mount() {
        // An ordinary user's runtime has to make a user namespace.
        host.in_user_namespace = true;
        host.has_tty_group = false;
        host.denies_groups = true;
        host.mappings = Some(own_ids()?);
    }
    let directory = std::env::current_dir().context("find the working directory")?;
    let mut environment = environment.to_vec();
    if args.tty {
        environment.insert(0, host::term());
    }
    let mut spec = oci::configuration(&oci::Request {
        image: &image.config,
        options,
        command,
        identity: &identity,
        hostname,
        root: Path::new(ROOTFS),
        read_only: options.read_only,
        terminal: args.tty,
        environment: &environment,
        directory: &directory,
        files: &files,
        host: &host,
    })?;
    adapt::for_libseccomp(&mut spec);
    adapt::require_places(&root, &spec)?;
    let path = dir.join(CONFIG);
    spec.save(&path)
        .context(format_args!("write {}", path.display()))
}

/// The one id that an ordinary user may map without help, as root: users and groups.
fn own_ids() -> Result<(Vec<LinuxIdMapping>, Vec<LinuxIdMapping>)> {
    let map = |own: u32| {
        let builder = LinuxIdMappingBuilder::default();
        let mapping = builder.container_id(0_u32).host_id(own).size(1_u32).build();
        mapping.map(|one| vec![one]).context("describe ids")
    };
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    Ok((map(uid.as_raw())?, map(gid.as_raw())?))
}

/// Where a bundle is mounted, if a directory is one and nothing is mounted on it itself.
pub(crate) fn mounted_below(dir: &Path) -> Option<PathBuf> {
    let root = dir.join(ROOTFS);
    (dir.join(CONFIG).is_file() && root.is_dir()).then_some(root)
}

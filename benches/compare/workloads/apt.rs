//! `apt-get install` in the root of a container: what it costs to unpack and configure packages.
//!
//! Everything that needs the network happens before anything is measured: a Debian root is made, or taken
//! from [`ROOT`], and apt downloads into it what is to be installed. Owners are left out, so that root and
//! an ordinary user, who has one id, install in the same tree.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::layers::SCRATCH;
use super::real::{must, said};
use super::{Place, Watch};

/// Names a Debian root that has apt: a directory, or an archive that tar(1) reads.
const ROOT: &str = "PLYFS_BENCH_ROOTFS";

/// With what it depends on it is about 20 packages and 1000 files, without any that give files to owners
/// who do not exist for an ordinary user.
const PACKAGE: &str = "git";

const SUITE: &str = "bookworm";
const MIRROR: &str = "http://deb.debian.org/debian";

/// Runs a command inside of a root. `/dev` and `/proc` are there for it alone and go with its mount
/// namespace, so that no cleanup ever meets them.
const ENTER: &str = r#"mount --rbind /dev "$0/dev"
mount --rbind /proc "$0/proc"
exec chroot "$0" "$@""#;

fn inside(root: &Path) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-ec", ENTER])
        .arg(root)
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("LC_ALL", "C")
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn apt(root: &Path) -> Command {
    let mut apt = inside(root);
    apt.args(["apt-get", "-qq", "-y", "--no-install-recommends"])
        // A user namespace may not have the user that apt would become.
        .args(["-o", "APT::Sandbox::User=root"])
        .args(["-o", "Dpkg::Use-Pty=0"]);
    apt
}

/// Where the root lies as an archive, for as long as the comparison runs.
fn archive(scratch: &Path) -> PathBuf {
    scratch.join("debian.tar")
}

/// Runs a command, and says in one line what has failed.
fn step(what: &str, command: &mut Command) -> Result<(), String> {
    let said = said(command).map_err(|error| format!("{what}: {error}"))?;
    said.map_err(|said| {
        // What comes later is mostly that this was so.
        let first = said.lines().find(|line| !line.trim().is_empty());
        format!("{what}: {}", first.unwrap_or("no reason given"))
    })
}

/// Makes the root with all that is to be installed in it.
pub fn prepare(scratch: &Path) -> Result<(), String> {
    let root = scratch.join("debian");
    match std::env::var_os(ROOT).filter(|given| !given.is_empty()) {
        Some(given) => take(Path::new(&given), &root, scratch)?,
        None => bootstrap(&root)?,
    }
    download(&root)?;
    // As an archive, since an ordinary user cannot read all of what root has made.
    pack(&root, &archive(scratch))?;
    fs::remove_dir_all(&root).map_err(|error| format!("{}: {error}", root.display()))
}

fn bootstrap(root: &Path) -> Result<(), String> {
    eprintln!("making a Debian root; {ROOT} can name one");
    let mut make = Command::new("mmdebstrap");
    make.args(["--quiet", "--variant=apt", "--format=directory", SUITE])
        .arg(root)
        .arg(MIRROR);
    let made = step("making a Debian root", &mut make);
    made.map_err(|why| format!("{why}; name one in {ROOT}"))
}

fn take(given: &Path, root: &Path, scratch: &Path) -> Result<(), String> {
    if !given.is_dir() {
        return unpack(given, root);
    }
    let copy = scratch.join("given.tar");
    pack(given, &copy)?;
    unpack(&copy, root)?;
    fs::remove_file(&copy).map_err(|error| format!("{}: {error}", copy.display()))
}

fn pack(root: &Path, archive: &Path) -> Result<(), String> {
    let mut tar = Command::new("tar");
    // Devices cannot be made in a user namespace.
    tar.args(["--one-file-system", "--exclude=./dev/*", "-C"])
        .arg(root)
        .arg("-cf")
        .arg(archive)
        .arg(".");
    step("packing a Debian root", &mut tar)
}

fn unpack(archive: &Path, to: &Path) -> Result<(), String> {
    let what = "unpacking a Debian root";
    let mut tar = Command::new("tar");
    tar.args(["--no-same-owner", "--exclude=./dev/*", "-C"])
        .arg(to)
        .arg("-xpf")
        .arg(archive);
    ["dev", "proc"]
        .iter()
        .try_for_each(|name| fs::create_dir_all(to.join(name)))
        .map_err(|error| format!("{what}: {error}"))?;
    step(what, &mut tar)
}

/// Has apt fetch the package and what it depends on, as it would for the installation.
fn download(root: &Path) -> Result<(), String> {
    let what = format!("downloading {PACKAGE}");
    let text = |error: io::Error| format!("{what}: {error}");
    let get = || {
        let mut get = apt(root);
        get.args(["--download-only", "install", PACKAGE]);
        step(&what, &mut get)
    };
    // What has all of it needs no network.
    if get().is_err() {
        fs::copy("/etc/resolv.conf", root.join("etc/resolv.conf")).map_err(text)?;
        let mut update = apt(root);
        update.args(["-o", "APT::Update::Error-Mode=any", "update"]);
        step(&what, &mut update)?;
        get()?;
    }
    let packages = fs::read_dir(root.join("var/cache/apt/archives")).map_err(text)?;
    let mut names = packages.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    if names.any(|name| name.ends_with(".deb")) {
        return Ok(());
    }
    Err(format!(
        "{what}: nothing came; it is installed in the root already, or apt there keeps no packages"
    ))
}

/// Makes the lower layer of what was prepared.
pub fn write_root(dir: &Path) -> io::Result<()> {
    let scratch = std::env::var_os(SCRATCH).ok_or(io::ErrorKind::NotFound)?;
    unpack(&archive(Path::new(&scratch)), dir).map_err(io::Error::other)
}

pub fn install(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let mut install = apt(place.merged());
    install.args(["--no-download", "install", PACKAGE]);
    watch.time(1, || must(&mut install))
}

//! What is done while the disk fills up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use plyfs_store::fixture::{Entry, ImageBuilder, Layer};
use plyfs_store::{Compression, ContainerName, Ownership, Store};

use crate::support::{plyfs, succeed};

/// A command that is run once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    ImportLayout,
    ImportOciArchive,
    ImportDockerArchive,
    ImportSecondName,
    Commit,
    CommitAgain,
    SaveNewLayout,
    SaveIntoLayout,
    SaveOciArchive,
    SaveDockerArchive,
    MakeContainer,
    Remove,
    RemoveImage,
    Prune,
    Repair,
}

pub const TASKS: [Task; 15] = [
    Task::ImportLayout,
    Task::ImportOciArchive,
    Task::ImportDockerArchive,
    Task::ImportSecondName,
    Task::Commit,
    Task::CommitAgain,
    Task::SaveNewLayout,
    Task::SaveIntoLayout,
    Task::SaveOciArchive,
    Task::SaveDockerArchive,
    Task::MakeContainer,
    Task::Remove,
    Task::RemoveImage,
    Task::Prune,
    Task::Repair,
];

impl Task {
    /// The command, on a disk.
    pub fn command(self, sources: &Sources, disk: &Path) -> Command {
        let from = |form: &str, name: &str| format!("{form}:{}", sources.path(name).display());
        let to = |form: &str, name: &str| format!("{form}:{}", disk.join(name).display());
        let import = |source: &str| {
            let mut command = on(disk, ["import", "--ownership", "override"]);
            command.arg(source);
            command
        };
        match self {
            Self::ImportLayout => import(&from("oci", "new")),
            Self::ImportOciArchive => import(&from("oci-archive", "new.oci")),
            Self::ImportDockerArchive => import(&from("docker-archive", "new.docker")),
            Self::ImportSecondName => {
                let mut command = import(&from("oci", "a"));
                command.args(["--name", "new:test"]);
                command
            }
            Self::Commit => on(disk, ["commit", "box", "new:test"]),
            Self::CommitAgain => on(disk, ["commit", "box", "b:test"]),
            Self::SaveNewLayout => on(disk, ["save", "a:test", &to("oci", "new")]),
            Self::SaveIntoLayout => on(disk, ["save", "a:test", &to("oci", "out")]),
            Self::SaveOciArchive => on(disk, ["save", "a:test", &to("oci-archive", "new.oci")]),
            Self::SaveDockerArchive => on(
                disk,
                ["save", "a:test", &to("docker-archive", "new.docker")],
            ),
            Self::MakeContainer => {
                let mut command = on(disk, ["mount", "--container", "new", "a:test"]);
                command.arg(sources.path("mnt"));
                command
            }
            Self::Remove => on(disk, ["rm", "box"]),
            Self::RemoveImage => on(disk, ["rmi", "--force", "a:test"]),
            Self::Prune => on(disk, ["prune"]),
            Self::Repair => on(disk, ["fsck", "--repair"]),
        }
    }

    /// Whether it frees space, and so must succeed without any.
    pub fn frees(self) -> bool {
        matches!(self, Self::Remove | Self::RemoveImage | Self::Prune)
    }

    /// The image that it adds to the store or gives another content.
    pub fn image(self) -> Option<&'static str> {
        match self {
            Self::ImportLayout
            | Self::ImportOciArchive
            | Self::ImportDockerArchive
            | Self::ImportSecondName
            | Self::Commit => Some("new:test"),
            Self::CommitAgain => Some("b:test"),
            _ => None,
        }
    }

    /// What it makes outside of the store, as a source.
    pub fn saved(self, disk: &Path) -> Option<String> {
        let (form, name) = match self {
            Self::SaveNewLayout => ("oci", "new"),
            Self::SaveIntoLayout => ("oci", "out"),
            Self::SaveOciArchive => ("oci-archive", "new.oci"),
            Self::SaveDockerArchive => ("docker-archive", "new.docker"),
            _ => return None,
        };
        let tag = match self {
            Self::SaveDockerArchive => "",
            _ => ":test",
        };
        Some(format!("{form}:{}{tag}", disk.join(name).display()))
    }
}

/// The program, working in the store of a disk.
pub fn on<const N: usize>(disk: &Path, arguments: [&str; N]) -> Command {
    let mut command = plyfs(["--store".as_ref(), disk.join("store").as_os_str()]);
    command.args(arguments);
    command
}

/// Images outside of the disk, from which it is filled.
#[derive(Debug)]
pub struct Sources(tempfile::TempDir);

impl Sources {
    pub fn new(random: &mut fastrand::Rng) -> Self {
        let sources = Self(tempfile::tempdir().unwrap());
        fs::create_dir(sources.path("mnt")).unwrap();
        let base = layer(random, "base", 400_000);
        for name in ["a", "b", "old"] {
            let top = layer(random, name, 200_000);
            let image = ImageBuilder::new()
                .layer(base.clone(), Compression::Gzip)
                .layer(top, Compression::Zstd);
            let tag = format!("{name}:test");
            image.write_oci(sources.path(name), Some(&tag)).unwrap();
        }
        let image = ImageBuilder::new()
            .layer(base, Compression::Gzip)
            .layer(layer(random, "one", 700_000), Compression::None)
            .layer(layer(random, "two", 500_000), Compression::Zstd);
        let tag = Some("new:test");
        image.write_oci(sources.path("new"), tag).unwrap();
        image
            .write_oci_archive(sources.path("new.oci"), tag)
            .unwrap();
        image
            .write_docker_archive(sources.path("new.docker"), tag)
            .unwrap();
        sources
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes the store that each moment begins with: two images that share a layer, two containers, a layer that
    /// nothing needs, and a layout beside it.
    pub fn fill(&self, disk: &Path, random: &mut fastrand::Rng) {
        let import = |name: &str| {
            let mut command = on(disk, ["import", "--ownership", "override"]);
            succeed(command.arg(format!("oci:{}", self.path(name).display())));
        };
        import("a");
        import("b");
        let store = Store::open_existing(disk.join("store")).unwrap();
        let image = store.image("a:test").unwrap();
        for name in ["box", "other"] {
            let name: ContainerName = name.parse().unwrap();
            let made = store.create_container(Some(&name), &image, Ownership::Override);
            let upper = made.unwrap().upper;
            fs::write(upper.join("large"), bytes(random, 600_000)).unwrap();
            fs::create_dir(upper.join("d-base")).unwrap();
            fs::write(upper.join("d-base/small"), "changed").unwrap();
        }
        import("old");
        // What it had stays until it is collected.
        store.remove_image("old:test", false).unwrap();
        let target = format!("oci:{}:kept", disk.join("out").display());
        succeed(on(disk, ["save", "b:test"]).arg(target));
    }
}

fn bytes(random: &mut fastrand::Rng, count: usize) -> Vec<u8> {
    (0..count).map(|_| random.u8(..)).collect()
}

fn layer(random: &mut fastrand::Rng, name: &str, size: usize) -> Layer {
    let dir = format!("d-{name}");
    let mut layer = Layer::new([
        Entry::dir("."),
        Entry::dir(&dir).owner(3, 4).mode(0o750),
        Entry::file(format!("{dir}/large"), bytes(random, size)),
        Entry::file(format!("{dir}/small"), name).xattr("user.note", "an attribute"),
        Entry::hard_link(format!("{dir}/linked"), format!("{dir}/small")),
        Entry::symlink(format!("{dir}/link"), "target".repeat(30)),
        Entry::dir(format!("{dir}/sub")),
        Entry::file(format!("{dir}/sub/in"), "in"),
    ]);
    for number in 0..60 {
        layer.push(Entry::file(format!("{dir}/f{number}"), bytes(random, 900)));
    }
    layer
}

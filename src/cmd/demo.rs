//! `plyfs demo`: the tour.
//!
//! It needs no image, no network and no privileges: a small image of two layers is built, imported
//! and mounted in a temporary directory, and each step is shown with what it leaves in the upper
//! directory.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use plyfs_store::fixture::{Config, Entry, ImageBuilder, Layer};
use plyfs_store::{Compression, ImportRequest, Silent, Source, Store};

use crate::error::{CliError, Context, Result};
use crate::image_mount::{self, Subject};
use crate::mount::backend_choice::BackendChoice;
use crate::mount::options::Options;
use crate::mount::{fuse_mount, server};
use crate::{namespace, output, storage};

/// Shows what plyfs does.
pub(crate) fn demo() -> Result {
    let start = Instant::now();
    say("plyfs mounts container image stacks, without root. Here is how.\n")?;
    if !namespace::can_mount() {
        say("You are an ordinary user, so this tour enters a user namespace of its own first.\n")?;
        namespace::enter()?;
    }
    let tmp = tempfile::tempdir().context("make a temporary directory")?;
    let mut tour = Tour::prepare(tmp.path())?;
    let toured = tour.visit();
    // Also after a failure: nothing is to stay mounted.
    let unmounted = tour.unmount();
    toured.and(unmounted)?;
    tmp.close().context("remove the temporary directory")?;
    say(&format!(
        "\nThat was all, in {:.1} seconds, and nothing is left of it. Next, with an image of yours:\n\n  \
         plyfs import oci:DIR:TAG\n  plyfs run NAME:TAG\n",
        start.elapsed().as_secs_f32()
    ))
}

fn say(text: &str) -> Result {
    output::write(&format!("{text}\n"))
}

struct Tour {
    store: Store,
    merged: PathBuf,
    upper: PathBuf,
    daemon: Option<rustix::process::Pid>,
}

impl Tour {
    /// Builds, imports and mounts the image.
    fn prepare(tmp: &Path) -> Result<Self> {
        let layout = tmp.join("image");
        image().write_oci(&layout, Some("demo:latest"))?;
        say("1. An image: two layers, as gzip and zstd, in an OCI image layout")?;
        say("   bottom  etc/motd  etc/hosts  usr/share/doc/readme  var/cache/old")?;
        say("   top     etc/motd (replaced)  var/cache/old (removed)\n")?;
        let store = Store::open(tmp.join("store"))?;
        let source = Source::parse(&format!("oci:{}:demo:latest", layout.display()));
        let source = source.map_err(CliError::new)?;
        let request = ImportRequest::new(source, storage::ownership_here());
        let imported = store.import(&request, &Silent)?;
        say(&format!(
            "2. Imported as {}: every digest verified, {} layers unpacked\n   \
             manifest {}\n",
            imported.name, imported.unpacked, imported.manifest_digest
        ))?;
        let merged = tmp.join("merged");
        fs::create_dir(&merged).context("make a directory")?;
        let image = store.image(imported.name.as_str())?;
        let (container, _) = image_mount::container(&store, Some("tour"), Some(image))?;
        let upper = container.upper.clone();
        let subject = Subject::Container(Box::new(container));
        // The tour is of what plyfs itself does.
        let options = Options::served_by(Some(BackendChoice::Fuse));
        let plan = image_mount::plan(&store, &subject, &options, merged.clone(), false)?;
        let daemon = server::spawn(plan)?;
        say(&format!(
            "3. Mounted on {}, writable; changes go to the upper directory of container \"tour\"\n",
            merged.display()
        ))?;
        Ok(Self {
            store,
            merged,
            upper,
            daemon: Some(daemon.pid),
        })
    }

    fn visit(&self) -> Result {
        self.read()?;
        self.copy_up()?;
        self.create()?;
        self.remove()?;
        self.check()
    }

    fn read(&self) -> Result {
        say("4. Reading: the layers are one tree; the topmost that has a file gives it")?;
        let motd = self.cat("etc/motd")?;
        let cache = self.merged.join("var/cache/old");
        expect(motd.starts_with("Welcome to the top layer"), "etc/motd")?;
        expect(!cache.exists(), "the whiteout")?;
        say("   $ ls var/cache        (the top layer has a whiteout for \"old\")")?;
        self.show_upper()
    }

    fn copy_up(&self) -> Result {
        say(
            "5. Copy-up: the first change of a lower file brings it to the upper directory, whole",
        )?;
        say("   $ echo '10.0.0.1 db' >> etc/hosts")?;
        let hosts = self.merged.join("etc/hosts");
        let mut text = fs::read_to_string(&hosts).context("read etc/hosts")?;
        text.push_str("10.0.0.1 db\n");
        fs::write(&hosts, text).context("write etc/hosts")?;
        self.cat("etc/hosts")?;
        self.show_upper()
    }

    fn create(&self) -> Result {
        say("6. New files are made in the upper directory only")?;
        say("   $ mkdir srv/www && echo hello > srv/www/index.html")?;
        let www = self.merged.join("srv/www");
        fs::create_dir_all(&www).context("make srv/www")?;
        fs::write(www.join("index.html"), "hello\n").context("write srv/www/index.html")?;
        self.show_upper()
    }

    fn remove(&self) -> Result {
        say(
            "7. Whiteout: removing a lower file leaves a mark (a character device 0/0) that hides it",
        )?;
        say("   $ rm usr/share/doc/readme")?;
        let readme = self.merged.join("usr/share/doc/readme");
        fs::remove_file(&readme).context("remove usr/share/doc/readme")?;
        expect(!readme.exists(), "the removed file")?;
        self.show_upper()
    }

    /// The layers are as they were.
    fn check(&self) -> Result {
        let name = "tour".parse().map_err(CliError::new)?;
        let container = self.store.container(&name)?;
        let bottom = container.layers.first();
        let readme = bottom.map(|layer| layer.path.join("usr/share/doc/readme"));
        expect(readme.is_some_and(|path| path.exists()), "the lower layer")?;
        say("8. The layers themselves are never written to: usr/share/doc/readme is still in the")?;
        say("   bottom layer, for every other container on this image\n")
    }

    /// Prints a file of the mount as cat(1) does.
    fn cat(&self, path: &str) -> Result<String> {
        let text =
            fs::read_to_string(self.merged.join(path)).context(format_args!("read {path}"))?;
        say(&format!("   $ cat {path}"))?;
        for line in text.lines() {
            say(&format!("   {line}"))?;
        }
        Ok(text)
    }

    /// Prints what the upper directory holds.
    fn show_upper(&self) -> Result {
        let mut lines = Vec::new();
        list(&self.upper, Path::new(""), &mut lines).context("list the upper directory")?;
        if lines.is_empty() {
            lines.push("(nothing)".to_owned());
        }
        say(&format!("   upper: {}\n", lines.join("\n          ")))
    }

    /// Unmounts and makes sure that the daemon is gone.
    fn unmount(&mut self) -> Result {
        let Some(daemon) = self.daemon.take() else {
            return Ok(());
        };
        fuse_mount::unmount(&self.merged, false)?;
        let options = rustix::process::WaitOptions::empty();
        let ended =
            rustix::process::waitpid(Some(daemon), options).context("wait for the daemon")?;
        let clean = ended.is_some_and(|(_, status)| status.exit_status() == Some(0));
        expect(clean, "the end of the daemon")?;
        let left = fs::read_dir(&self.merged)
            .context("list the mount point")?
            .count();
        expect(left == 0, "the unmounted directory")?;
        say("9. Unmounted; the daemon has written everything and is gone")
    }
}

/// The tour shows what happens, so what does not happen as told is a failure.
fn expect(condition: bool, what: &str) -> Result {
    match condition {
        true => Ok(()),
        false => Err(CliError::new(format_args!("{what} is not as it should be"))),
    }
}

/// Lists the files below a directory with their kinds. A directory is listed by its entries.
fn list(root: &Path, below: &Path, lines: &mut Vec<String>) -> std::io::Result<()> {
    let entries = fs::read_dir(root.join(below))?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name()))
        .collect::<std::io::Result<Vec<_>>>()?;
    names.sort();
    for name in names {
        let path = below.join(&name);
        let meta = fs::symlink_metadata(root.join(&path))?;
        let kind = meta.file_type();
        if kind.is_dir() {
            list(root, &path, lines)?;
        } else if kind.is_char_device() && meta.rdev() == 0 {
            lines.push(format!("{} (whiteout)", path.display()));
        } else {
            lines.push(format!("{} ({} bytes)", path.display(), meta.len()));
        }
    }
    Ok(())
}

/// The image of the tour.
fn image() -> ImageBuilder {
    let bottom = Layer::new([
        Entry::dir("."),
        Entry::dir("etc"),
        Entry::file("etc/motd", "Welcome to the bottom layer.\n"),
        Entry::file("etc/hosts", "127.0.0.1 localhost\n"),
        Entry::dir("usr"),
        Entry::dir("usr/share"),
        Entry::dir("usr/share/doc"),
        Entry::file("usr/share/doc/readme", "Read me.\n"),
        Entry::dir("var"),
        Entry::dir("var/cache"),
        Entry::file("var/cache/old", "stale\n"),
    ]);
    let top = Layer::new([
        Entry::dir("etc"),
        Entry::file("etc/motd", "Welcome to the top layer.\n"),
        Entry::dir("var"),
        Entry::dir("var/cache"),
        Entry::whiteout("var/cache/old"),
    ]);
    ImageBuilder::new()
        .layer(bottom, Compression::Gzip)
        .layer(top, Compression::Zstd)
        .config(Config::default())
}

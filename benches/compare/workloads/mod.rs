//! What is measured.
//!
//! A workload is a function that is given a fresh mount. It prepares what it needs, and lets a
//! [`Watch`] time the rest. The time of an operation is the median of the samples, each taken on a
//! mount of its own with an empty upper directory.

pub mod apt;
pub mod clients;
pub mod copy_up;
pub mod daemon;
pub mod data;
pub mod names;
pub mod npm;
pub mod reading;
pub mod real;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::layers::{Layers, Scale};
use super::peers::Mounted;

/// What a workload is given.
#[derive(Debug)]
pub struct Place<'p> {
    pub mounted: &'p Mounted,
    /// Whether this is the machine's own root.
    pub is_root: bool,
    pub scale: Scale,
    /// A directory beside the mount, on the same file system, for inputs.
    pub beside: &'p Path,
}

impl Place<'_> {
    pub fn merged(&self) -> &Path {
        &self.mounted.merged
    }

    /// A new directory in the mount, for workloads that make names.
    pub fn room(&self) -> io::Result<std::path::PathBuf> {
        let room = self.merged().join("room");
        std::fs::create_dir(&room)?;
        Ok(room)
    }
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Micros,
    Kibibytes,
    Count,
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Self::Micros => "us",
            Self::Kibibytes => "KiB",
            Self::Count => "",
        }
    }
}

/// Called with `true` before, and with `false` after what is timed.
pub type Bracket = Box<dyn FnMut(bool)>;

/// Collects what a workload finds out.
#[derive(Default)]
pub struct Watch {
    /// The time of an operation, of each name; without one it is that of the workload.
    pub figures: Vec<(Option<&'static str>, f64, Unit)>,
    /// How many operations were timed.
    pub operations: usize,
    /// For who wants to know what else happens then.
    pub bracket: Option<Bracket>,
}

impl Watch {
    /// Times so many operations.
    pub fn time<T>(
        &mut self,
        operations: usize,
        work: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        self.time_some(|| Ok((operations, work()?)))
    }

    /// Times as many operations as the work says it did.
    pub fn time_some<T>(&mut self, work: impl FnOnce() -> io::Result<(usize, T)>) -> io::Result<T> {
        if let Some(bracket) = &mut self.bracket {
            bracket(true);
        }
        let start = Instant::now();
        let (operations, result) = work()?;
        let taken = start.elapsed();
        if let Some(bracket) = &mut self.bracket {
            bracket(false);
        }
        self.add_time(operations, taken);
        Ok(result)
    }

    pub fn add_time(&mut self, operations: usize, taken: Duration) {
        self.operations += operations;
        let micros = taken.as_secs_f64() * 1e6 / operations.max(1) as f64;
        self.figures.push((None, micros, Unit::Micros));
    }

    pub fn note(&mut self, name: &'static str, value: f64, unit: Unit) {
        self.figures.push((Some(name), value, unit));
    }
}

/// One workload.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    pub id: &'static str,
    /// What one operation is.
    pub about: &'static str,
    pub layers: Layers,
    /// Mount options for every peer.
    pub options: &'static [&'static str],
    /// What the ratio of plyfs to the kernel is to be at most.
    pub mark: Option<f64>,
    /// The workload of the kernel that it is compared with, if not the same.
    pub against: Option<&'static str>,
    /// Samples are few because each takes long.
    pub is_long: bool,
    /// It empties the caches of the machine itself.
    pub drops_caches: bool,
    /// It uses nothing of the lower layers.
    pub needs_no_layers: bool,
    pub run: fn(&Place<'_>, &mut Watch) -> io::Result<()>,
}

type Run = fn(&Place<'_>, &mut Watch) -> io::Result<()>;

const fn on(layers: Layers, id: &'static str, about: &'static str, run: Run) -> Workload {
    Workload {
        id,
        about,
        layers,
        options: &[],
        mark: None,
        against: None,
        is_long: false,
        drops_caches: false,
        needs_no_layers: false,
        run,
    }
}

impl Workload {
    const fn mark(mut self, mark: f64) -> Self {
        self.mark = Some(mark);
        self
    }

    const fn against(mut self, other: &'static str) -> Self {
        self.against = Some(other);
        self
    }

    const fn with(mut self, options: &'static [&'static str]) -> Self {
        self.options = options;
        self
    }

    const fn dropping_caches(mut self) -> Self {
        self.drops_caches = true;
        self
    }

    const fn bare(mut self) -> Self {
        self.needs_no_layers = true;
        self
    }

    const fn long(mut self) -> Self {
        self.is_long = true;
        self
    }
}

const METACOPY: &[&str] = &["metacopy=on", "redirect_dir=on"];

/// All workloads, in the order of the table.
pub static ALL: &[Workload] = &[
    on(
        Layers::Tree,
        "walk-cold",
        "stat of each file, fresh mount",
        reading::walk_cold,
    )
    .mark(1.5),
    on(
        Layers::Tree,
        "walk-warm",
        "the same again",
        reading::walk_warm,
    )
    .mark(1.1),
    on(
        Layers::Tree,
        "stat-repeat",
        "stat of a file seen before",
        reading::stat_repeat,
    )
    .mark(1.1),
    on(
        Layers::Tree,
        "miss-fresh",
        "stat of a new missing name",
        reading::miss_fresh,
    )
    .mark(2.0),
    on(
        Layers::Tree,
        "miss-repeat",
        "stat of a known missing name",
        reading::miss_repeat,
    )
    .mark(1.1),
    on(
        Layers::Tree,
        "open-close",
        "open and close, lower file",
        reading::open_close,
    )
    .mark(1.1),
    on(
        Layers::Tree,
        "open-read",
        "open, read, close, cached lower file",
        reading::open_read,
    )
    .mark(1.1),
    on(
        Layers::Tree,
        "read-first",
        "read of a small file, fresh mount",
        reading::read_first,
    ),
    on(
        Layers::Tree,
        "read-second",
        "the same again",
        reading::read_second,
    )
    .mark(1.1),
    on(
        Layers::Tree,
        "readdir",
        "repeated listing of a merged directory",
        reading::readdir,
    )
    .mark(1.1),
    on(Layers::Tree, "create", "empty file", names::create)
        .mark(3.5)
        .bare(),
    on(Layers::Tree, "create-4k", "file of 4 KiB", names::create_4k)
        .mark(3.5)
        .bare(),
    on(
        Layers::Tree,
        "rename",
        "file, in its directory",
        names::rename,
    )
    .mark(3.5)
    .bare(),
    on(Layers::Tree, "unlink", "upper file", names::unlink)
        .mark(3.5)
        .bare(),
    on(
        Layers::Tree,
        "unlink-lower",
        "lower file",
        names::unlink_lower,
    ),
    on(Layers::Tree, "mkdir", "directory", names::mkdir)
        .mark(3.5)
        .bare(),
    on(Layers::Tree, "rmdir", "empty upper directory", names::rmdir)
        .mark(3.5)
        .bare(),
    on(Layers::Tree, "symlink", "symbolic link", names::symlink)
        .mark(3.5)
        .bare(),
    on(Layers::Tree, "link", "hard link", names::link).bare(),
    on(Layers::Tree, "chmod", "upper file", names::chmod)
        .mark(5.0)
        .bare(),
    on(
        Layers::Tree,
        "rm-r",
        "entry of a lower tree",
        names::remove_tree,
    )
    .mark(3.5),
    on(
        Layers::Tree,
        "write-128",
        "128 bytes, sequential, with close",
        data::write_128,
    )
    .mark(1.3)
    .bare(),
    on(
        Layers::Tree,
        "write-seq",
        "MiB, with close",
        data::write_sequential,
    )
    .mark(1.3)
    .bare(),
    on(
        Layers::Big,
        "read-seq-first",
        "MiB of a lower file, fresh mount",
        data::read_sequential_first,
    ),
    on(
        Layers::Big,
        "read-seq",
        "MiB of a lower file, again",
        data::read_sequential,
    )
    .mark(1.3),
    on(
        Layers::Tree,
        "read-random",
        "4 KiB of an upper file",
        data::read_random,
    )
    .mark(1.3)
    .bare(),
    on(
        Layers::Tree,
        "write-random",
        "4 KiB of an upper file, with close",
        data::write_random,
    )
    .mark(1.3)
    .bare(),
    on(
        Layers::Tree,
        "mmap-read",
        "page of an upper file",
        data::mmap_read,
    )
    .mark(1.3)
    .bare(),
    on(
        Layers::Tree,
        "mmap-write",
        "page of an upper file, with msync",
        data::mmap_write,
    )
    .mark(1.3)
    .bare(),
    on(Layers::Tree, "fsync", "4 KiB and fsync", data::fsync)
        .mark(4.0)
        .bare(),
    on(
        Layers::Tree,
        "create-2",
        "empty file, two clients",
        clients::create_two,
    )
    .bare(),
    on(
        Layers::Tree,
        "create-4",
        "empty file, four clients",
        clients::create_four,
    )
    .bare(),
    on(
        Layers::Tree,
        "stat-2",
        "stat walk, fresh mount, two clients",
        clients::stat_two,
    ),
    on(
        Layers::Tree,
        "stat-4",
        "stat walk, fresh mount, four clients",
        clients::stat_four,
    ),
    on(
        Layers::Tree,
        "copy-up-small",
        "one byte appended to a lower file",
        copy_up::small,
    ),
    on(
        Layers::Big,
        "copy-up-chmod",
        "chmod of a large lower file",
        copy_up::chmod,
    )
    .long(),
    on(
        Layers::Big,
        "copy-up-chmod-meta",
        "the same, metacopy=on, against the kernel without",
        copy_up::chmod,
    )
    .with(METACOPY)
    .mark(0.01)
    .against("copy-up-chmod")
    .long(),
    on(
        Layers::Big,
        "copy-up-byte",
        "first byte written to it",
        copy_up::one_byte,
    )
    .mark(1.0)
    .long(),
    on(
        Layers::Count(1),
        "mount-1",
        "mount of 1 layer",
        daemon::mount,
    ),
    on(
        Layers::Count(10),
        "mount-10",
        "mount of 10 layers",
        daemon::mount,
    ),
    on(
        Layers::Count(100),
        "mount-100",
        "mount of 100 layers",
        daemon::mount,
    )
    .mark(1.0),
    on(
        Layers::Count(500),
        "mount-500",
        "mount of 500 layers",
        daemon::mount,
    ),
    on(Layers::Many, "memory", "the daemon", daemon::memory)
        .long()
        .dropping_caches(),
    on(
        Layers::Tree,
        "git-clone",
        "clone of a local repository",
        real::git_clone,
    )
    .mark(1.5)
    .long(),
    on(
        Layers::Tree,
        "git-status",
        "of that clone",
        real::git_status,
    )
    .mark(1.5)
    .long(),
    on(Layers::Tree, "tar-x", "tar x", real::tar_extract)
        .mark(1.5)
        .long(),
    on(Layers::Project, "compile", "C project", real::compile)
        .mark(1.5)
        .long(),
    on(
        Layers::Python,
        "python",
        "python3 -c 'import ...', fresh mount",
        real::python,
    )
    .mark(1.5)
    .long(),
    on(
        Layers::Debian,
        "apt-install",
        "apt-get install git, downloaded",
        apt::install,
    )
    .mark(1.5)
    .long(),
    on(
        Layers::Node,
        "npm-install",
        "npm install of 100 local packages",
        npm::install,
    )
    .long(),
];

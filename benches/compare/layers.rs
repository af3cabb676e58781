//! The lower layers that workloads run on, made once for each file system.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::workloads::{apt, npm, real};

/// Names the directory of a run, for the processes inside.
pub const SCRATCH: &str = "PLYFS_BENCH_SCRATCH";

/// How much there is to do in one sample.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Operations on names.
    pub names: usize,
    /// Directories in the tree of four layers.
    pub dirs: usize,
    /// Size of the file for sequential and random access, in MiB.
    pub stream_mib: usize,
    /// Size of the file that is copied up, in MiB.
    pub big_mib: usize,
    /// Files in the tree for the memory of a daemon.
    pub many: usize,
}

impl Scale {
    pub fn new(quick: bool) -> Self {
        match quick {
            true => Self {
                names: 1000,
                dirs: 30,
                stream_mib: 32,
                big_mib: 64,
                many: 20_000,
            },
            false => Self {
                names: 4000,
                dirs: 100,
                stream_mib: 128,
                big_mib: 512,
                many: 100_000,
            },
        }
    }
}

/// A set of lower layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layers {
    /// Four layers of small files in common directories, as images have them.
    Tree,
    /// One layer with a file of many MiB.
    Big,
    /// One layer with very many empty files.
    Many,
    /// So many layers, with a file in each.
    Count(usize),
    /// One layer with a C project.
    Project,
    /// One layer with the library of the Python interpreter.
    Python,
    /// One layer with the root of a Debian, and packages that are not installed yet.
    Debian,
    /// One layer with a project for npm.
    Node,
}

impl Layers {
    /// Gets what cannot be had while something is measured, or not by everybody.
    ///
    /// # Errors
    /// Why there can be no such layers here, in one line.
    pub fn prepare(self, scratch: &Path) -> Result<(), String> {
        match self {
            Self::Debian => apt::prepare(scratch),
            Self::Node => npm::find(),
            _ => Ok(()),
        }
    }
}

/// Files in each directory of the lowest layer of [`Layers::Tree`].
pub const FILES: usize = 30;
/// Layers of it.
pub const TREE_LAYERS: usize = 4;

/// The layers made so far on one file system.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    scale: Scale,
    made: RefCell<HashMap<Layers, Vec<PathBuf>>>,
}

impl Store {
    pub fn new(dir: PathBuf, scale: Scale) -> Self {
        Self {
            dir,
            scale,
            made: RefCell::default(),
        }
    }

    /// The lower directories of a set, topmost first.
    pub fn get(&self, layers: Layers) -> io::Result<Vec<PathBuf>> {
        if let Some(made) = self.made.borrow().get(&layers) {
            return Ok(made.clone());
        }
        let dir = self.dir.join(format!("l{}", self.made.borrow().len()));
        fs::create_dir(&dir)?;
        let made = self.make(layers, &dir)?;
        rustix::fs::syncfs(fs::File::open(&dir)?)?;
        self.made.borrow_mut().insert(layers, made.clone());
        Ok(made)
    }

    fn make(&self, layers: Layers, dir: &Path) -> io::Result<Vec<PathBuf>> {
        match layers {
            Layers::Tree => tree(dir, self.scale.dirs),
            Layers::Big => {
                let mut file = fs::File::create(dir.join("big"))?;
                fill(&mut file, self.scale.big_mib << 20)?;
                Ok(vec![dir.to_owned()])
            }
            Layers::Many => {
                for i in 0..self.scale.many {
                    if i % 1000 == 0 {
                        fs::create_dir(dir.join(format!("d{}", i / 1000)))?;
                    }
                    fs::File::create(dir.join(format!("d{}/f{i}", i / 1000)))?;
                }
                Ok(vec![dir.to_owned()])
            }
            Layers::Count(count) => (0..count)
                .map(|i| {
                    let layer = dir.join(i.to_string());
                    fs::create_dir(&layer)?;
                    fs::write(layer.join(format!("f{i}")), "x")?;
                    Ok(layer)
                })
                .collect(),
            Layers::Project => {
                real::write_project(dir)?;
                Ok(vec![dir.to_owned()])
            }
            Layers::Python => {
                real::copy_python(dir)?;
                Ok(vec![dir.to_owned()])
            }
            Layers::Debian => {
                apt::write_root(dir)?;
                Ok(vec![dir.to_owned()])
            }
            Layers::Node => {
                npm::write_project(dir)?;
                Ok(vec![dir.to_owned()])
            }
        }
    }
}

/// The lowest layer has everything; each above adds files to every third directory, and replaces one.
fn tree(dir: &Path, dirs: usize) -> io::Result<Vec<PathBuf>> {
    let mut layers = Vec::new();
    for layer in 0..TREE_LAYERS {
        let top = dir.join(layer.to_string());
        fs::create_dir(&top)?;
        for d in (0..dirs).filter(|d| layer == 0 || d % 3 == layer - 1) {
            let inner = top.join(tree_dir(d));
            fs::create_dir_all(&inner)?;
            let files = if layer == 0 { FILES } else { 5 };
            for f in 0..files {
                let mut file = fs::File::create(inner.join(format!("l{layer}f{f}")))?;
                fill(&mut file, 500 + (d * 37 + f * 211) % 5000)?;
            }
            if layer > 0 {
                fs::write(inner.join(format!("l0f{layer}")), "replaced")?;
            }
        }
        layers.insert(0, top);
    }
    Ok(layers)
}

/// The path of a directory in [`Layers::Tree`].
pub fn tree_dir(number: usize) -> String {
    format!("t/a{}/b{number}", number / 10)
}

/// Writes data that no file system can leave out.
pub fn fill(file: &mut fs::File, mut bytes: usize) -> io::Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut block = vec![0; bytes.min(1 << 20)];
    while bytes > 0 {
        for word in block.chunks_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes()[..word.len()]);
        }
        let part = bytes.min(block.len());
        file.write_all(&block[..part])?;
        bytes -= part;
    }
    Ok(())
}

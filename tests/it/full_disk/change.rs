//! Random changes of a mount, repeated on a plain directory if they succeed.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;

/// A change of one name, or of two.
#[derive(Debug, Clone)]
pub enum Change {
    Append(PathBuf),
    Overwrite(PathBuf),
    Truncate(PathBuf),
    Mode(PathBuf, u32),
    Attribute(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    MakeFile(PathBuf, usize),
    MakeDir(PathBuf),
    MakeSymlink(PathBuf),
    Link(PathBuf, PathBuf),
}

impl Change {
    /// One that may be possible in a tree.
    pub fn random(random: &mut fastrand::Rng, root: &Path) -> Self {
        let mut all = Vec::new();
        list(root, Path::new(""), &mut all);
        let one = random.choice(&all).unwrap().clone();
        let new = |random: &mut fastrand::Rng| {
            let dirs: Vec<&PathBuf> = all.iter().filter(|path| root.join(path).is_dir()).collect();
            let dir = random
                .choice(&dirs)
                .map_or(PathBuf::new(), |dir| dir.to_path_buf());
            dir.join(format!("new-{}", random.u32(..1000)))
        };
        match random.u8(..11) {
            0 => Self::Append(one),
            1 => Self::Overwrite(one),
            2 => Self::Truncate(one),
            3 => Self::Mode(one, random.choice([0o700, 0o755, 0o711]).unwrap()),
            4 => Self::Attribute(one, random.usize(1..3000)),
            5 => match random.bool() {
                true => Self::Rename(one, random.choice(&all).unwrap().clone()),
                false => Self::Rename(one, new(random)),
            },
            6 => Self::Remove(one),
            7 => Self::MakeFile(new(random), random.usize(..300_000)),
            8 => Self::MakeDir(new(random)),
            9 => Self::MakeSymlink(new(random)),
            _ => Self::Link(one, new(random)),
        }
    }

    /// Makes the change. If there is no space for it, nothing may have changed.
    pub fn make(&self, root: &Path) -> io::Result<()> {
        let at = |path: &Path| root.join(path);
        match self {
            Self::Append(path) => {
                let mut file = File::options().append(true).open(at(path))?;
                file.write_all(b"more")?;
                file.sync_all()
            }
            Self::Overwrite(path) => {
                let file = File::options().write(true).open(at(path))?;
                file.write_all_at(b"over", 0)?;
                file.sync_all()
            }
            Self::Truncate(path) => {
                let file = File::options().write(true).open(at(path))?;
                file.set_len(3)?;
                file.sync_all()
            }
            Self::Mode(path, mode) => {
                no_link(&at(path))?;
                fs::set_permissions(at(path), Permissions::from_mode(*mode))
            }
            Self::Attribute(path, size) => {
                no_link(&at(path))?;
                let value = vec![b'v'; *size];
                let flags = XattrFlags::empty();
                Ok(rustix::fs::setxattr(at(path), "user.new", &value, flags)?)
            }
            Self::Rename(path, to) => fs::rename(at(path), at(to)),
            Self::Remove(path) => match fs::symlink_metadata(at(path))?.is_dir() {
                true => fs::remove_dir(at(path)),
                false => fs::remove_file(at(path)),
            },
            Self::MakeFile(path, size) => {
                let mut file = File::create_new(at(path))?;
                let written = file.write_all(&vec![b'f'; *size]);
                let written = written.and_then(|()| file.sync_all());
                // It was made, and its content did not fit.
                written.or_else(|error| fs::remove_file(at(path)).and(Err(error)))
            }
            Self::MakeDir(path) => fs::create_dir(at(path)),
            Self::MakeSymlink(path) => symlink("target".repeat(20), at(path)),
            Self::Link(path, to) => fs::hard_link(at(path), at(to)),
        }
    }
}

/// What is changed is no other file.
fn no_link(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path)?.is_symlink() {
        true => Err(ErrorKind::InvalidInput.into()),
        false => Ok(()),
    }
}

/// All paths below a directory, but for those of the image's hard links, which only an index keeps together.
fn list(root: &Path, below: &Path, all: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(root.join(below))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name != "small" && name != "linked")
        .collect();
    entries.sort();
    for name in entries {
        let path = below.join(name);
        let is_dir = fs::symlink_metadata(root.join(&path)).unwrap().is_dir();
        all.push(path.clone());
        if is_dir {
            list(root, &path, all);
        }
    }
}

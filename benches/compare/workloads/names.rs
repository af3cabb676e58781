//! Workloads that make, move and remove names.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink as symbolic_link};
use std::path::{Path, PathBuf};

use super::super::layers::{FILES, tree_dir};
use super::{Place, Watch};

fn paths(dir: &Path, prefix: &str, count: usize) -> Vec<PathBuf> {
    let name = |i| dir.join(format!("{prefix}{i}"));
    (0..count).map(name).collect()
}

/// Times something done to each of many names in a new directory.
fn timed(
    watch: &mut Watch,
    paths: &[PathBuf],
    each: impl Fn(&Path) -> io::Result<()>,
) -> io::Result<()> {
    watch.time(paths.len(), || paths.iter().try_for_each(|path| each(path)))
}

fn make(path: &Path) -> io::Result<()> {
    File::create_new(path).map(drop)
}

/// Empty files in a new directory.
fn files(place: &Place<'_>) -> io::Result<Vec<PathBuf>> {
    let paths = paths(&place.room()?, "f", place.scale.names);
    paths.iter().try_for_each(|path| make(path))?;
    Ok(paths)
}

pub fn create(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    timed(watch, &paths(&place.room()?, "f", place.scale.names), make)
}

pub fn create_4k(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let data = [7; 4096];
    let paths = paths(&place.room()?, "f", place.scale.names);
    timed(watch, &paths, |path| {
        File::create_new(path)?.write_all(&data)
    })
}

pub fn rename(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let files = files(place)?;
    timed(watch, &files, |path| {
        fs::rename(path, path.with_extension("new"))
    })
}

pub fn unlink(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    timed(watch, &files(place)?, |path| fs::remove_file(path))
}

pub fn unlink_lower(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let dirs = (0..place.scale.dirs).map(|d| place.merged().join(tree_dir(d)));
    let files: Vec<PathBuf> = dirs
        .flat_map(|dir| (0..FILES).map(move |f| dir.join(format!("l0f{f}"))))
        .collect();
    timed(watch, &files, |path| fs::remove_file(path))
}

pub fn mkdir(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let paths = paths(&place.room()?, "d", place.scale.names);
    timed(watch, &paths, |path| fs::create_dir(path))
}

pub fn rmdir(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let paths = paths(&place.room()?, "d", place.scale.names);
    paths.iter().try_for_each(fs::create_dir)?;
    timed(watch, &paths, |path| fs::remove_dir(path))
}

pub fn symlink(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let paths = paths(&place.room()?, "s", place.scale.names);
    timed(watch, &paths, |path| symbolic_link("target", path))
}

pub fn link(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let files = files(place)?;
    timed(watch, &files, |path| {
        fs::hard_link(path, path.with_extension("other"))
    })
}

pub fn chmod(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let files = files(place)?;
    timed(watch, &files, |path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))
    })
}

/// Empties the tree as `rm -r` does, without starting it: its start would be most of the time.
pub fn remove_tree(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let tree = place.merged().join("t");
    let entries = 1 + super::reading::walk(&tree)?;
    watch.time(entries, || fs::remove_dir_all(&tree))
}

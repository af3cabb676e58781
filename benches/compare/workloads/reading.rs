//! Workloads that change nothing.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::super::layers::{FILES, tree_dir};
use super::{Place, Watch};

/// Lists every directory and asks for the attributes of every entry. Returns how many there are.
pub fn walk(dir: &Path) -> io::Result<usize> {
    let mut entries = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        entries += 1;
        if entry.metadata()?.is_dir() {
            entries += walk(&entry.path())?;
        }
    }
    Ok(entries)
}

pub fn walk_cold(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    watch.time_some(|| Ok((walk(place.merged())?, ())))
}

pub fn walk_warm(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    // A second listing may ask for other things than the first.
    walk(place.merged())?;
    walk(place.merged())?;
    watch.time_some(|| Ok((walk(place.merged())?, ())))
}

/// Some files of the lowest layer.
fn some_files(place: &Place<'_>) -> Vec<PathBuf> {
    let dirs = 0..place.scale.dirs.min(10);
    let files = dirs.flat_map(|d| (10..20).map(move |f| (d, f)));
    files
        .map(|(d, f)| place.merged().join(tree_dir(d)).join(format!("l0f{f}")))
        .collect()
}

pub fn stat_repeat(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let files = some_files(place);
    for file in &files {
        fs::symlink_metadata(file)?;
    }
    repeat(place, watch, &files, |file| {
        fs::symlink_metadata(file).map(drop)
    })
}

/// Does something to the files in turn, ten times as often as something is done to names.
fn repeat(
    place: &Place<'_>,
    watch: &mut Watch,
    files: &[PathBuf],
    mut each: impl FnMut(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let count = place.scale.names * 10;
    watch.time(count, || {
        files.iter().cycle().take(count).try_for_each(|f| each(f))
    })
}

fn missing(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::other("a missing name was found")),
    }
}

pub fn miss_fresh(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let dir = place.merged().join(tree_dir(0));
    fs::symlink_metadata(&dir)?;
    let names: Vec<PathBuf> = (0..place.scale.names)
        .map(|i| dir.join(format!("none{i}")))
        .collect();
    watch.time(names.len(), || names.iter().try_for_each(|n| missing(n)))
}

pub fn miss_repeat(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let dir = place.merged().join(tree_dir(0));
    let names: Vec<PathBuf> = (0..100).map(|i| dir.join(format!("none{i}"))).collect();
    names.iter().try_for_each(|name| missing(name))?;
    repeat(place, watch, &names, missing)
}

pub fn open_close(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let files = some_files(place);
    files.iter().try_for_each(|f| fs::File::open(f).map(drop))?;
    repeat(place, watch, &files, |file| fs::File::open(file).map(drop))
}

pub fn open_read(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let mut buffer = vec![0; 8192];
    let mut read = |file: &Path| {
        let mut file = fs::File::open(file)?;
        while file.read(&mut buffer)? > 0 {}
        Ok(())
    };
    let files = some_files(place);
    files.iter().try_for_each(|file| read(file))?;
    repeat(place, watch, &files, read)
}

/// Reads all files of the lowest layer.
fn read_tree(place: &Place<'_>) -> io::Result<(usize, ())> {
    let mut buffer = vec![0; 8192];
    for d in 0..place.scale.dirs {
        let dir = place.merged().join(tree_dir(d));
        for f in 0..FILES {
            let mut file = fs::File::open(dir.join(format!("l0f{f}")))?;
            while file.read(&mut buffer)? > 0 {}
        }
    }
    Ok((place.scale.dirs * FILES, ()))
}

pub fn read_first(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    watch.time_some(|| read_tree(place))
}

pub fn read_second(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    read_tree(place)?;
    watch.time_some(|| read_tree(place))
}

pub fn readdir(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let dir = place.merged().join(tree_dir(0));
    let list = || {
        fs::read_dir(&dir)?.try_for_each(|entry| entry.map(drop))?;
        io::Result::Ok(())
    };
    // With attributes the first time, without them later.
    (0..3).try_for_each(|_| list())?;
    let count = place.scale.names;
    watch.time(count, || (0..count).try_for_each(|_| list()))
}

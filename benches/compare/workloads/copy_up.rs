//! Workloads that move files from a lower layer to the upper.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};

use super::super::layers::tree_dir;
use super::{Place, Watch};

pub fn small(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    /// A disk may take long for each: every copy is synced.
    const FILES: usize = 4;
    let dirs = (0..place.scale.dirs).map(|d| place.merged().join(tree_dir(d)));
    let files: Vec<_> = dirs
        .flat_map(|dir| (10..10 + FILES).map(move |f| dir.join(format!("l0f{f}"))))
        .collect();
    watch.time(files.len(), || {
        files.iter().try_for_each(|path| {
            let mut file = File::options().append(true).open(path)?;
            file.write_all(b"x")
        })
    })
}

pub fn chmod(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let path = place.merged().join("big");
    watch.time(1, || {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
    })
}

pub fn one_byte(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let path = place.merged().join("big");
    watch.time(1, || {
        let file = File::options().write(true).open(&path)?;
        file.write_all_at(b"x", 0)
    })
}

//! What the file system of the store can do.

use std::fs::File;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, RenameFlags, XattrFlags};
use rustix::io::Errno;

use super::probe::Probe;
use crate::error::reason;
use crate::namespace;

/// Tries it on files that are gone afterwards.
pub(super) fn probe(place: &Path) -> Vec<Probe> {
    let shown = place.display();
    let dir = match tempfile::Builder::new()
        .prefix(".plyfs-doctor-")
        .tempdir_in(place)
    {
        Ok(dir) => dir,
        Err(error) => {
            return vec![Probe::new(
                ("store", "the store"),
                Err::<(), _>(error),
                "",
                &format!("make {shown} writable, or choose another place with --store"),
            )];
        }
    };
    let path = |name: &str| dir.path().join(name);
    let made = std::fs::write(path("f"), "x").and_then(|()| File::open(path("f")));
    let file = match made {
        Ok(file) => file,
        Err(error) => {
            let remedy = format!("make room on {shown}");
            return vec![Probe::new(
                ("store", "the store"),
                Err::<(), _>(error),
                "",
                &remedy,
            )];
        }
    };
    let set = |name| rustix::fs::setxattr(path("f"), name, b"x", XattrFlags::empty());
    let mut probes = vec![
        Probe::new(
            ("reflink", "reflinks"),
            clone(&file, &path("copy")),
            &format!("copy-up on {shown} shares data instead of copying it"),
            "a store on xfs (reflink=1) or btrfs; without, files are copied when they change",
        ),
        Probe::new(
            ("user_xattrs", "user.* attributes"),
            set("user.plyfs.probe"),
            &format!("owners and records can be kept on {shown}"),
            "a store on ext4, xfs, btrfs, or tmpfs of Linux 6.6",
        ),
    ];
    if namespace::is_real_root() {
        probes.push(Probe::new(
            ("trusted_xattrs", "trusted.* attributes"),
            set("trusted.plyfs.probe"),
            &format!("records of root's overlays can be kept on {shown}"),
            "CAP_SYS_ADMIN, and a store on ext4, xfs, btrfs or tmpfs",
        ));
    }
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let nameless = rustix::fs::open(dir.path(), flags, Mode::RUSR);
    probes.push(Probe::new(
        ("o_tmpfile", "O_TMPFILE"),
        nameless.map(drop),
        "files without names can be made",
        "a store on ext4, xfs, btrfs or tmpfs",
    ));
    probes.push(Probe::new(
        ("upper", "an upper directory"),
        renames(&path("a"), &path("b")),
        &format!("whiteouts and exchanges work on {shown}"),
        "a store on ext4, xfs, btrfs or tmpfs, and not on an overlay or NFS",
    ));
    probes
}

fn clone(file: &File, copy: &Path) -> Result<(), String> {
    let copy = File::create(copy).map_err(|error| reason(&error))?;
    rustix::fs::ioctl_ficlone(&copy, file).map_err(|errno| match errno {
        Errno::OPNOTSUPP | Errno::INVAL => "the file system has none".to_owned(),
        errno => reason(&errno),
    })
}

/// What publishes the changes of a mount.
fn renames(one: &Path, other: &Path) -> Result<(), Errno> {
    rustix::fs::mknodat(CWD, one, FileType::CharacterDevice, Mode::empty(), 0)?;
    let rename = |flags| rustix::fs::renameat_with(CWD, one, CWD, other, flags);
    rename(RenameFlags::WHITEOUT)?;
    rename(RenameFlags::EXCHANGE)
}

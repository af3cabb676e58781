//! The table of mounts, /proc/self/mountinfo (proc(5)), and which directories are in use according to it.
//!
//! A mount of this program holds locks. Mounts of the kernel's overlay that other programs made hold none;
//! the table shows them as long as they are in the same mount namespace.

use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use plyfs_fs::{Config, IndexUse, MountError, UpperLayer};
use rustix::fs::{AtFlags, CWD, StatxFlags};

use super::serving::Device;
use crate::error::{CliError, Result};
use crate::namespace;

/// A line of the table.
struct Line<'t> {
    id: u64,
    /// The device number of the file system.
    device: &'t str,
    /// The directory of the file system that is mounted, escaped as in the table.
    root: &'t str,
    /// The mount point, escaped as in the table.
    target: &'t str,
    /// The peer group of the mount, which shares later mounts with it (mount_namespaces(7)).
    shared: Option<&'t str>,
    /// The peer group from which it receives later mounts.
    master: Option<&'t str>,
    kind: &'t str,
    /// The options of the file system.
    options: &'t str,
}

impl<'t> Line<'t> {
    fn parse(line: &'t str) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let mut system = system.splitn(3, ' ');
        let mut fields = mount.split(' ');
        let id = fields.next()?.parse().ok()?;
        let device = fields.nth(1)?;
        let (root, target) = (fields.next()?, fields.next()?);
        let mut line = Self {
            id,
            device,
            root,
            target,
            shared: None,
            master: None,
            kind: system.next()?,
            options: system.nth(1)?,
        };
        for (name, group) in fields.filter_map(|field| field.split_once(':')) {
            match name {
                "shared" => line.shared = Some(group),
                "master" => line.master = Some(group),
                _ => {}
            }
        }
        Some(line)
    }

    /// Where a path below a mount point lies in the file system.
    fn below_root(&self, path: &Path) -> Option<PathBuf> {
        let below = path.strip_prefix(unescape(self.target)).ok()?;
        Some(unescape(self.root).join(below))
    }

    /// The path at which this mount shows something in the file system.
    fn shown_at(&self, inside: &Path) -> Option<PathBuf> {
        let below = inside.strip_prefix(unescape(self.root)).ok()?;
        Some(unescape(self.target).join(below))
    }
}

/// Whether an overlay of the kernel, made by any program, has this directory as upper or work directory.
pub(crate) fn is_changed_by_kernel(dir: &Path) -> bool {
    is_changed_by_overlay(&parse(&read()), dir)
}

/// Whether the topmost mount on a path is a FUSE file system that was mounted by this user.
pub(crate) fn is_own_fuse(path: &Path) -> bool {
    let table = read();
    let lines = parse(&table);
    let resolved = resolved(path);
    let top = lines.iter().rfind(|line| unescape(line.target) == resolved);
    let user = format!("user_id={}", rustix::process::geteuid().as_raw());
    top.is_some_and(|line| {
        let is_fuse =
            line.kind == "fuse" || line.kind == "fuseblk" || line.kind.starts_with("fuse.");
        is_fuse && line.options.split(',').any(|option| option == user)
    })
}

/// Whether anything is mounted on a path. It is not followed if it is a link.
pub(crate) fn is_mount_point(path: &Path) -> bool {
    let resolved = resolved(path);
    let table = read();
    let mut lines = parse(&table).into_iter();
    lines.any(|line| unescape(line.target) == resolved)
}

/// A path on which the file system of a device is mounted.
pub(crate) fn mount_point_of(device: Device) -> Option<PathBuf> {
    let (table, device) = (read(), device.in_mountinfo());
    let mut lines = parse(&table).into_iter();
    let line = lines.find(|line| line.device == device)?;
    Some(unescape(line.target))
}

/// A path without links, but for its last component.
fn resolved(path: &Path) -> PathBuf {
    let resolved = match (path.parent(), path.file_name()) {
        // Do not resolve the path itself: a file system whose daemon has ended fails every call.
        (Some(parent), Some(name)) => parent.canonicalize().map(|parent| parent.join(name)),
        _ => Ok(path.to_owned()),
    };
    resolved.unwrap_or_else(|_| path.to_owned())
}

/// The table, as far as it can be read.
fn read() -> String {
    namespace::proc_text("/proc/self/mountinfo").unwrap_or_default()
}

/// The lines of the table that can be read.
fn parse(table: &str) -> Vec<Line<'_>> {
    table.lines().filter_map(Line::parse).collect()
}

fn is_changed_by_overlay(lines: &[Line<'_>], dir: &Path) -> bool {
    identity(dir).is_some_and(|wanted| changed_by_overlays(lines).contains(&wanted))
}

/// The upper and work directories of the kernel's overlays.
fn changed_by_overlays(lines: &[Line<'_>]) -> Vec<(u64, u64)> {
    lines
        .iter()
        .filter(|line| line.kind == "overlay")
        .flat_map(|line| line.options.split(','))
        .filter_map(|option| match option.split_once('=') {
            Some(("upperdir" | "workdir", path)) => identity(&unescape(path)),
            _ => None,
        })
        .collect()
}

/// Device and inode number of a directory.
fn identity(dir: &Path) -> Option<(u64, u64)> {
    let found = rustix::fs::stat(dir).ok()?;
    Some((found.st_dev, found.st_ino))
}

/// Refuses an upper or work directory that an overlay of the kernel already uses. If `place` is given, refuses it
/// where the mount would hide another one, or contain itself.
pub(crate) fn refuse(overlay: &Config, place: Option<&Path>) -> Result {
    if place.is_none() && overlay.upper.is_none() {
        return Ok(());
    }
    // Read and parsed once: it is long where there are many mounts.
    let table = read();
    let lines = parse(&table);
    if let Some(target) = place {
        refuse_taken(&lines, target)?;
        refuse_inside(&lines, overlay, target)?;
    }
    refuse_used(&lines, overlay)
}

fn refuse_used(lines: &[Line<'_>], overlay: &Config) -> Result {
    let Some(upper) = &overlay.upper else {
        return Ok(());
    };
    for (role, path) in [("upper", &upper.path), ("work", &upper.work)] {
        if is_changed_by_overlay(lines, path) {
            let path = path.clone();
            return Err(MountError::InUse { role, path }.into());
        }
    }
    match overlay.index {
        IndexUse::On => refuse_changed(lines, overlay, upper),
        IndexUse::Auto | IndexUse::Off => Ok(()),
    }
}

/// Refuses layers that an overlay of the kernel changes, or that lie in a directory which it changes, as the kernel
/// does where it keeps an index.
fn refuse_changed(lines: &[Line<'_>], overlay: &Config, upper: &UpperLayer) -> Result {
    let changed = changed_by_overlays(lines);
    let lowers = overlay.lowers.iter().chain(&overlay.data);
    let layers = lowers.map(|lower| ("lower", &lower.path));
    let layers = layers.chain([("upper", &upper.path), ("work", &upper.work)]);
    for (role, path) in layers {
        // The kernel looks no further than the root of the file system.
        let own = identity(path).map(|(device, _)| device);
        let above = path.ancestors().map(|dir| (dir, identity(dir)));
        let mut above = above.take_while(|(_, found)| found.map(|(device, _)| device) == own);
        if let Some((used, _)) =
            above.find(|(_, found)| found.is_some_and(|found| changed.contains(&found)))
        {
            return Err(MountError::InUseAbove {
                role,
                path: path.clone(),
                used: used.to_owned(),
            }
            .into());
        }
    }
    Ok(())
}

/// Refuses a place where a union is mounted already. Another one on top would only hide it, which a user who
/// mounts twice does not mean.
fn refuse_taken(lines: &[Line<'_>], target: &Path) -> Result {
    // The last one is on top.
    let top = lines.iter().rfind(|line| unescape(line.target) == target);
    match top {
        Some(line) if line.kind == "overlay" || line.kind == "fuse.plyfs" => {
            Err(CliError::new(format_args!(
                "cannot mount on {}: it is busy: something of type {} is mounted there; unmount it first",
                target.display(),
                line.kind
            )))
        }
        _ => Ok(()),
    }
}

/// A path without the octal numbers that stand for characters that would break a line.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let number = tail.get(..3).and_then(|digits| str::from_utf8(digits).ok());
        let number = number.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        (rest, _) = match (first, number) {
            (b'\\', Some(number)) => (tail.get(3..).unwrap_or_default(), bytes.push(number)),
            _ => (tail, bytes.push(*first)),
        };
    }
    std::ffi::OsString::from_vec(bytes).into()
}

/// The other paths at which a mount on `target` appears, because other mounts share later mounts with the one
/// there, or receive them from it (mount_namespaces(7)).
fn propagated(lines: &[Line<'_>], target: &Path) -> Vec<PathBuf> {
    let id = place_of(target).map(|(mount, ..)| mount);
    let Some(here) = lines.iter().find(|line| Some(line.id) == id) else {
        return Vec::new();
    };
    let (Some(group), Some(inside)) = (here.shared, here.below_root(target)) else {
        return Vec::new();
    };
    let mut groups = vec![group];
    let mut at = 0;
    while let Some(group) = groups.get(at).copied() {
        let of_group = lines.iter().filter(|line| line.master == Some(group));
        for group in of_group.filter_map(|line| line.shared) {
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        at += 1;
    }
    let gets = |line: &&Line<'_>| {
        let in_group = |group: Option<&str>| group.is_some_and(|group| groups.contains(&group));
        line.id != here.id && (in_group(line.shared) || in_group(line.master))
    };
    let copies = lines.iter().filter(gets);
    copies.filter_map(|line| line.shown_at(&inside)).collect()
}

/// Identifies a directory in the tree of mounts: mount, device and inode.
fn place_of(path: &Path) -> Option<(u64, (u32, u32), u64)> {
    let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
    let found = rustix::fs::statx(CWD, path, AtFlags::empty(), wanted).ok()?;
    let device = (found.stx_dev_major, found.stx_dev_minor);
    Some((found.stx_mnt_id, device, found.stx_ino))
}

/// Refuses to mount inside one of the layers: a process that walks through that layer would come to the mount,
/// which shows that layer.
fn refuse_inside(lines: &[Line<'_>], overlay: &Config, target: &Path) -> Result {
    let copies = propagated(lines, target);
    let above = [target]
        .into_iter()
        .chain(copies.iter().map(PathBuf::as_path));
    let above = above.flat_map(|at| at.ancestors().skip(1).filter_map(place_of));
    let above: Vec<_> = above.collect();
    let upper = overlay.upper.iter();
    let upper = upper.flat_map(|upper| [("upper", &upper.path), ("work", &upper.work)]);
    let lowers = overlay.lowers.iter().chain(&overlay.data);
    for (role, path) in lowers.map(|lower| ("lower", &lower.path)).chain(upper) {
        // A missing directory is no error here: opening the layers reports it.
        if place_of(path).is_some_and(|place| above.contains(&place)) {
            return Err(CliError::new(format_args!(
                "cannot mount on {}: it lies inside the {role} directory {}, so that the mount would \
                 contain itself",
                target.display(),
                path.display()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let line =
            "36 35 98:0 /a /mnt\\040x rw,noatime shared:1 master:7 - overlay name rw,upperdir=/u";
        let line = Line::parse(line).unwrap();
        assert_eq!((line.id, line.device, line.root), (36, "98:0", "/a"));
        assert_eq!((line.shared, line.master), (Some("1"), Some("7")));
        assert_eq!(unescape(line.target), Path::new("/mnt x"));
        assert_eq!((line.kind, line.options), ("overlay", "rw,upperdir=/u"));
        assert!(Line::parse("36 35 98:0 / /").is_none());
        assert_eq!(unescape("/a\\134\\9"), Path::new("/a\\\\9"));
    }
}

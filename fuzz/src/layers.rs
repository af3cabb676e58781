//! Hostile layers: an overlay over directories with whatever names, types and attributes. No lower layer
//! changes, nothing outside is touched or shown, and what was changed is still an overlay.
//!
//! The input is a tree in lines (see [`crate::lines`]). The last layer is the upper one if the option `upper` is
//! given; otherwise the upper layer is empty at first.

use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use plyfs_format::names::Namespace;
use plyfs_fs::types::{Attr, Caller, Device, FileKind, SetAttr, WriteMode};
use plyfs_fs::{
    Config, Fill, LowerLayer, MayBlock, Overlay, OverrideStatMode, RedirectDir, UpperLayer,
    Volatile, Wants, XattrTrust,
};
use rustix::fs::{CWD, FileType, Mode, RenameFlags, XattrFlags};

use crate::archive::octal;
use crate::check_message;
use crate::lines::{self, Line, cut, unescaped};
use crate::world::{SECRET, World, snapshot};

pub(crate) const WORDS: &[&str] = &[
    "..",
    "../canary",
    "../../canary/file",
    "@OUT@",
    "@OUT@/file",
    "/",
    "\n---\n",
    "\nd a",
    "\nd a/b",
    "\nf a data",
    "\nf a/f data",
    "\ns a @OUT@",
    "\nh b a",
    "\nw a",
    "\nw a/f",
    "\nc a",
    "\np a",
    "\nm a 0",
    "\nf .wh.a ",
    "\nf a/.wh..wh..opq ",
    "\nx a trusted.overlay.opaque y",
    "\nx a trusted.overlay.opaque x",
    "\nx a trusted.overlay.redirect /b",
    "\nx a trusted.overlay.redirect ../canary",
    "\nx a trusted.overlay.redirect /../canary",
    "\nx a trusted.overlay.redirect a",
    "\nx a trusted.overlay.metacopy ",
    "\nx a trusted.overlay.metacopy \\x00\\x04\\x00\\x01",
    "\nx a trusted.overlay.origin \\x00\\xfb\\x1d\\x00\\x01",
    "\nx a trusted.overlay.impure y",
    "\nx a trusted.overlay.nlink U+1",
    "\nx a trusted.overlay.nlink L-99999999999",
    "\nx a trusted.overlay.whiteout y",
    "\nx a user.overlay.redirect /b",
    "\nx a user.overlay.opaque y",
    "\nx a user.containers.override_stat 0:0:755:file",
    "\nx a user.containers.override_stat 1:2:4755:char-1-5",
    "\nx a user.containers.override_stat 0:0:755:symlink",
    "\nx a security.fuseoverlayfs.override_stat 0:0:755",
    "\nx a user.fuseoverlayfs.opaque y",
    "\no metacopy\n",
    "\no redirect\n",
    "\no nofollow\n",
    "\no records\n",
    "\no devices\n",
    "\no any\n",
    "\no archive\n",
    "\no user\n",
    "\no ro\n",
    "\no data\n",
    "\no upper\n",
];

/// How many nodes are visited, and how many of them changed.
const VISITED: usize = 64;
const CHANGED: usize = 12;

pub(crate) fn run(data: &[u8]) {
    let world = World::new();
    let canary = world.path("canary").display().to_string();
    let (layers, options) = lines::parse(data, &canary);
    let layers = &layers[..layers.len().min(4)];
    let has = |word: &str| options.iter().any(|option| option == word);
    let upper_is_given = has("upper") && layers.len() > 1;
    let count = layers.len() - usize::from(upper_is_given);
    for name in ["upper", "work"] {
        fs::create_dir(world.path(name)).unwrap();
    }
    for (at, lines) in layers.iter().enumerate() {
        let dir = match at < count {
            true => world.path(&format!("lower{at}")),
            false => world.path("upper"),
        };
        fs::create_dir_all(&dir).unwrap();
        build(&dir, lines);
    }
    let lowers: Vec<PathBuf> = (0..count)
        .map(|at| world.path(&format!("lower{at}")))
        .collect();
    let config = config(&world, &lowers, &has);
    let before: Vec<_> = lowers.iter().map(|dir| snapshot(dir)).collect();
    let opened = Overlay::open(&config);
    let is_open = opened.is_ok();
    match opened {
        Err(error) => check_message(&error.to_string()),
        Ok(overlay) => {
            let seen = visit(&overlay);
            change(&overlay, &seen);
            drop(visit(&overlay));
            overlay.finish().ok();
        }
    }
    if is_open && !upper_is_given {
        // Whatever was done: what the overlay has written is an upper layer.
        let again =
            Overlay::open(&config).unwrap_or_else(|error| panic!("not opened again: {error}"));
        visit(&again);
    }
    let after: Vec<_> = lowers.iter().map(|dir| snapshot(dir)).collect();
    assert_eq!(before, after, "a lower layer was changed");
    world.check(&["upper", "work", "lower0", "lower1", "lower2", "lower3"]);
}

fn config(world: &World, lowers: &[PathBuf], has: &dyn Fn(&str) -> bool) -> Config {
    let records = match () {
        () if has("records") => OverrideStatMode::All,
        () if has("devices") => OverrideStatMode::Devices,
        () if has("privileged") => OverrideStatMode::Privileged,
        () => OverrideStatMode::None,
    };
    let marks = if has("any") {
        XattrTrust::Any
    } else {
        XattrTrust::Own
    };
    let lower = |path: &PathBuf| LowerLayer {
        records,
        marks,
        archive_names: has("archive"),
        ..LowerLayer::new(path)
    };
    // The topmost first; the lowest may hold data only.
    let mut lowers: Vec<LowerLayer> = lowers.iter().rev().map(lower).collect();
    let data = match has("data") && lowers.len() > 1 {
        true => lowers.split_off(lowers.len() - 1),
        false => Vec::new(),
    };
    Config {
        lowers,
        data,
        upper: (!has("ro")).then(|| UpperLayer {
            path: world.path("upper"),
            work: world.path("work"),
            records: if has("records") {
                OverrideStatMode::All
            } else {
                OverrideStatMode::None
            },
            marks,
            archive_names: has("archive"),
        }),
        volatile: Volatile::Unmarked,
        namespace: has("user").then_some(Namespace::User),
        redirect_dir: match () {
            () if has("redirect") => RedirectDir::On,
            () if has("nofollow") => RedirectDir::NoFollow,
            () => RedirectDir::Follow,
        },
        metacopy: has("metacopy"),
        ..Config::default()
    }
}

/// Makes what lines say, as far as it can be made. Nothing here follows a link.
fn build(dir: &Path, lines: &[Line]) {
    for line in lines.iter().take(64) {
        let Some(path) = inside(dir, &line.path) else {
            continue;
        };
        let target = || OsStr::from_bytes(&line.rest);
        let mode = Mode::from_raw_mode(0o644);
        match line.kind {
            b'd' => drop(fs::create_dir(&path)),
            b'f' => drop(fs::File::create_new(&path).and_then(|_| fs::write(&path, &line.rest))),
            b's' => drop(symlink(target(), &path)),
            b'h' => {
                // link(2) does not follow a link at its end.
                if let Some(from) = inside(dir, &line.rest) {
                    drop(fs::hard_link(from, &path));
                }
            }
            b'w' | b'c' => {
                let device = if line.kind == b'c' {
                    rustix::fs::makedev(1, 5)
                } else {
                    0
                };
                rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, mode, device).ok();
            }
            b'p' => drop(rustix::fs::mknodat(CWD, &path, FileType::Fifo, mode, 0)),
            b'm' => {
                let mode = fs::Permissions::from_mode(octal(&line.rest));
                if fs::symlink_metadata(&path).is_ok_and(|stat| !stat.is_symlink()) {
                    drop(fs::set_permissions(&path, mode));
                }
            }
            b'x' => {
                let (name, value) = cut(&line.rest);
                if let Ok(name) = CString::new(name) {
                    rustix::fs::lsetxattr(&path, name, &unescaped(value), XattrFlags::empty()).ok();
                }
            }
            _ => {}
        }
    }
}

/// A path below a directory, none of whose parents is a link.
fn inside(dir: &Path, path: &[u8]) -> Option<PathBuf> {
    let path = Path::new(OsStr::from_bytes(path));
    let mut place = dir.to_owned();
    for component in path.components() {
        match component {
            Component::Normal(name) if !name.as_bytes().contains(&0) => {
                fs::symlink_metadata(&place)
                    .ok()
                    .filter(fs::Metadata::is_dir)?;
                place.push(name);
            }
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(place)
}

/// A node that was seen: its directory, name and attributes.
struct Seen {
    parent: u64,
    name: Vec<u8>,
    id: u64,
    attr: Attr,
}

fn caller() -> Caller {
    Caller {
        uid: 0,
        gid: 0,
        pid: std::process::id(),
        umask: 0o022,
    }
}

/// Looks at everything, and makes sure that the canary is not in it.
fn visit(overlay: &Overlay) -> Vec<Seen> {
    let mut seen: Vec<Seen> = Vec::new();
    let mut todo = vec![overlay.root()];
    while let Some(dir) = todo.pop() {
        let mut names = Vec::new();
        let listed = overlay.readdir(dir, 0, |entry| {
            names.push(entry.name.as_bytes().to_vec());
            Fill::More
        });
        if listed.is_err() {
            continue;
        }
        let mut looked_up = Vec::new();
        let plus = overlay.readdir_plus(dir, 0, Wants::All, |_, entry| {
            looked_up.extend(entry.map(|entry| entry.id));
            Fill::More
        });
        for id in looked_up {
            overlay.forget(id, 1);
        }
        plus.ok();
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len(), "a name is listed twice");
        for name in names {
            if name == b"." || name == b".." || seen.len() >= VISITED {
                continue;
            }
            assert!(!name.contains(&b'/'));
            let Ok(entry) = overlay.lookup(dir, OsStr::from_bytes(&name)) else {
                continue;
            };
            look_at(overlay, entry.id, &entry.attr);
            if entry.attr.kind.is_dir() {
                todo.push(entry.id);
            }
            seen.push(Seen {
                parent: dir,
                name,
                id: entry.id,
                attr: entry.attr,
            });
        }
    }
    seen
}

fn look_at(overlay: &Overlay, id: u64, attr: &Attr) {
    let mut buffer = vec![0; 4096];
    match attr.kind {
        FileKind::Regular => {
            if let Ok(len) = overlay.read(id, 0, &mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..len]);
                assert!(!text.contains(SECRET), "the canary is shown");
            }
        }
        FileKind::Symlink => drop(overlay.readlink(id)),
        _ => {}
    }
    let names = overlay.listxattr(&caller(), id).unwrap_or_default();
    for name in names
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        overlay.getxattr(id, OsStr::from_bytes(name)).ok();
    }
}

/// Changes what was seen in every way. What is refused is fine.
fn change(overlay: &Overlay, seen: &[Seen]) {
    let caller = caller();
    for (at, node) in seen.iter().take(CHANGED).enumerate() {
        let name = OsStr::from_bytes(&node.name);
        let new = format!("new{at}");
        let new = OsStr::new(&new);
        let to = seen.iter().rev().find(|other| other.attr.kind.is_dir());
        let to = to.map_or(overlay.root(), |other| other.id);
        let mode = SetAttr {
            mode: Some(0o700),
            ..SetAttr::default()
        };
        overlay.setattr(&caller, node.id, &mode).ok();
        if node.attr.kind == FileKind::Regular {
            overlay
                .write(node.id, 1, b"changed", WriteMode::default())
                .ok();
        }
        let flags = XattrFlags::empty();
        overlay
            .setxattr(&caller, node.id, OsStr::new("user.new"), b"x", flags)
            .ok();
        match at % 5 {
            0 => drop(overlay.rename(
                (node.parent, name),
                (to, new),
                RenameFlags::empty(),
                MayBlock::Yes,
            )),
            1 if node.attr.kind.is_dir() => drop(overlay.rmdir(node.parent, name)),
            1 => drop(overlay.unlink(node.parent, name)),
            2 => drop(overlay.link(node.id, to, new)),
            3 if node.attr.kind.is_dir() => drop(overlay.mkdir(&caller, node.id, new, 0o755)),
            3 => {
                overlay.unlink(node.parent, name).ok();
                let device = Device::default();
                overlay
                    .mknod(&caller, node.parent, name, 0o100_644, device)
                    .ok();
            }
            _ => drop(overlay.rename(
                (node.parent, name),
                (node.parent, new),
                RenameFlags::NOREPLACE,
                MayBlock::Yes,
            )),
        }
    }
}

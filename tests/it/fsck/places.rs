//! Places in a store, and damage to them.

use super::*;

/// A place that can be damaged.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// The bytes of a file.
    Bytes(PathBuf),
    Mode(PathBuf),
    Time(PathBuf),
    Target(PathBuf),
    Xattr(PathBuf, Vec<u8>),
}

/// Everything in the store that has a digest.
pub(super) fn places(world: &World) -> Vec<Place> {
    let root = world.store("");
    let mut found = Vec::new();
    for (path, facts) in facts(&root) {
        let path = root.join(String::from_utf8(path).unwrap());
        let below = path
            .strip_prefix(&root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let is_tree = below.contains("/diff");
        let checked = ["blobs/sha256/", "layers/sha256/", "index", "oci-layout"];
        let is_record = ["container.json", "places.json"]
            .iter()
            .any(|record| below.ends_with(record));
        if !is_record && !checked.iter().any(|start| below.starts_with(start)) {
            continue;
        }
        if facts.kind == "file" && facts.size > 0 {
            found.push(Place::Bytes(path.clone()));
        }
        if !is_tree {
            continue;
        }
        if facts.kind != "char" {
            found.push(Place::Time(path.clone()));
        }
        match facts.kind {
            "symlink" => found.push(Place::Target(path.clone())),
            _ => found.push(Place::Mode(path.clone())),
        }
        for name in facts
            .xattrs
            .keys()
            .filter(|name| name.starts_with(b"user."))
        {
            found.push(Place::Xattr(path.clone(), name.clone()));
        }
    }
    found
}

pub(super) fn flip(bytes: &mut [u8], numbers: &mut Numbers) {
    let at = numbers.below(bytes.len());
    bytes[at] ^= 1 << numbers.below(8);
}

pub(super) fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds as _,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Damages one place; what hangs on the name of a changed link stays as it was.
pub(super) fn damage(place: &Place, numbers: &mut Numbers) {
    match place {
        Place::Bytes(path) => {
            let before = fs::metadata(path).unwrap();
            let mut bytes = fs::read(path).unwrap();
            flip(&mut bytes, numbers);
            fs::write(path, bytes).unwrap();
            // A disk that loses a bit changes no time.
            set_mtime(path, before.mtime(), before.mtime_nsec());
        }
        Place::Mode(path) => {
            // The owner's rights stay, or this user could not read it any more.
            let mode = fs::symlink_metadata(path).unwrap().mode() & 0o7777;
            let mode = mode ^ (1 << numbers.below(6));
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        Place::Time(path) => {
            let before = fs::symlink_metadata(path).unwrap();
            set_mtime(
                path,
                before.mtime() ^ (1 << numbers.below(30)),
                before.mtime_nsec(),
            );
        }
        Place::Target(path) => {
            let before = fs::symlink_metadata(path).unwrap();
            let parent = fs::metadata(path.parent().unwrap()).unwrap();
            fs::remove_file(path).unwrap();
            symlink(["tarfet", "parget", "targes"][numbers.below(3)], path).unwrap();
            set_mtime(path, before.mtime(), before.mtime_nsec());
            set_mtime(path.parent().unwrap(), parent.mtime(), parent.mtime_nsec());
        }
        Place::Xattr(path, name) => {
            let mut value = vec![0; 256];
            let length = rustix::fs::lgetxattr(path, &name[..], &mut value[..]).unwrap();
            value.truncate(length);
            flip(&mut value, numbers);
            rustix::fs::lsetxattr(path, &name[..], &value, XattrFlags::empty()).unwrap();
        }
    }
}

/// How a check must call what a place is part of: one of these.
pub(super) fn names_of(world: &World, place: &Place) -> Vec<String> {
    let (Place::Bytes(path)
    | Place::Mode(path)
    | Place::Time(path)
    | Place::Target(path)
    | Place::Xattr(path, _)) = place;
    let below = path
        .strip_prefix(world.store(""))
        .unwrap()
        .to_str()
        .unwrap();
    let parts: Vec<&str> = below.split('/').collect();
    match parts.as_slice() {
        ["oci-layout"] => vec!["oci-layout".to_owned()],
        ["index.json"] => vec!["index".to_owned()],
        ["index.copy"] => vec!["index-copy".to_owned()],
        ["blobs", _, hex] => vec![
            format!("blob sha256:{hex}"),
            format!("document sha256:{hex}"),
        ],
        ["layers", _, hex, "layer.json"] => vec![format!("layer-record sha256:{hex}")],
        ["layers", _, hex, ..] => vec![format!("layer sha256:{hex}")],
        ["containers", name, "places.json"] => vec![format!("container-places {name}")],
        ["containers", name, _] => vec![format!("container {name}")],
        _ => panic!("{below}"),
    }
}

/// A place of a random kind, so that the many files of layers do not hide the others.
pub(super) fn choose(world: &World, numbers: &mut Numbers) -> Place {
    let mut kinds: BTreeMap<String, Vec<Place>> = BTreeMap::new();
    for place in places(world) {
        let name = names_of(world, &place).swap_remove(0);
        let kind = name.split(' ').next().unwrap().to_owned();
        let way = match place {
            Place::Bytes(_) => "bytes",
            Place::Mode(_) => "mode",
            Place::Time(_) => "time",
            Place::Target(_) => "target",
            Place::Xattr(..) => "attribute",
        };
        kinds
            .entry(format!("{kind} {way}"))
            .or_default()
            .push(place);
    }
    let kind = numbers.below(kinds.len());
    let mut places = kinds.into_values().nth(kind).unwrap();
    let place = numbers.below(places.len());
    places.swap_remove(place)
}

//! What is on disk: whiteouts, attributes, and all facts of a tree.

use super::*;

/// Makes a whiteout in a layer.
pub fn whiteout(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path,
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::empty(),
        0,
    )
    .unwrap();
}

pub fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|meta| meta.file_type().is_char_device() && meta.rdev() == 0)
}

pub fn set_xattr(path: &Path, name: &str, value: &str) {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::lsetxattr(path, name, value.as_bytes(), flags).unwrap();
}

pub fn get_xattr(path: &Path, name: &str) -> Option<String> {
    let mut buffer = [0; 256];
    let len = rustix::fs::lgetxattr(path, name, &mut buffer[..]).ok()?;
    Some(String::from_utf8_lossy(&buffer[..len]).into_owned())
}

/// Makes a directory in a layer opaque, in the way every mounter reads.
pub fn make_opaque(path: &Path) {
    fs::create_dir_all(path).unwrap();
    set_xattr(path, &own_record("opaque"), "y");
}

/// The attribute that an overlay opened here keeps a record in.
pub fn own_record(record: &str) -> String {
    let tmp = tempfile::tempdir().unwrap();
    let trusted = format!("trusted.overlay.{record}");
    let empty = rustix::fs::XattrFlags::empty();
    match rustix::fs::setxattr(tmp.path(), &trusted, b"y", empty) {
        Ok(()) => trusted,
        Err(_) => format!("user.overlay.{record}"),
    }
}

pub fn is_opaque(path: &Path) -> bool {
    ["trusted.overlay.opaque", "user.overlay.opaque"]
        .iter()
        .any(|name| get_xattr(path, name).as_deref() == Some("y"))
}

/// What must stay as it is about a file in a lower layer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Facts {
    mode: u32,
    owner: (u32, u32),
    nlink: u64,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
    content: Vec<u8>,
}

pub(super) fn facts_below(root: &Path) -> Vec<(PathBuf, Facts)> {
    let mut all = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        if kind.is_dir() && meta.permissions().mode() & 0o500 == 0o500 {
            todo.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        let content = match () {
            () if kind.is_symlink() => {
                let target = fs::read_link(&path).unwrap();
                target.as_os_str().as_encoded_bytes().to_vec()
            }
            () if kind.is_file() => fs::read(&path).unwrap_or_default(),
            () => Vec::new(),
        };
        let facts = Facts {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            nlink: meta.nlink(),
            size: meta.size(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            // Reading for this comparison changes atime, but never ctime.
            ctime: (meta.ctime(), meta.ctime_nsec()),
            content,
        };
        all.push((path, facts));
    }
    all
}

//! What the tests of the store share: a world of temporary directories, archives made byte by byte,
//! and images around them.

#[macro_use]
#[path = "../../../../tests/it/support/own_test.rs"]
pub(crate) mod own_test;
pub(crate) mod tarball;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use plyfs_store::fixture::{EncodedLayer, ImageBuilder};
use plyfs_store::{
    Compression, Error, ImportRequest, Imported, Limits, Ownership, Silent, Source, Store,
};
use tempfile::TempDir;

pub(crate) use own_test::{run_again, skip};

/// A store, a place for sources, and files that no import may touch.
pub(crate) struct World {
    tmp: TempDir,
    canary: BTreeMap<String, String>,
}

impl World {
    pub(crate) fn new() -> Self {
        let tmp = tempfile::tempdir().unwrap();
        let canary = tmp.path().join("canary");
        fs::create_dir_all(canary.join("dir")).unwrap();
        fs::write(canary.join("file"), "alive").unwrap();
        fs::write(canary.join("dir/inner"), "alive").unwrap();
        let mode = fs::Permissions::from_mode(0o640);
        fs::set_permissions(canary.join("file"), mode).unwrap();
        let canary = snapshot(&canary);
        Self { tmp, canary }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.tmp.path().join(name)
    }

    /// The path of a file or directory outside that no import may touch.
    pub(crate) fn canary(&self, name: &str) -> String {
        let path = self.path("canary").join(name);
        path.to_str().unwrap().trim_end_matches('/').to_owned()
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(self.path("store")).unwrap()
    }

    /// What must hold after whatever was tried: nothing outside has changed, and no work in
    /// progress is left.
    pub(crate) fn assert_untouched(&self, what: &str) {
        assert_eq!(snapshot(&self.path("canary")), self.canary, "{what}");
        let staging = fs::read_dir(self.path("store/staging")).unwrap();
        let left: Vec<_> = staging.map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{what} left {left:?}");
    }

    /// Writes an image whose layers are these archives, whatever is in them.
    pub(crate) fn image(
        &self,
        name: &str,
        archives: &[Vec<u8>],
        compression: Compression,
    ) -> PathBuf {
        let dir = self.path(name);
        let mut image = ImageBuilder::new();
        for archive in archives {
            let layer = EncodedLayer::from_archive(archive, compression).unwrap();
            image = image.encoded_layer(layer);
        }
        image.write_oci(&dir, Some("test:1")).unwrap();
        dir
    }

    /// Imports what an archive holds as an image of one layer.
    pub(crate) fn import_archive(
        &self,
        archive: &[u8],
        ownership: Ownership,
    ) -> Result<Imported, Error> {
        self.import_archives(&[archive.to_vec()], ownership, Limits::default())
    }

    pub(crate) fn import_archives(
        &self,
        archives: &[Vec<u8>],
        ownership: Ownership,
        limits: Limits,
    ) -> Result<Imported, Error> {
        let source = self.path("source");
        if source.exists() {
            fs::remove_dir_all(&source).unwrap();
        }
        self.image("source", archives, Compression::Gzip);
        let mut request = request(&format!("oci:{}", source.display()), ownership);
        request.limits = limits;
        self.store().import(&request, &Silent)
    }

    /// The layer directories of an image, bottom first.
    pub(crate) fn layers(&self, name: &str) -> Vec<PathBuf> {
        let image = self.store().image(name).unwrap();
        image.layers.into_iter().map(|layer| layer.path).collect()
    }

    /// The only layer of the image that [`World::import_archive`] makes.
    pub(crate) fn layer(&self) -> PathBuf {
        self.layers("test:1").pop().unwrap()
    }
}

pub(crate) fn request(source: &str, ownership: Ownership) -> ImportRequest {
    ImportRequest::new(Source::parse(source).unwrap(), ownership)
}

/// Imports with the ownership that everybody can have.
pub(crate) fn import(store: &Store, source: &str) -> Result<Imported, Error> {
    store.import(&request(source, Ownership::Override), &Silent)
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The ways to keep owners that this process can use: real ones need root.
pub(crate) fn ownerships() -> Vec<Ownership> {
    static SAID: std::sync::Once = std::sync::Once::new();
    if is_root() {
        return vec![Ownership::Override, Ownership::Real];
    }
    SAID.call_once(|| skip("real ownership", "not run as root"));
    vec![Ownership::Override]
}

/// Whether files here can have `user.*` attributes; says so if not.
pub(crate) fn has_xattrs(dir: &Path, test: &str) -> bool {
    let file = tempfile::tempfile_in(dir).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    let works = rustix::fs::fsetxattr(&file, "user.plyfs.probe", b"x", flags).is_ok();
    if !works {
        skip(test, &format!("{} has no user.* attributes", dir.display()));
    }
    works
}

pub(crate) fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 65536];
    match rustix::fs::lgetxattr(path, name, &mut value[..]) {
        Ok(len) => Some(value[..len].to_vec()),
        Err(_) => None,
    }
}

/// Whether a directory is opaque, in whichever namespace this process can write.
pub(crate) fn is_opaque(path: &Path) -> bool {
    plyfs_format::names::OPAQUE_NAMES
        .iter()
        .any(|name| xattr(path, name).as_deref() == Some(b"y"))
}

/// The `override_stat` record of a file.
pub(crate) fn record(path: &Path) -> Option<String> {
    let value = xattr(path, plyfs_format::override_stat::XATTR)?;
    Some(String::from_utf8(value).unwrap())
}

pub(crate) fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|stat| stat.mode() & 0o170_000 == 0o020_000 && stat.rdev() == 0)
}

/// Everything below a directory that could change: types, modes, owners, sizes, times, contents.
pub(crate) fn snapshot(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    visit(dir, &mut |path, stat| {
        let content = match stat.file_type() {
            kind if kind.is_symlink() => format!("{:?}", fs::read_link(path).unwrap()),
            kind if kind.is_file() => format!("{:?}", fs::read(path).unwrap()),
            _ => String::new(),
        };
        let name = path
            .strip_prefix(dir)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let (mode, owner, links) = (stat.mode(), (stat.uid(), stat.gid()), stat.nlink());
        let times = (
            stat.mtime(),
            stat.mtime_nsec(),
            stat.ctime(),
            stat.ctime_nsec(),
        );
        found.insert(
            name,
            format!("{mode:o} {owner:?} {links} {times:?} {content}"),
        );
    });
    found
}

/// Visits a directory and everything below it, without following links.
pub(crate) fn visit(path: &Path, visitor: &mut dyn FnMut(&Path, &fs::Metadata)) {
    let stat = fs::symlink_metadata(path).unwrap();
    visitor(path, &stat);
    if stat.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            visit(&entry.unwrap().path(), visitor);
        }
    }
}

/// The message of an error, which must be one line that a terminal can show.
pub(crate) fn message(error: &Error) -> String {
    let text = error.to_string();
    assert!(!text.chars().any(char::is_control), "{text:?}");
    assert!(!text.is_empty() && text.len() < 1000, "{text:?}");
    text
}

/// Bytes that do not compress to nothing.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(next).collect()
}

//! A stack of directories opened as an overlay, and files named by paths in it.
//!
//! Every stack remembers what its lower layers held, and when it is dropped makes sure they still
//! do: whatever a test does, a lower layer must not change.

#[macro_use]
#[path = "../../../../tests/it/support/own_test.rs"]
pub mod own_test;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use plyfs_fs::types::{Attr, Caller, Device, SetAttr, WriteMode};
use plyfs_fs::{
    Config, Entry, Errno, Fill, IndexUse, LowerLayer, MayBlock, MountError, Overlay,
    OverrideStatMode, Owners, RedirectDir, Result, UpperLayer, Volatile, XattrTrust,
};

pub use own_test::{run_again, skip};

/// Set in the process of a test that has its own.
const OWN_PROCESS: &str = "PLYFS_TEST_OWN_PROCESS";

/// Runs the body of the test `name` in a process of its own, for a test that changes what all threads share.
pub fn in_own_process(name: &str, body: impl FnOnce()) {
    if std::env::var_os(OWN_PROCESS).is_some() {
        return body();
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    run_again(command.env(OWN_PROCESS, "1"), name);
}

pub const S_IFREG: u32 = 0o100_000;
pub const S_IFIFO: u32 = 0o010_000;

/// The process itself, as one who asks.
pub fn me() -> Caller {
    Caller {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        pid: std::process::id(),
        umask: 0o022,
    }
}

pub fn is_root() -> bool {
    me().uid == 0
}

/// Ends the process with a reason, for a failure while threads hang that a panic would wait for.
pub fn fail_without_waiting(why: &str) -> ! {
    let line = format!("{why}\n");
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
    std::process::abort()
}

pub struct Stack {
    tmp: tempfile::TempDir,
    count: usize,
    before: Option<BTreeMap<PathBuf, Facts>>,
    overlay: Option<Overlay>,
    /// Whether the kernel would gather writes.
    pub gathers: bool,
    pub volatile: bool,
    pub records: OverrideStatMode,
    pub lower_records: OverrideStatMode,
    pub lower_marks: XattrTrust,
    pub read_only: bool,
    pub redirect_dir: RedirectDir,
    pub metacopy: bool,
    pub index: IndexUse,
    pub archive_names: bool,
    pub owners: Owners,
    /// How many of the lower layers, from the bottom, hold data only.
    pub data: usize,
}

impl Stack {
    /// A stack of so many lower layers, which are made with [`Stack::lower`] before it is opened.
    pub fn new(lowers: usize) -> Self {
        let tmp = tempfile::tempdir().unwrap();
        for i in 0..lowers {
            fs::create_dir(tmp.path().join(format!("lower{i}"))).unwrap();
        }
        for name in ["upper", "work"] {
            fs::create_dir(tmp.path().join(name)).unwrap();
        }
        Self {
            tmp,
            count: lowers,
            before: None,
            overlay: None,
            volatile: false,
            gathers: false,
            records: OverrideStatMode::None,
            lower_records: OverrideStatMode::None,
            lower_marks: XattrTrust::Own,
            read_only: false,
            redirect_dir: RedirectDir::default(),
            metacopy: false,
            index: IndexUse::Auto,
            archive_names: false,
            owners: Owners::default(),
            data: 0,
        }
    }

    /// A path in a lower layer, 0 being the topmost.
    pub fn lower(&self, layer: usize, path: &str) -> PathBuf {
        self.tmp.path().join(format!("lower{layer}")).join(path)
    }

    pub fn upper(&self, path: &str) -> PathBuf {
        self.tmp.path().join("upper").join(path)
    }

    pub fn work(&self) -> PathBuf {
        self.tmp.path().join("work/work")
    }

    pub fn config(&self) -> Config {
        let lower = |i| {
            let mut layer = LowerLayer::new(self.lower(i, ""));
            layer.records = self.lower_records;
            layer.marks = self.lower_marks;
            layer.archive_names = self.archive_names;
            layer
        };
        Config {
            lowers: (0..self.count - self.data).map(lower).collect(),
            data: (self.count - self.data..self.count).map(lower).collect(),
            redirect_dir: self.redirect_dir,
            metacopy: self.metacopy,
            index: self.index,
            owners: self.owners.clone(),
            upper: (!self.read_only).then(|| UpperLayer {
                path: self.upper(""),
                work: self.tmp.path().join("work"),
                records: self.records,
                marks: XattrTrust::Own,
                archive_names: self.archive_names,
            }),
            volatile: match self.volatile {
                true => Volatile::Unmarked,
                false => Volatile::No,
            },
            gathers: self.gathers,
            ..Config::default()
        }
    }

    pub fn open(&mut self) {
        self.overlay = None;
        if self.before.is_none() {
            self.before = Some(self.lower_facts());
        }
        self.overlay = Some(open(&self.config()));
    }

    pub fn close(&mut self) {
        self.overlay = None;
    }

    pub fn fs(&self) -> &Overlay {
        self.overlay.as_ref().expect("the stack is not open")
    }

    /// Closes and opens it again: everything has to be found again.
    pub fn remount(&mut self) {
        self.open();
    }

    /// Says that the test changes a lower layer by itself.
    pub fn changes_below(&mut self) {
        self.before = None;
    }

    fn lower_facts(&self) -> BTreeMap<PathBuf, Facts> {
        (0..self.count)
            .flat_map(|i| facts_below(&self.lower(i, "")))
            .collect()
    }

    // Files by path. Each leaves no lookup behind.

    /// Calls `f` with the entry of a path, which is forgotten afterwards.
    pub fn at<T>(&self, path: &str, f: impl FnOnce(Entry) -> T) -> Result<T> {
        let fs = self.fs();
        let mut held = Vec::new();
        let mut entry = Entry {
            id: fs.root(),
            attr: fs.getattr(fs.root())?,
        };
        let mut result = Ok(());
        for name in path.split('/').filter(|name| !name.is_empty()) {
            match fs.lookup(entry.id, OsStr::new(name)) {
                Ok(next) => {
                    held.push(next.id);
                    entry = next;
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        let result = result.map(|()| f(entry));
        for id in held {
            fs.forget(id, 1);
        }
        result
    }

    /// Calls `f` with the parent's id and the last name of a path.
    pub fn in_parent<T>(
        &self,
        path: &str,
        f: impl FnOnce(&Overlay, u64, &OsStr) -> Result<T>,
    ) -> Result<T> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.at(parent, |entry| f(self.fs(), entry.id, OsStr::new(name)))?
    }

    /// Looks a path up and keeps it, as an open descriptor would.
    pub fn hold(&self, path: &str) -> u64 {
        let fs = self.fs();
        self.in_parent(path, |fs, parent, name| fs.lookup(parent, name))
            .map(|entry| entry.id)
            .unwrap_or_else(|error| panic!("{path}: {error} ({} nodes)", fs.known_nodes()))
    }

    pub fn attr(&self, path: &str) -> Result<Attr> {
        self.at(path, |entry| entry.attr)
    }

    pub fn exists(&self, path: &str) -> bool {
        match self.attr(path) {
            Ok(_) => true,
            Err(Errno::NOENT) => false,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    pub fn read(&self, path: &str) -> String {
        let bytes = self
            .at(path, |entry| read_node(self.fs(), entry.id))
            .unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn write(&self, path: &str, offset: u64, data: &str) -> Result<usize> {
        self.at(path, |entry| {
            self.fs()
                .write(entry.id, offset, data.as_bytes(), WriteMode::default())
        })?
    }

    /// Makes a regular file with this content.
    pub fn create(&self, path: &str, data: &str) -> Result<()> {
        self.in_parent(path, |fs, parent, name| {
            let mode = S_IFREG | 0o644;
            let entry = fs.mknod(&me(), parent, name, mode, Device::default())?;
            let written = fs.write(entry.id, 0, data.as_bytes(), WriteMode::default());
            fs.forget(entry.id, 1);
            written.map(|_| ())
        })
    }

    pub fn mkdir(&self, path: &str) -> Result<()> {
        self.in_parent(path, |fs, parent, name| {
            let entry = fs.mkdir(&me(), parent, name, 0o755)?;
            fs.forget(entry.id, 1);
            Ok(())
        })
    }

    pub fn unlink(&self, path: &str) -> Result<()> {
        self.in_parent(path, |fs, parent, name| fs.unlink(parent, name))
    }

    pub fn rmdir(&self, path: &str) -> Result<()> {
        self.in_parent(path, |fs, parent, name| fs.rmdir(parent, name))
    }

    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.rename_with(from, to, rustix::fs::RenameFlags::empty())
    }

    pub fn rename_with(&self, from: &str, to: &str, flags: rustix::fs::RenameFlags) -> Result<()> {
        self.in_parent(from, |_, parent, name| {
            self.in_parent(to, |fs, new_parent, new_name| {
                let (from, to) = ((parent, name), (new_parent, new_name));
                fs.rename(from, to, flags, MayBlock::Yes)
            })
        })
    }

    pub fn link(&self, from: &str, to: &str) -> Result<()> {
        self.at(from, |entry| {
            self.in_parent(to, |fs, parent, name| {
                let linked = fs.link(entry.id, parent, name)?;
                fs.forget(linked.id, 1);
                Ok(())
            })
        })?
    }

    pub fn setattr(&self, path: &str, set: SetAttr) -> Result<Attr> {
        self.at(path, |entry| self.fs().setattr(&me(), entry.id, &set))?
    }

    pub fn chmod(&self, path: &str, mode: u32) -> Result<Attr> {
        let set = SetAttr {
            mode: Some(mode),
            ..SetAttr::default()
        };
        self.setattr(path, set)
    }

    /// Removes a tree as rm(1) does: by what listings say.
    pub fn remove_all(&self, path: &str) {
        for name in self.list(path) {
            let child = format!("{path}/{name}");
            if self.attr(&child).unwrap().kind.is_dir() {
                self.remove_all(&child);
            } else {
                self.unlink(&child).unwrap();
            }
        }
        self.rmdir(path).unwrap();
    }

    /// The names in a directory, sorted, without `.` and `..`.
    /// The number that a listing shows for a name.
    pub fn listed_ino(&self, path: &str, name: &str) -> u64 {
        let mut ino = None;
        let find = |entry: Entry| {
            self.fs().readdir(entry.id, 0, |listed| {
                if *listed.name == *OsStr::new(name) {
                    ino = Some(listed.ino);
                }
                Fill::More
            })
        };
        self.at(path, find).unwrap().unwrap();
        ino.unwrap()
    }

    pub fn list(&self, path: &str) -> Vec<String> {
        let mut names = self
            .at(path, |entry| list_node(self.fs(), entry.id))
            .unwrap();
        names.sort();
        names
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.overlay = None;
        if std::thread::panicking() {
            return;
        }
        if let Some(before) = self.before.take() {
            assert_eq!(before, self.lower_facts(), "a lower layer was changed");
        }
    }
}

pub fn read_node(fs: &Overlay, id: u64) -> Vec<u8> {
    let mut content = vec![0; 1 << 20];
    let len = fs.read(id, 0, &mut content).unwrap();
    content.truncate(len);
    content
}

pub fn list_node(fs: &Overlay, id: u64) -> Vec<String> {
    let mut names = Vec::new();
    fs.readdir(id, 0, |entry| {
        names.push(entry.name.to_string_lossy().into_owned());
        Fill::More
    })
    .unwrap();
    names.retain(|name| name != "." && name != "..");
    names
}

/// Makes a file in a layer, with the directories above it.
pub fn put(path: &Path, data: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, data).unwrap();
}

/// Opens an overlay. A program that another test starts holds all descriptors of this process, and
/// with them the lock of a work directory that was just closed, until it is executed.
fn open(config: &Config) -> Overlay {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    loop {
        match Overlay::open(config) {
            Err(MountError::InUse { .. }) if std::time::Instant::now() < deadline => {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            opened => return opened.unwrap(),
        }
    }
}

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
struct Facts {
    mode: u32,
    owner: (u32, u32),
    nlink: u64,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
    content: Vec<u8>,
}

fn facts_below(root: &Path) -> Vec<(PathBuf, Facts)> {
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

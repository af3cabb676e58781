//! Support for whole-program tests: a namespace to mount in, and trees to compare.

pub mod backend;
pub mod container;
pub mod file_system;
pub mod manifest;
#[macro_use]
pub mod own_test;
pub mod program;
pub mod running;
pub mod shell;
pub mod tools;
pub mod tree;
pub mod world;

pub use own_test::{name_of, run_again, skip};

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The program under test.
pub const PLYFS: &str = env!("CARGO_BIN_EXE_plyfs");

/// Set for a test that runs inside its namespace.
const INSIDE: &str = "PLYFS_TEST_INSIDE";

/// The program, which mounts with FUSE, since most tests test that. `PLYFS_TEST_BACKEND` sets another backend, for
/// the tests that pass with either.
pub fn plyfs<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(PLYFS);
    command.args(arguments).stdin(Stdio::null());
    let backend = std::env::var_os("PLYFS_TEST_BACKEND");
    command.env("PLYFS_BACKEND", backend.unwrap_or("fuse".into()));
    // A name that is not in the store is a mistake, and not an image of some registry.
    command.env("PLYFS_PULL", "never");
    command
}

/// Where the image of `tests/real-image/build.sh` is. Says that the test is skipped, if nowhere.
pub fn real_image(test: &str) -> Option<PathBuf> {
    let dir = std::env::var_os("PLYFS_REAL_IMAGE").filter(|dir| !dir.is_empty());
    if dir.is_none() {
        skip(
            test,
            "PLYFS_REAL_IMAGE does not name a directory made by tests/real-image/build.sh",
        );
    }
    dir.map(PathBuf::from)
}

/// Why mounting is not possible here at all.
pub fn cannot_mount() -> Option<String> {
    let device = fs::File::options().read(true).write(true).open("/dev/fuse");
    if let Err(error) = device {
        return Some(format!("/dev/fuse cannot be opened: {error}"));
    }
    let output = plyfs(["unshare", "true"]).output().unwrap();
    if !output.status.success() {
        return Some(format!(
            "no namespace to mount in: {}",
            text(&output.stderr)
        ));
    }
    None
}

/// Runs the body of a test in a user and mount namespace of its own, where it may mount.
///
/// `name` is `this_test!()`, which starts once more inside.
pub fn inside(name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    if let Some(why) = cannot_mount() {
        return skip(name, &why);
    }
    let this = std::env::current_exe().unwrap();
    let mut command = plyfs([OsStr::new("unshare"), OsStr::new("--"), this.as_os_str()]);
    run_again(command.env(INSIDE, "1"), name);
}

/// A shell script, with the program as `$0`, where there are no further user namespaces, no
/// capabilities and no /dev/fuse; nothing if that cannot be arranged. To be used inside a namespace.
pub fn without_anything(script: &str, arguments: &[&str]) -> Option<Command> {
    if Command::new("setpriv").arg("--version").output().is_err() {
        return None;
    }
    // The limit belongs to the user namespace, so set it in a new one that no other test uses.
    let outer = "mount -t tmpfs none /dev && : >/dev/null && \
        echo 0 >/proc/sys/user/max_user_namespaces && \
        exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs sh -c \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-U", "-r", "-m", "sh", "-c", outer, "sh", script, PLYFS]);
    command.args(arguments).stdin(Stdio::null());
    Some(command)
}

/// The uid of an ordinary user without subordinate ids, which root can take.
pub const NOBODY: u32 = 65534;

/// Why root cannot run the program as an ordinary user here.
pub fn cannot_run_as_ordinary_user() -> Option<String> {
    use std::os::unix::process::CommandExt;
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let status = plyfs(["--version"])
        .uid(NOBODY)
        .gid(NOBODY)
        .stdout(Stdio::null())
        .status();
    status
        .err()
        .map(|error| format!("an ordinary user cannot run {PLYFS}: {error}"))
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command that must succeed, and returns its standard output.
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Runs a command that must fail, with one line on standard error, which is returned.
pub fn fail(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    (
        output.status.code().unwrap_or(-1),
        one_line(command, &output),
    )
}

fn one_line(command: &Command, output: &Output) -> String {
    let stderr = text(&output.stderr);
    assert!(!output.status.success(), "{command:?} succeeded");
    assert_eq!(stderr.lines().count(), 1, "{command:?} said:\n{stderr}");
    assert!(stderr.starts_with("plyfs: "), "{stderr}");
    stderr.trim_end().to_owned()
}

/// Directories for a stack, and a place to mount it.
pub struct Stack {
    tmp: tempfile::TempDir,
    lowers: usize,
    mounted: bool,
}

impl Stack {
    pub fn new(lowers: usize) -> Self {
        let tmp = tempfile::tempdir().unwrap();
        for i in 0..lowers {
            fs::create_dir(tmp.path().join(format!("lower{i}"))).unwrap();
        }
        for name in ["upper", "work", "merged"] {
            fs::create_dir(tmp.path().join(name)).unwrap();
        }
        Self {
            tmp,
            lowers,
            mounted: false,
        }
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.tmp.path().join(below)
    }

    pub fn lower(&self, layer: usize, path: &str) -> PathBuf {
        self.path(&format!("lower{layer}")).join(path)
    }

    pub fn upper(&self, path: &str) -> PathBuf {
        self.path("upper").join(path)
    }

    pub fn merged(&self, path: &str) -> PathBuf {
        self.path("merged").join(path)
    }

    /// The `-o` that names the layers.
    pub fn options(&self) -> String {
        let lowers: Vec<String> = (0..self.lowers)
            .map(|i| self.lower(i, "").display().to_string())
            .collect();
        format!(
            "lowerdir={},upperdir={},workdir={}",
            lowers.join(":"),
            self.upper("").display(),
            self.path("work").display()
        )
    }

    pub fn mount(&mut self) {
        self.mount_with("");
    }

    pub fn mount_with(&mut self, more: &str) {
        let options = format!("{},{more}", self.options());
        succeed(plyfs(["mount", "-o", &options]).arg(self.merged("")));
        self.mounted = true;
    }

    /// Marks the stack as mounted, by something else than [`Stack::mount`].
    pub fn mounted_by_other(&mut self) {
        self.mounted = true;
    }

    /// Puts the upper and work directories on a small file system of their own.
    pub fn upper_on_tmpfs(&self, size: &str) {
        use rustix::mount::{MountFlags, mount};
        let data = std::ffi::CString::new(format!("size={size}")).unwrap();
        let at = self.tmp.path().join("small");
        fs::create_dir(&at).unwrap();
        mount("tmpfs", &at, "tmpfs", MountFlags::empty(), &*data).unwrap();
        self.upper_in(&at);
    }

    /// Puts the upper and work directories in this one.
    pub fn upper_in(&self, dir: &Path) {
        for name in ["upper", "work"] {
            fs::remove_dir(self.tmp.path().join(name)).unwrap();
            fs::create_dir(dir.join(name)).unwrap();
            std::os::unix::fs::symlink(dir.join(name), self.tmp.path().join(name)).unwrap();
        }
    }

    /// Takes that file system away, so that the directories can be removed.
    pub fn drop_tmpfs(&self) {
        let at = self.tmp.path().join("small");
        rustix::mount::unmount(at, rustix::mount::UnmountFlags::DETACH).unwrap();
    }

    pub fn unmount(&mut self) {
        succeed(plyfs(["umount"]).arg(self.merged("")));
        self.mounted = false;
    }

    /// Mounts the same directories with the kernel's overlay instead.
    pub fn mount_kernel(&mut self) {
        use rustix::mount::{MountFlags, mount};
        let mut options = self.options();
        if !is_initial_namespace() {
            options.push_str(",userxattr");
        }
        let data = std::ffi::CString::new(options).unwrap();
        let flags = MountFlags::empty();
        mount("overlay", self.merged(""), "overlay", flags, &*data).unwrap();
        self.mounted = true;
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if self.mounted {
            let unmounted = plyfs(["umount", "--lazy"]).arg(self.merged("")).status();
            assert!(unmounted.is_ok() || std::thread::panicking());
        }
    }
}

/// The process that serves a mount of plyfs, by the file that it keeps for `plyfs umount`.
pub fn daemon_of(merged: &Path) -> rustix::io::Result<rustix::process::Pid> {
    let found = rustix::fs::stat(merged)?;
    let device = (
        rustix::fs::major(found.st_dev),
        rustix::fs::minor(found.st_dev),
    );
    let prefix = format!("{}:{}.", device.0, device.1);
    let files = state_directories().into_iter().flat_map(fs::read_dir);
    let files = files.flatten().map(|entry| entry.unwrap());
    let named = files.filter(|file| file.file_name().to_string_lossy().starts_with(&prefix));
    let mut texts = named.filter_map(|file| text_if_locked(&file.path()));
    let pid = texts.find_map(|text| {
        let pid = text.strip_prefix("serving\n")?.trim_end().parse().ok()?;
        rustix::process::Pid::from_raw(pid)
    });
    pid.ok_or(rustix::io::Errno::SRCH)
}

/// What a file says that a process has locked. One that a killed daemon left may name a process that has its pid now.
fn text_if_locked(path: &Path) -> Option<String> {
    let file = fs::File::open(path).ok()?;
    let operation = rustix::fs::FlockOperation::NonBlockingLockShared;
    match rustix::fs::flock(&file, operation) {
        Err(rustix::io::Errno::WOULDBLOCK) => std::io::read_to_string(file).ok(),
        _ => None,
    }
}

/// Where any user of this machine may keep the files of mounts.
pub fn state_directories() -> Vec<PathBuf> {
    let mut dirs = vec![PathBuf::from("/run/plyfs")];
    let variable = std::env::var_os("XDG_RUNTIME_DIR");
    dirs.extend(variable.map(|dir| Path::new(&dir).join("plyfs")));
    let users = fs::read_dir("/run/user").into_iter().flatten();
    dirs.extend(users.map(|user| user.unwrap().path().join("plyfs")));
    let others = fs::read_dir("/tmp").unwrap().map(|entry| entry.unwrap());
    let others = others.filter(|entry| entry.file_name().to_string_lossy().starts_with("plyfs-"));
    dirs.extend(others.map(|entry| entry.path()));
    dirs.retain(|dir| dir.is_dir());
    dirs
}

pub fn is_initial_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]))
}

/// Makes a file, with the directories above it.
pub fn put(path: &Path, data: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, data).unwrap();
}

/// Whether something is mounted on this path, in this namespace.
pub fn is_mounted(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let path = path.to_str().unwrap().trim_end_matches('/');
    mounts
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(path))
}

/// The name of the file system type on a path.
pub fn mount_type(path: &Path) -> String {
    let line = mount_line(path);
    let (_, kind) = line.split_once(" - ").unwrap();
    kind.split(' ').next().unwrap().to_owned()
}

/// The options of the mount on a path, as `rw,nosuid`.
pub fn mount_options(path: &Path) -> String {
    mount_line(path).split(' ').nth(5).unwrap().to_owned()
}

fn mount_line(path: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let path = path.to_str().unwrap().trim_end_matches('/');
    mounts
        .lines()
        .find(|line| line.split(' ').nth(4) == Some(path))
        .unwrap()
        .to_owned()
}

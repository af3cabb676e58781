//! Hostile containers: their images, and what must not change outside of them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use plyfs_store::Compression;
use plyfs_store::fixture::{Config, Entry, ImageBuilder, Layer};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::tree::{Facts, facts};
use crate::support::world::World;
use crate::support::*;

/// How long anything may take that does not depend on a clock. What takes longer is killed, and the test
/// fails.
pub const LONG: Duration = Duration::from_secs(20);

/// A size of a tmpfs that nothing else has, by which it is found among the mounts of the machine.
pub const MARKED_SIZE: &str = "size=12348k";

/// An image of a test: its name, a layer above that with bash, and its configuration.
pub type Described = (&'static str, Layer, Config);

/// A store with hostile images, one of the backends, and what is outside.
pub struct Cell {
    pub world: World,
    pub backend: &'static str,
    before: Outside,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Standard output of a command that must have succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.status, 0, "{self:?}");
        self.out
    }

    /// The message of a command that plyfs must have refused.
    #[track_caller]
    pub fn refused(self) -> String {
        assert!([125, 126, 127].contains(&self.status), "{self:?}");
        assert_eq!(self.out, "", "{self:?}");
        assert!(self.err.starts_with("plyfs: "), "{self:?}");
        self.err
    }
}

/// Runs a command to its end, with a limit in time.
pub fn finish(command: &mut Command) -> Said {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&child);
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        let late = wait.recv_timeout(LONG) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
        late && kill_process(pid, Signal::KILL).is_ok()
    });
    let output = child.wait_with_output().unwrap();
    drop(done);
    assert!(!watch.join().unwrap(), "{command:?} does not end");
    let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
    Said {
        status: output.status.code().or(signal).unwrap(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

/// The programs of an attacker.
pub struct Probe {
    pub program: Vec<u8>,
    pub library: Vec<u8>,
}

/// Builds them once. An error says why there are none.
pub fn probe() -> Result<&'static Probe, &'static str> {
    static PROBE: OnceLock<Result<Probe, String>> = OnceLock::new();
    PROBE.get_or_init(build).as_ref().map_err(String::as_str)
}

fn build() -> Result<Probe, String> {
    let dir = tempfile::tempdir().unwrap();
    let made = |options: &[&str], name: &str| {
        let path = dir.path().join(name);
        let mut cc = Command::new("cc");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/escape/probe.c");
        cc.args(["-O1", "-w"])
            .args(options)
            .arg("-o")
            .arg(&path)
            .arg(source);
        match cc.output() {
            Ok(output) if output.status.success() => Ok(fs::read(&path).unwrap()),
            Ok(output) => {
                let said = text(&output.stderr);
                // Some distributions have the static C library in a package of its own.
                assert!(said.contains("cannot find -lc"), "{said}");
                Err("there is no static C library".to_owned())
            }
            Err(error) => Err(format!("cc cannot be run: {error}")),
        }
    };
    Ok(Probe {
        program: made(&["-static"], "probe")?,
        library: made(&["-shared", "-fPIC", "-DPRELOAD"], "evil.so")?,
    })
}

/// Runs the body of a test with each backend. The images stand on bash, users and empty directories.
pub fn each(test: &str, images: impl Fn(&World) -> Vec<Described>, body: impl Fn(&Cell)) {
    if let Some(why) = cannot_mount() {
        return skip(test, &why);
    }
    let (bash, probe) = match (program::bash(), probe()) {
        (Ok(bash), Ok(probe)) => (bash, probe),
        (Err(why), _) => return skip(test, &why),
        (_, Err(why)) => return skip(test, why),
    };
    let world = World::new();
    fs::write(world.path("probe"), &probe.program).unwrap();
    fs::set_permissions(world.path("probe"), PermissionsExt::from_mode(0o755)).unwrap();
    let outside = Outside::new(&world);
    for (name, layer, config) in images(&world) {
        let image = ImageBuilder::new()
            .layer(bash.clone(), Compression::None)
            .layer(base(probe), Compression::None)
            .layer(layer, Compression::None)
            .config(config);
        let source = world.layout(name, &image);
        succeed(&mut world.plyfs(["import", &source]));
    }
    let mut cell = Cell {
        world,
        backend: "fuse",
        before: outside,
    };
    for backend in ["fuse", "kernel"] {
        if backend == "kernel"
            && let Some(why) = kernel_cannot()
        {
            skip(&format!("{test} (kernel)"), why);
            continue;
        }
        cell.backend = backend;
        body(&cell);
        cell.assert_nothing_happened();
    }
}

/// [`each`] with an image that does nothing by itself.
pub fn each_plain(test: &str, body: impl Fn(&Cell)) {
    each(test, |_| vec![plain()], body);
}

pub fn plain() -> Described {
    ("box", Layer::new([]), Config::default())
}

fn base(probe: &Probe) -> Layer {
    Layer::new([
        Entry::dir("."),
        Entry::dir("etc"),
        Entry::file(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/bash\njoe:x:1000:1001::/:/bin/bash\n1000:x:0:0::/:/bin/bash\n",
        ),
        Entry::file("etc/group", "root:x:0:\njoe:x:1001:\n"),
        Entry::dir("root").mode(0o700),
        Entry::dir("tmp").mode(0o1777),
        Entry::dir("proc"),
        Entry::dir("sys"),
        Entry::dir("dev"),
        Entry::file("bin/probe", &probe.program).mode(0o755),
    ])
}

/// Why the kernel's overlay cannot serve an image here.
fn kernel_cannot() -> Option<&'static str> {
    static WHY: OnceLock<Option<String>> = OnceLock::new();
    let examine = || {
        let world = World::new();
        let layer = Layer::new([Entry::dir("."), Entry::file("f", "")]);
        let image = ImageBuilder::new().layer(layer, Compression::None);
        let source = world.layout("box", &image);
        succeed(&mut world.plyfs(["import", &source]));
        let mut command = world.plyfs(["run", "--backend", "kernel", "box:test", "/f"]);
        let said = finish(&mut command);
        said.err
            .contains("cannot serve this mount")
            .then(|| said.err.trim_end().to_owned())
    };
    WHY.get_or_init(examine).as_deref()
}

/// Whether ids other than root's can be had in a container here.
pub fn has_ids() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        let map = succeed(&mut plyfs(["unshare", "cat", "/proc/self/uid_map"]));
        map.split_whitespace().nth(2) != Some("1") || map.lines().count() > 1
    })
}

/// Whether the container's root is the machine's.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root() && is_initial_namespace()
}

impl Cell {
    /// A directory that no container is given.
    pub fn outside(&self) -> PathBuf {
        outside(&self.world)
    }

    /// Whether an image with devices can be served: an ordinary user's are records, which the kernel's
    /// overlay does not read.
    pub fn can_have_devices(&self) -> bool {
        self.backend == "fuse" || is_root()
    }

    /// A word that every process of this cell has among its arguments or in its environment.
    pub fn mark(&self) -> String {
        self.world.path("").display().to_string()
    }

    /// The probe, on the caller's side.
    pub fn probe(&self) -> Command {
        Command::new(self.world.path("probe"))
    }

    pub fn command(&self, image: &str, options: &[&str], words: &[&str]) -> Command {
        let mark = format!("MARK={}", self.mark());
        let mut command = self
            .world
            .plyfs(["run", "--backend", self.backend, "-e", &mark]);
        command
            .args(options)
            .arg(format!("{image}:test"))
            .args(words);
        command
    }

    /// Runs a command in a container of the image `box`.
    pub fn run(&self, options: &[&str], words: &[&str]) -> Said {
        finish(&mut self.command("box", options, words))
    }

    /// Runs a script by the bash of the image `box`.
    pub fn script(&self, options: &[&str], script: &str) -> Said {
        self.run(options, &["bash", "-c", script])
    }

    /// Another command in the container `c`.
    pub fn exec(&self, options: &[&str], words: &[&str]) -> Said {
        let mark = format!("MARK={}", self.mark());
        let mut command = self.world.plyfs(["exec", "-e", &mark]);
        finish(command.args(options).arg("c").args(words))
    }

    /// Starts a container `c` with a program that says `ready` and ends with its standard input, or waits.
    pub fn start(&self, options: &[&str], words: &[&str]) -> Running {
        let mut all = vec!["--name", "c"];
        all.extend(options);
        Running::start(&mut self.command("box", &all, words))
    }

    /// Starts a container `c` that does nothing.
    pub fn idle(&self, options: &[&str]) -> Running {
        let mut running = self.start(options, &["probe", "pause"]);
        running.wait_for("ready");
        // It is known to `exec` a little later.
        let start = Instant::now();
        while self.exec(&[], &["probe", "readlink", "/"]).status != 0 {
            assert!(start.elapsed() < LONG, "exec does not find the container");
        }
        running
    }

    /// What is outside is as it was, nothing is mounted there, and no process of a container lives on.
    #[track_caller]
    pub fn assert_nothing_happened(&self) {
        let start = Instant::now();
        while let Some(left) = left_over(&self.mark()) {
            assert!(start.elapsed() < LONG, "{left} lives on");
            std::thread::sleep(Duration::from_millis(5));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let is_ours = |line: &&str| line.contains(&self.mark()) || line.contains(MARKED_SIZE);
        let left: Vec<&str> = mounts.lines().filter(is_ours).collect();
        assert!(left.is_empty(), "{left:?}");
        let now = Outside::look(&self.world);
        for (path, facts) in &now.files {
            let shown = text(path);
            assert_eq!(self.before.files.get(path), Some(facts), "{shown}");
        }
        assert_eq!(now.files.len(), self.before.files.len(), "a file is gone");
        assert_eq!(now.machine, self.before.machine);
        assert_eq!(now.program, self.before.program);
    }
}

fn outside(world: &World) -> PathBuf {
    world.path("outside")
}

/// A process whose arguments or environment have a word.
fn left_over(word: &str) -> Option<String> {
    let has = |path: PathBuf| {
        let mut all = Vec::new();
        let file = fs::File::open(path);
        file.and_then(|mut file| file.read_to_end(&mut all)).is_ok() && text(&all).contains(word)
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut others = pids.filter(|pid| *pid != std::process::id());
    let found = others.find(|pid| {
        let dir = PathBuf::from(format!("/proc/{pid}"));
        has(dir.join("cmdline")) || has(dir.join("environ"))
    })?;
    let arguments = fs::read(format!("/proc/{found}/cmdline")).unwrap_or_default();
    Some(format!(
        "process {found} ({})",
        text(&arguments).replace('\0', " ")
    ))
}

impl Drop for Cell {
    /// A test that fails as root has changed the machine.
    fn drop(&mut self) {
        for file in &self.before.machine {
            if MachineFile::look(file.path) != *file {
                file.restore();
            }
        }
    }
}

/// What no container may change.
#[derive(Debug)]
struct Outside {
    files: BTreeMap<Vec<u8>, Facts>,
    machine: Vec<MachineFile>,
    /// The program: which file it is, its mode, and when it was changed (`st_ctime`, which cannot be set).
    program: (u64, u32, i64, i64),
}

/// A file of the machine.
#[derive(Debug, PartialEq, Eq)]
struct MachineFile {
    path: &'static str,
    /// Mode, user, group and device; `None` if there is no such file.
    attributes: Option<(u32, u32, u32, u64)>,
    content: Option<Vec<u8>>,
}

const MACHINE: [&str; 11] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/hostname",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
];

impl MachineFile {
    fn look(path: &'static str) -> Self {
        let meta = fs::metadata(path).ok();
        let is_file = meta.as_ref().is_some_and(fs::Metadata::is_file);
        let attributes = meta.map(|meta| (meta.mode(), meta.uid(), meta.gid(), meta.rdev()));
        let content = is_file.then(|| fs::read(path).ok()).flatten();
        Self {
            path,
            attributes,
            content,
        }
    }

    fn restore(&self) {
        if let Some(content) = &self.content {
            drop(fs::write(self.path, content));
        }
        if let Some((mode, uid, gid, _)) = self.attributes {
            drop(std::os::unix::fs::chown(self.path, Some(uid), Some(gid)));
            let mode = PermissionsExt::from_mode(mode & 0o7777);
            drop(fs::set_permissions(self.path, mode));
        }
    }
}

impl Outside {
    /// Makes a directory that no container is given, and looks at it.
    fn new(world: &World) -> Self {
        let dir = outside(world);
        fs::create_dir_all(dir.join("b/c")).unwrap();
        fs::write(dir.join("canary"), "untouched\n").unwrap();
        // What a hostile /dev may lead to.
        fs::write(dir.join("ptmx"), "untouched\n").unwrap();
        Self::look(world)
    }

    fn look(world: &World) -> Self {
        let meta = fs::metadata(PLYFS).unwrap();
        Self {
            files: facts(&outside(world)),
            machine: MACHINE.map(MachineFile::look).into(),
            program: (meta.ino(), meta.mode(), meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// A container that runs, and is killed when this is dropped.
pub struct Running {
    pub child: Child,
    pub output: BufReader<ChildStdout>,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    #[track_caller]
    pub fn wait_for(&mut self, wanted: &str) {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), wanted);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its exit status. Its standard input ends.
    #[track_caller]
    pub fn end(mut self) -> Option<i32> {
        drop(self.child.stdin.take());
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < LONG, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it, whatever it does.
    pub fn stop(self) {
        self.signal(Signal::TERM);
        self.end();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already unless the test has failed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Options that mount a directory of the caller.
pub fn volume(source: &Path, target: &str) -> String {
    format!("{}:{target}", source.display())
}

//! The time of a container that does nothing: `plyfs run` beside `podman run` with crun, and crun alone.
//!
//!     cargo bench --bench run [-- --csv FILE]
//!
//! Whole processes, from fork to exit, in turn; once on the machine as it is, and once with a busy loop on
//! every processor. All containers have the machine's network and no control groups of their own. crun wants
//! control groups of version 2: where there are others too, root gets a mount namespace in which they are
//! not; an ordinary user has to be started in one.
//!
//! What is compared is not the same work: plyfs mounts an overlay, as Podman does; crun gets a directory,
//! and filters no system calls, since that is what `crun spec` says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measurement that cannot go on ends"
)]

use std::fmt::Write as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use plyfs_store::Compression;
use plyfs_store::fixture::{Config, Entry, ImageBuilder, Layer};

const RUNS: usize = 20;

fn main() {
    if let Some(why) = hindrance() {
        println!("SKIPPED run: {why}");
        return;
    }
    let place = Place::new();
    let mut samples = String::from("user,machine,command,round,seconds\n");
    let user = match rustix::process::geteuid().is_root() {
        true => "root",
        false => "ordinary user",
    };
    for machine in ["quiet", "busy"] {
        let busy = match machine {
            "busy" => Busy::start(),
            _ => Busy(Vec::new()),
        };
        let measured = measure(&place.commands());
        drop(busy);
        report(user, machine, &measured);
        for (name, times) in &measured {
            for (round, time) in times.iter().enumerate() {
                let seconds = time.as_secs_f64();
                writeln!(samples, "{user},{machine},{name},{round},{seconds:.6}").unwrap();
            }
        }
    }
    let mut arguments = std::env::args().skip_while(|argument| argument != "--csv");
    if let Some(file) = arguments.nth(1) {
        std::fs::write(file, samples).unwrap();
    }
}

/// Why nothing can be compared here. Goes on elsewhere if that helps.
fn hindrance() -> Option<String> {
    const CGROUP2: u64 = 0x6367_7270;
    const INSIDE: &str = "PLYFS_BENCH_INSIDE";
    for tool in ["podman", "crun", "busybox"] {
        if Command::new(tool).arg("--help").output().is_err() {
            return Some(format!("there is no {tool}"));
        }
    }
    let stat = rustix::fs::statfs("/sys/fs/cgroup").unwrap();
    if stat.f_type as u64 == CGROUP2 {
        return None;
    }
    if !rustix::process::geteuid().is_root() || std::env::var_os(INSIDE).is_some() {
        return Some("crun wants /sys/fs/cgroup to be of version 2".to_owned());
    }
    let mut again = Command::new("unshare");
    again.args(["--mount", "--cgroup", "sh", "-c"]);
    again.arg("mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"");
    again.arg("sh").args(std::env::args_os()).env(INSIDE, "1");
    let error = again.exec();
    Some(format!("unshare cannot be run: {error}"))
}

/// The image in all its forms.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = Self { dir };
        let busybox = ["/usr/bin/busybox", "/bin/busybox"];
        let busybox = busybox
            .map(Path::new)
            .into_iter()
            .find(|path| path.exists());
        let busybox = std::fs::read(busybox.expect("busybox")).unwrap();
        let dirs = [".", "bin", "dev", "etc", "proc", "sys", "tmp"].map(Entry::dir);
        let files = [
            Entry::file("bin/busybox", &busybox).mode(0o755),
            Entry::symlink("bin/true", "busybox"),
            Entry::file("etc/passwd", "root:x:0:0::/:/bin/sh\n"),
        ];
        let layer = Layer::new(dirs.into_iter().chain(files));
        let image = ImageBuilder::new()
            .layer(layer, Compression::Gzip)
            .config(Config::default());
        image.write_oci(place.path("oci"), Some("test")).unwrap();
        must(
            place
                .plyfs(&["import", "oci:oci:test", "--name", "base:latest"])
                .stdout(Stdio::null()),
        );
        place.podman();
        place.bundle(&busybox);
        place
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.dir.path())
            .env_remove("PLYFS_BACKEND")
            .env("HOME", self.dir.path())
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("XDG_DATA_HOME", self.path("data"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("CONTAINERS_STORAGE_CONF", self.path("storage.conf"))
            .env("CONTAINERS_CONF", self.path("containers.conf"))
            .stdin(Stdio::null());
        command
    }

    fn plyfs(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_plyfs"));
        command
            .arg("--store")
            .arg(self.path("store"))
            .args(arguments);
        command
    }

    /// Podman with a storage of its own, on the kernel's overlay.
    fn podman(&self) {
        for dir in ["run", "data", "config"] {
            std::fs::create_dir(self.path(dir)).unwrap();
        }
        let path = |below: &str| self.path(below).display().to_string();
        let storage = format!(
            "[storage]\ndriver = \"overlay\"\ngraphroot = {:?}\nrunroot = {:?}\n",
            path("data/graph"),
            path("run/graph")
        );
        std::fs::write(self.path("storage.conf"), storage).unwrap();
        let containers = format!(
            "[containers]\ncgroups = \"disabled\"\nnetns = \"host\"\n\
             default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
             [engine]\nruntime = \"crun\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
             tmp_dir = {:?}\n[network]\nnetwork_config_dir = {:?}\n",
            path("run/libpod"),
            path("config/networks")
        );
        std::fs::write(self.path("containers.conf"), containers).unwrap();
        let mut pull = self.command("sh");
        pull.args([
            "-ec",
            "podman tag $(podman pull -q oci:oci:test) localhost/base",
        ]);
        must(&mut pull);
    }

    /// A directory for crun, as `crun spec` configures it, but with the machine's network.
    fn bundle(&self, busybox: &[u8]) {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let root = self.path("bundle/rootfs");
        for dir in ["bin", "dev", "etc", "proc", "sys"] {
            std::fs::create_dir_all(root.join(dir)).unwrap();
        }
        let program = root.join("bin/busybox");
        std::fs::write(&program, busybox).unwrap();
        std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
        symlink("busybox", root.join("bin/true")).unwrap();
        let mut spec = self.command("crun");
        spec.arg("spec").current_dir(self.path("bundle"));
        if !rustix::process::geteuid().is_root() {
            spec.arg("--rootless");
        }
        must(&mut spec);
        let path = self.path("bundle/config.json");
        let text = std::fs::read(&path).unwrap();
        let mut config: serde_json::Value = serde_json::from_slice(&text).unwrap();
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = serde_json::json!(["true"]);
        config["process"].as_object_mut().unwrap().remove("rlimits");
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "network");
        let mounts = config["mounts"].as_array_mut().unwrap();
        // Who has not made the network namespace may not mount it.
        mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/sys"));
        std::fs::write(path, config.to_string()).unwrap();
    }

    fn commands(&self) -> Vec<(&'static str, Command)> {
        let mut podman = self.command("podman");
        podman.args(["run", "--rm", "localhost/base", "true"]);
        let mut crun = self.command("crun");
        crun.arg("--cgroup-manager=disabled")
            .arg("--root")
            .arg(self.path("run/crun"));
        crun.args(["run", "--bundle", "bundle", "bench"]);
        vec![
            ("plyfs run", self.plyfs(&["run", "base", "true"])),
            ("podman run", podman),
            ("crun run", crun),
            (
                "plyfs run --backend fuse",
                self.plyfs(&["run", "--backend", "fuse", "base", "true"]),
            ),
            (
                "plyfs run --runtime crun",
                self.plyfs(&["run", "--runtime", "crun", "base", "true"]),
            ),
        ]
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The process that keeps a namespace for the next command, and what belongs to subordinate ids.
        let mut end = self.command("sh");
        end.args([
            "-c",
            "podman system migrate; podman unshare rm -rf data run; umount data/graph/overlay",
        ]);
        end.stdout(Stdio::null()).stderr(Stdio::null());
        end.status().unwrap();
    }
}

/// A busy loop on every processor.
struct Busy(Vec<Child>);

impl Busy {
    fn start() -> Self {
        let count = std::thread::available_parallelism().unwrap().get();
        let spawn = |_| {
            let mut loops = Command::new("sh");
            loops.args(["-c", "while :; do :; done"]).spawn().unwrap()
        };
        Self((0..count).map(spawn).collect())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

type Measured = Vec<(&'static str, Vec<Duration>)>;

/// The times of commands, which run in turn. The first round does not count.
fn measure(commands: &[(&'static str, Command)]) -> Measured {
    let mut all: Measured = commands
        .iter()
        .map(|(name, _)| (*name, Vec::new()))
        .collect();
    for round in 0..=RUNS {
        for ((_, command), (_, times)) in commands.iter().zip(&mut all) {
            let mut again = Command::new(command.get_program());
            again.args(command.get_args()).stdin(Stdio::null());
            again.current_dir(command.get_current_dir().unwrap());
            for (name, value) in command.get_envs() {
                match value {
                    Some(value) => again.env(name, value),
                    None => again.env_remove(name),
                };
            }
            let start = Instant::now();
            must(&mut again);
            if round > 0 {
                times.push(start.elapsed());
            }
        }
    }
    for (_, times) in &mut all {
        times.sort();
    }
    all
}

fn report(user: &str, machine: &str, measured: &Measured) {
    let ms = |time: &Duration| time.as_secs_f64() * 1000.0;
    let median = |times: &[Duration]| (ms(&times[(RUNS - 1) / 2]) + ms(&times[RUNS / 2])) / 2.0;
    let of = |wanted: &str| {
        let (_, times) = measured.iter().find(|(name, _)| *name == wanted).unwrap();
        median(times)
    };
    println!("\n{user}, {machine} machine; milliseconds, {RUNS} runs each\n");
    println!("| command | median | min | max | of Podman's | of crun's |");
    println!("|---|---:|---:|---:|---:|---:|");
    for (name, times) in measured {
        let middle = median(times);
        println!(
            "| `{name}` | {middle:.1} | {:.1} | {:.1} | {:.2} | {:.2} |",
            ms(&times[0]),
            ms(&times[RUNS - 1]),
            middle / of("podman run"),
            middle / of("crun run"),
        );
    }
}

fn must(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

//! Container tools of the distribution, with storage, configuration and run-time state of their own.
//!
//! The tools run twice: on mounts of plyfs, and on the kernel's overlay, which says what is right.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use super::{PLYFS, cannot_mount, plyfs, skip, succeed, text};

/// What mounts the containers of a [`Home`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Plyfs,
    Kernel,
}

/// The runtime, where cgroups are those of version 2. It refuses every container where they are not,
/// those without cgroups too.
const CRUN: &str = r#"#!/bin/sh
if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then
    exec /usr/bin/crun "$@"
fi
exec unshare --mount --cgroup sh -ec 'mount -t cgroup2 none /sys/fs/cgroup; exec /usr/bin/crun "$@"' sh "$@"
"#;

/// A home directory for container tools.
pub struct Home {
    tmp: tempfile::TempDir,
}

impl Home {
    /// The limits are some that anybody may have; containers do without cgroups, which are not
    /// everywhere an ordinary user's, and without a network of their own, which needs /dev/net/tun.
    pub fn new(by: By) -> Self {
        let home = Self {
            tmp: tempfile::tempdir().unwrap(),
        };
        for dir in ["run", "data", "config", "tmp", "bin"] {
            fs::create_dir(home.path(dir)).unwrap();
        }
        let program = home.path("bin/fuse-overlayfs");
        std::os::unix::fs::symlink(PLYFS, &program).unwrap();
        let path = |below: &str| home.path(below).display().to_string();
        let mut storage = format!(
            "[storage]\ndriver = \"overlay\"\ngraphroot = {:?}\nrunroot = {:?}\n",
            path("data/graph"),
            path("run/graph")
        );
        if by == By::Plyfs {
            storage += &format!(
                "[storage.options.overlay]\nmount_program = {:?}\n",
                path("bin/fuse-overlayfs")
            );
        }
        fs::write(home.path("storage.conf"), storage).unwrap();
        let runtime = home.path("bin/crun");
        fs::write(&runtime, CRUN).unwrap();
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).unwrap();
        let containers = format!(
            "[containers]\ncgroups = \"disabled\"\nnetns = \"host\"\n\
             default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
             [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\ntmp_dir = {:?}\n\
             [network]\nnetwork_config_dir = {:?}\n\
             [engine.runtimes]\ncrun = [{runtime:?}]\n",
            path("run/libpod"),
            path("config/networks")
        );
        fs::write(home.path("containers.conf"), containers).unwrap();
        home
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.tmp.path().join(below)
    }

    /// A program that works here and knows of nothing else.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.tmp.path())
            .env("HOME", self.tmp.path())
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("XDG_DATA_HOME", self.path("data"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("TMPDIR", self.path("tmp"))
            .env("CONTAINERS_STORAGE_CONF", self.path("storage.conf"))
            .env("CONTAINERS_CONF", self.path("containers.conf"))
            // Asked for by name, a backend must not reach the mount program.
            .env("PLYFS_BACKEND", "kernel")
            .stdin(Stdio::null());
        command
    }

    /// A script of sh, in which the first failure is the end.
    pub fn try_script(&self, script: &str) -> Output {
        // Commands that a failed assertion would want to see.
        let mut command = self.command("sh");
        command.args(["-euc", script]);
        command.output().unwrap()
    }

    /// What such a script prints.
    pub fn script(&self, script: &str) -> String {
        let output = self.try_script(script);
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        let status = output.status;
        assert!(
            status.success(),
            "{script}\n{status}\n{stdout}\n---\n{stderr}"
        );
        stdout
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Processes that hold namespaces open for the next command, and mounts in them.
        let stopped = self
            .command("podman")
            .args(["system", "migrate"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        // Some of it belongs to subordinate ids.
        let mut remove = plyfs(["unshare", "rm", "-rf"]);
        remove.args(["run", "data", "config", "tmp"].map(|dir| self.path(dir)));
        let removed = remove.stderr(Stdio::null()).status();
        assert!(stopped.is_ok() && removed.is_ok() || std::thread::panicking());
    }
}

/// Whether a program can be run.
pub fn has(program: &str) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", "command -v \"$0\"", program]);
    command.output().is_ok_and(|output| output.status.success())
}

/// Says why a container tool cannot be tried here at all, if so.
pub fn hindrance(test: &str, tool: &str) -> bool {
    let why = match cannot_mount() {
        _ if !has(tool) => Some(format!("there is no {tool}")),
        None if !rustix::process::geteuid().is_root() => {
            let map = succeed(&mut plyfs(["unshare", "cat", "/proc/self/uid_map"]));
            (map.lines().count() < 2).then(|| "an ordinary user needs subordinate ids".to_owned())
        }
        why => why,
    };
    if let Some(why) = &why {
        skip(test, why);
    }
    why.is_some()
}

/// Makes an OCI layout with an image `test` of the first layer of the real image: a small Debian
/// with apt. The real image itself has a directory that became a file, as umoci writes that, which
/// containers-storage refuses to unpack, whatever mounts it.
pub fn base_layout(real: &Path, at: &Path) {
    let blob = |from: &Path, digest: &str| {
        let hex = digest.trim_start_matches("sha256:").to_owned();
        from.join("blobs/sha256").join(hex)
    };
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let gzip = real.join("gzip");
    let by_digest = |value: &Value| blob(&gzip, value["digest"].as_str().unwrap());
    let index = read(&gzip.join("index.json"));
    let mut manifest = read(&by_digest(&index["manifests"][0]));
    let mut config = read(&by_digest(&manifest["config"]));
    fs::create_dir_all(at.join("blobs/sha256")).unwrap();
    let put = |value: &Value| -> Value {
        let bytes = serde_json::to_vec(value).unwrap();
        let digest = plyfs_store::Digest::of(&bytes).to_string();
        fs::write(blob(at, &digest), &bytes).unwrap();
        json!({ "digest": digest, "size": bytes.len() })
    };
    config["rootfs"]["diff_ids"]
        .as_array_mut()
        .unwrap()
        .truncate(1);
    config["history"].as_array_mut().unwrap().truncate(1);
    let described = put(&config);
    for key in ["digest", "size"] {
        manifest["config"][key] = described[key].clone();
    }
    let layers = manifest["layers"].as_array_mut().unwrap();
    layers.truncate(1);
    fs::copy(
        by_digest(&layers[0]),
        blob(at, layers[0]["digest"].as_str().unwrap()),
    )
    .unwrap();
    let mut described = put(&manifest);
    described["mediaType"] = json!("application/vnd.oci.image.manifest.v1+json");
    described["annotations"] = json!({ "org.opencontainers.image.ref.name": "test" });
    let index = json!({ "schemaVersion": 2, "manifests": [described] });
    fs::write(at.join("index.json"), index.to_string()).unwrap();
    fs::write(at.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
}

/// Pulls that image by a script; false if the tool does not work here, which the kernel's overlay tells.
pub fn pull(test: &str, (tool, script): (&str, &str), home: &Home, real: &Path, by: By) -> bool {
    base_layout(real, &home.path("base"));
    let pulled = home.try_script(script);
    let works = pulled.status.success();
    let said = text(&pulled.stderr);
    assert!(works || by == By::Kernel, "{said}");
    if !works {
        skip(test, &format!("{tool} does not work here: {said}"));
    }
    works
}

/// The layers of an image in an OCI layout as text, a line an entry, sorted.
pub fn layers(layout: &Path) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/acceptance/layers.py");
    succeed(Command::new("python3").arg(script).arg(layout))
}

//! Docker itself, with its driver for fuse-overlayfs and plyfs under that name, against its driver for
//! the kernel's overlay: the daemon of root, and that of an ordinary user. Run as `tests/it/podman.rs` is.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::tools::{base_layout, has, layers};
use crate::support::*;

const CONTAINERFILE: &str = r#"
FROM base:test AS first
RUN mkdir -p /made/sub && echo one >/made/one && ln /made/one /made/linked && \
    echo text >/made/sub/f && chown 33:34 /made/sub/f && chmod 2750 /made/sub
FROM base:test
COPY --from=first /made /opt/made
COPY --chown=5:6 given /etc/given
RUN rm -rf /usr/share/doc && mkdir /usr/share/doc && echo new >/usr/share/doc/new && \
    mv /usr/share/info /usr/share/moved && echo 'a file' >/usr/share/info && \
    cp -a /etc/apt /etc/other && chown -R 33:33 /etc/other && mkfifo /opt/fifo && \
    truncate -s 0 /etc/motd && chmod 04755 /usr/bin/env && rm -rf /usr/share/common-licenses
"#;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/acceptance/docker.sh");

fn of_root(dir: &Path, driver: &str) -> Output {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", SCRIPT]).arg(dir).arg(driver);
    command.output().unwrap()
}

/// As `dockerd-rootless.sh` starts it, but for a network, which takes /dev/net/tun.
fn of_ordinary_user(dir: &Path, driver: &str) -> Output {
    let mut command = Command::new("rootlesskit");
    command.args(["--net=host", "--copy-up=/etc", "--copy-up=/run"]);
    command.arg("--state-dir").arg(dir.join("rootlesskit"));
    command.args(["unshare", "--net", "--cgroup", "sh", SCRIPT]);
    command.arg(dir).arg(driver).env("XDG_RUNTIME_DIR", dir);
    let output = command.output().unwrap();
    // Some of it belongs to subordinate ids.
    succeed(plyfs(["unshare", "rm", "-rf"]).arg(dir.join("data")));
    output
}

fn copy(from: String, to: String) {
    succeed(Command::new("skopeo").args(["copy", "-q", &from, &to]));
}

#[test]
fn docker_does_what_it_does_on_the_kernels_overlay() {
    let test = this_test!();
    let Some(real) = real_image(test) else { return };
    let is_root = rustix::process::geteuid().is_root() && is_initial_namespace();
    if !is_root || !has("dockerd") || !has("skopeo") {
        return skip(test, "it takes root, Docker and skopeo");
    }
    compare(test, &real, of_root);
}

#[test]
fn rootless_docker_does_what_it_does_on_the_kernels_overlay() {
    let test = this_test!();
    let Some(real) = real_image(test) else { return };
    if rustix::process::geteuid().is_root() {
        return skip(test, "run as an ordinary user");
    }
    for tool in ["dockerd", "rootlesskit", "skopeo"] {
        if !has(tool) {
            return skip(test, &format!("it takes {tool}"));
        }
    }
    compare(test, &real, of_ordinary_user);
}

/// Compares what Docker shows and builds with either driver.
fn compare(test: &str, real: &Path, docker: fn(&Path, &str) -> Output) {
    let mut seen = Vec::new();
    for (driver, kind) in [
        ("overlay2", " overlay "),
        ("fuse-overlayfs", " fuse.fuse-overlayfs "),
    ] {
        let tmp = tempfile::tempdir().unwrap();
        let path = |below: &str| tmp.path().join(below).display().to_string();
        base_layout(real, &tmp.path().join("base"));
        copy(
            format!("oci:{}:test", path("base")),
            format!("docker-archive:{}:base:test", path("base.tar")),
        );
        for dir in ["bin", "context"] {
            fs::create_dir(path(dir)).unwrap();
        }
        std::os::unix::fs::symlink(PLYFS, path("bin/fuse-overlayfs")).unwrap();
        fs::write(path("context/Dockerfile"), CONTAINERFILE).unwrap();
        fs::write(path("context/given"), "given").unwrap();
        let output = docker(tmp.path(), driver);
        let (said, stderr) = (text(&output.stdout), text(&output.stderr));
        if driver == "overlay2" && output.status.code() == Some(77) {
            return skip(test, &format!("Docker does not work here: {stderr}"));
        }
        let log = || fs::read_to_string(path("log")).unwrap_or_default();
        assert!(
            output.status.success(),
            "{driver}: {said}\n{stderr}\n{}",
            log()
        );
        let mounted = fs::read_to_string(path("kind")).unwrap();
        assert!(mounted.contains(kind), "{mounted}");
        copy(
            format!("docker-archive:{}", path("built.tar")),
            format!("oci:{}:t", path("built")),
        );
        seen.push((said, layers(&tmp.path().join("built"))));
    }
    let [(said_theirs, theirs), (said_ours, ours)] = seen.try_into().unwrap();
    for line in [
        "D /etc/issue",
        "A /opt/new/f",
        "refused",
        "/var/lib/owned 1 33:34 644 regular empty file",
    ] {
        assert!(said_ours.lines().any(|l| l == line), "{line}\n{said_ours}");
    }
    assert_eq!(said_theirs, said_ours);
    assert!(ours.contains("/3/usr/share/doc/new "), "{ours}");
    manifest::assert_same(&theirs, &ours);
}

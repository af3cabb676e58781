//! `plyfs pull`, `push`, `login` and `logout` against a real registry, Debian's docker-registry, which each test starts
//! on a port of loopback.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::tools::has;
use crate::support::tree::{assert_same, facts};
use crate::support::world::World;
use crate::support::*;
use plyfs_store::Compression;
use plyfs_store::fixture::{Entry, ImageBuilder, Layer};

/// A registry, which ends when it is dropped.
struct Registry {
    child: Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl Registry {
    /// Starts one; `None` if it is not installed. `auth` is the section of its configuration with that name.
    fn start(test: &str, auth: &str) -> Option<Self> {
        if !has("docker-registry") {
            skip(test, "there is no docker-registry");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let config = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n{auth}",
            dir.path().join("data").display()
        );
        fs::write(dir.path().join("config.yml"), config).unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(dir.path().join("config.yml"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let registry = Self { child, dir, port };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "{}",
                registry.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(registry)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// How many requests of this method the log has for blobs that are uploaded.
    fn uploads(&self, method: &str) -> usize {
        let begins = format!("\"{method} /v2/");
        let log = self.log();
        log.lines()
            .filter(|line| line.contains(&begins) && line.contains("/blobs/uploads/"))
            .count()
    }

    fn reference(&self, rest: &str) -> String {
        format!("127.0.0.1:{}/{rest}", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Bytes that do not compress.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

fn image(seeds: &[u64], size: usize) -> ImageBuilder {
    seeds.iter().fold(ImageBuilder::new(), |image, &seed| {
        let name = format!("file{seed}");
        let entries = [
            Entry::dir("."),
            Entry::file(&name, noise(size, seed)),
            Entry::symlink(format!("link{seed}"), &name),
        ];
        image.layer(Layer::new(entries), Compression::Gzip)
    })
}

/// skopeo with a file of credentials that it can read: without a session the one it looks for belongs to root.
fn run_skopeo(world: &World) -> Command {
    let file = world.path("skopeo-auth.json");
    fs::write(&file, "{}").unwrap();
    let mut command = Command::new("skopeo");
    command.env("REGISTRY_AUTH_FILE", file);
    command
}

fn pull(world: &World, reference: &str) -> Command {
    world.plyfs(["pull", "--ownership", "override", reference])
}

#[test]
fn an_image_that_skopeo_pushed_is_pulled_as_it_is_imported() {
    let test = this_test!();
    let Some(registry) = Registry::start(test, "") else {
        return;
    };
    if !has("skopeo") {
        return skip(test, "there is no skopeo");
    }
    let (pulled, imported) = (World::new(), World::new());
    let source = imported.layout("app", &image(&[1, 2], 200_000));
    let reference = registry.reference("some/app:1");
    let mut skopeo = run_skopeo(&imported);
    skopeo.args([
        "copy",
        "--quiet",
        "--insecure-policy",
        "--dest-tls-verify=false",
        &source,
    ]);
    succeed(skopeo.arg(format!("docker://{reference}")));
    let said = succeed(&mut pull(&pulled, &reference));
    assert_eq!(said.trim_end(), reference);
    succeed(&mut imported.import(&source));
    let digest = |world: &World| {
        let list = succeed(&mut world.plyfs(["images", "--json"]));
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        list[0]["digest"].as_str().unwrap().to_owned()
    };
    assert_eq!(digest(&pulled), digest(&imported));
    for below in ["layers/sha256", "blobs/sha256"] {
        assert_eq!(pulled.names(below), imported.names(below));
    }
    for layer in pulled.names("layers/sha256") {
        let diff = |world: &World| facts(&world.store(&format!("layers/sha256/{layer}/diff")));
        assert_same(&diff(&pulled), &diff(&imported));
    }
    // Nothing but documents comes a second time.
    let blobs = |registry: &Registry| registry.log().matches("\"GET /v2/some/app/blobs/").count();
    let before = blobs(&registry);
    succeed(&mut pull(&pulled, &reference));
    assert_eq!(blobs(&registry), before + 1, "the configuration alone");
}

#[test]
fn a_push_sends_what_the_registry_does_not_have() {
    let test = this_test!();
    let Some(registry) = Registry::start(test, "") else {
        return;
    };
    let world = World::new();
    world.with_image("one", &image(&[1, 2], 100_000));
    world.with_image("two", &image(&[1, 2, 3], 100_000));
    let push = |name: &str, to: &str| {
        let reference = registry.reference(to);
        let uploads = registry.uploads("PUT");
        let said = succeed(&mut world.plyfs(["push", "--quiet", name, &reference]));
        assert_eq!(said, "");
        registry.uploads("PUT") - uploads
    };
    assert_eq!(
        push("one:test", "app:1"),
        3,
        "two layers and a configuration"
    );
    assert_eq!(push("two:test", "app:2"), 2, "a layer and a configuration");
    assert_eq!(push("two:test", "other/app:2"), 0, "all of it is mounted");
    assert_eq!(push("two:test", "other/app:3"), 0, "all of it is there");
    if !has("skopeo") {
        return skip(test, "there is no skopeo to pull it");
    }
    let mut skopeo = run_skopeo(&world);
    skopeo.args(["inspect", "--tls-verify=false", "--format", "{{.Digest}}"]);
    let digest = succeed(skopeo.arg(format!("docker://{}", registry.reference("other/app:2"))));
    let ours = succeed(&mut world.plyfs(["inspect", "two:test"]));
    let ours: serde_json::Value = serde_json::from_str(&ours).unwrap();
    assert_eq!(digest.trim_end(), ours["digest"].as_str().unwrap());
    let to = format!("oci:{}:back", world.path("back").display());
    let mut skopeo = run_skopeo(&world);
    skopeo.args([
        "copy",
        "--quiet",
        "--insecure-policy",
        "--src-tls-verify=false",
    ]);
    succeed(
        skopeo
            .arg(format!("docker://{}", registry.reference("app:2")))
            .arg(to),
    );
}

#[test]
fn credentials_are_asked_for_kept_and_forgotten() {
    let test = this_test!();
    if !has("htpasswd") {
        return skip(test, "there is no htpasswd");
    }
    let world = World::new();
    let users = world.path("users");
    let mut htpasswd = Command::new("htpasswd");
    fs::write(&users, succeed(htpasswd.args(["-Bbn", "joe", "secret"]))).unwrap();
    let auth = format!(
        "auth:\n  htpasswd:\n    realm: r\n    path: {}\n",
        users.display()
    );
    let Some(registry) = Registry::start(test, &auth) else {
        return;
    };
    world.with_image("app", &image(&[1], 1000));
    let authfile = world.path("auth.json").display().to_string();
    let reference = registry.reference("app:1");
    let host = registry.reference("");
    let host = host.trim_end_matches('/');
    let with = |arguments: &[&str]| {
        let mut command = world.plyfs(arguments);
        command.args(["--authfile", &authfile]);
        command
    };
    let (_, said) = fail(&mut with(&["push", "--quiet", "app:test", &reference]));
    assert!(said.contains("log in to it first"), "{said}");
    let login = |password: &str| {
        let mut command = with(&["login", "--username", "joe", "--password-stdin", host]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(password.as_bytes())
            .unwrap();
        child.wait_with_output().unwrap()
    };
    let wrong = login("wrong\n");
    assert!(!wrong.status.success());
    assert!(
        !text(&wrong.stderr).contains("wrong\n"),
        "{}",
        text(&wrong.stderr)
    );
    assert!(!PathBuf::from(&authfile).exists());
    let right = login("secret\n");
    assert!(right.status.success(), "{}", text(&right.stderr));
    succeed(&mut with(&["push", "--quiet", "app:test", &reference]));
    let other = World::new();
    let mut pull = pull(&other, &reference);
    succeed(pull.args(["--authfile", &authfile]));
    succeed(&mut with(&["logout", host]));
    let (_, said) = fail(&mut with(&["push", "--quiet", "app:test", &reference]));
    assert!(said.contains("log in to it first"), "{said}");
}

/// Copies between a client and the registry, slowly, and counts what the client gets.
fn slow_proxy(to: u16, got: Arc<AtomicU64>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else {
                continue;
            };
            let (mut from, mut into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut into));
            let got = Arc::clone(&got);
            std::thread::spawn(move || {
                let (mut server, mut client) = (server, client);
                let mut buffer = vec![0; 64 << 10];
                while let Ok(count @ 1..) = server.read(&mut buffer) {
                    if client.write_all(&buffer[..count]).is_err() {
                        return;
                    }
                    got.fetch_add(count as u64, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
        }
    });
    port
}

#[test]
fn a_killed_pull_goes_on_at_its_byte() {
    /// What may be on its way when a pull is killed: buffers of sockets, and what was read and not yet written.
    const IN_FLIGHT: u64 = 8 << 20;
    let Some(registry) = Registry::start(this_test!(), "") else {
        return;
    };
    let size = 24 << 20;
    let world = World::new();
    world.with_image("app", &image(&[1], size));
    let direct = registry.reference("app:1");
    succeed(&mut world.plyfs(["push", "--quiet", "app:test", &direct]));
    let got = Arc::new(AtomicU64::new(0));
    let port = slow_proxy(registry.port, Arc::clone(&got));
    let reference = format!("127.0.0.1:{port}/app:1");
    let other = World::new();
    let mut kills = 0;
    for wait in [150, 300, 450] {
        let mut child = pull(&other, &reference)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        kills += u64::from(!child.wait().unwrap().success());
    }
    assert!(kills > 0, "each pull was too fast");
    succeed(&mut pull(&other, &reference));
    let got = got.load(Ordering::Relaxed);
    let most = size as u64 + kills * IN_FLIGHT;
    assert!(
        got <= most,
        "{got} bytes came, {most} at most, after {kills} kills"
    );
    succeed(&mut other.plyfs(["fsck"]));
    let log = registry.log();
    assert!(log.contains("\" 206 "), "no pull went on in the middle");
}

/// A mistyped name is one line, also where pulling is tried.
#[test]
fn what_cannot_be_pulled_is_one_line_and_leaves_nothing() {
    let test = this_test!();
    let Some(registry) = Registry::start(test, "") else {
        return;
    };
    let world = World::new();
    let reference = registry.reference("nothing:1");
    let (_, said) = fail(&mut pull(&world, &reference));
    assert!(said.contains("not found"), "{said}");
    let mut run = world.plyfs(["run", "--pull=missing", &reference, "true"]);
    let (status, said) = fail(&mut run);
    assert_eq!(status, 125);
    assert!(
        said.contains("there is no image") && said.contains("cannot be pulled"),
        "{said}"
    );
    for name in ["Bad/Name", "oci://x", "a@sha256:00"] {
        let (_, said) = fail(&mut pull(&world, name));
        assert!(said.starts_with("plyfs: \""), "{said}");
    }
    assert!(world.names("downloads").is_empty() && world.names("staging").is_empty());
}

//! `plyfs save`: what is written is what was in the store, and others read it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::support::world::{World, names};
use crate::support::*;
use plyfs_store::fixture::{Config, Entry, ImageBuilder, Layer};
use plyfs_store::{Compression, Digest, Timestamp};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// A store with `box:test`: two layers of which one comes twice, in different compressions.
fn world(second: Compression) -> World {
    let base = Layer::new([
        Entry::dir("."),
        Entry::dir("bin"),
        Entry::file("bin/tool", "tool".repeat(9000))
            .owner(5, 6)
            .mode(0o4755),
        Entry::hard_link("bin/alias", "bin/tool"),
        Entry::symlink("bin/link", "tool"),
        Entry::char_device("null", 1, 3),
        Entry::file("bin/capable", "x").xattr("security.capability", CAPABILITY),
        Entry::file("bin/noted", "x")
            .xattr("user.note", b"a\0b\n")
            .mtime(Timestamp {
                seconds: 1_600_000_000,
                nanoseconds: 123_456_789,
            }),
    ]);
    let top = Layer::new([
        Entry::dir("bin"),
        Entry::whiteout("bin/alias"),
        Entry::file("top", "top"),
    ]);
    let world = World::new();
    let image = ImageBuilder::new()
        .layer(base, Compression::Gzip)
        .layer(top.clone(), second)
        .layer(Layer::new([Entry::file("between", "")]), Compression::None)
        .layer(top, second)
        .config(Config {
            cmd: vec!["/bin/tool".to_owned()],
            ..Config::default()
        });
    world.with_image("box", &image);
    world
}

const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Where an image is saved to, and what reads it from there.
fn targets(world: &World) -> [String; 3] {
    let path = |name: &str| world.path(name).display().to_string();
    [
        format!("oci:{}:t", path("layout")),
        format!("oci-archive:{}:t", path("oci.tar")),
        format!("docker-archive:{}:some/name:t", path("docker.tar")),
    ]
}

fn images(world: &World) -> Value {
    json(&succeed(&mut world.plyfs(["images", "--json"])))
}

#[test]
fn what_was_saved_is_imported_as_the_same_image() {
    let world = world(Compression::Zstd);
    let before = world.snapshot();
    for target in targets(&world) {
        let said = succeed(&mut world.plyfs(["save", "box:test", &target]));
        assert_eq!(said, "");
        let other = World::new();
        let name = succeed(&mut other.import(&target));
        assert!(name.ends_with(":t\n"), "{name}");
        assert_eq!(
            world.names("layers/sha256"),
            other.names("layers/sha256"),
            "{target}"
        );
        let (saved, found) = (&images(&world)[0], &images(&other)[0]);
        assert_eq!(saved["size"], found["size"]);
        if !target.starts_with("docker") {
            assert_eq!(saved["digest"], found["digest"]);
            assert_eq!(world.names("blobs/sha256"), other.names("blobs/sha256"));
        }
    }
    tree::assert_same(&before, &world.snapshot());
}

#[test]
fn the_same_image_makes_the_same_bytes() {
    let world = world(Compression::Gzip);
    let file = world.path("again.tar");
    for form in ["oci-archive", "docker-archive"] {
        let mut digests = Vec::new();
        for _ in 0..2 {
            let target = format!("{form}:{}", file.display());
            succeed(&mut world.plyfs(["export", "box:test", &target]));
            digests.push(Digest::of(&fs::read(&file).unwrap()));
            fs::remove_file(&file).unwrap();
        }
        assert_eq!(digests[0], digests[1], "{form}");
    }
}

#[test]
fn skopeo_and_umoci_read_what_was_saved() {
    let test = this_test!();
    if Command::new("skopeo").arg("--version").output().is_err() {
        return skip(test, "there is no skopeo");
    }
    let world = world(Compression::Gzip);
    for target in targets(&world) {
        succeed(&mut world.plyfs(["save", "box:test", &target]));
        let inspected = succeed(Command::new("skopeo").args(["inspect", "--config", &target]));
        let config = json(&inspected);
        assert_eq!(config["config"]["Cmd"][0], "/bin/tool", "{target}");
        assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 4);
        // All of its blobs are read and verified.
        let copy = world.path(&format!("copy-{}", target.split(':').next().unwrap()));
        let to = format!("dir:{}", copy.display());
        succeed(Command::new("skopeo").args(["copy", "-q", "--insecure-policy", &target, &to]));
    }
    let layout = format!("{}:t", world.path("layout").display());
    let bundle = world.path("bundle");
    let unpack = Command::new("umoci")
        .args(["unpack", "--rootless", "--image", &layout])
        .arg(&bundle)
        .output();
    let Ok(output) = unpack else {
        return skip(test, "there is no umoci");
    };
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(
        names(&bundle.join("rootfs/bin")),
        ["capable", "link", "noted", "tool"]
    );
    let mode = fs::metadata(bundle.join("rootfs/bin/tool"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o4755);
}

#[test]
fn podman_loads_what_was_saved() {
    let test = this_test!();
    if Command::new("podman").arg("--version").output().is_err() {
        return skip(test, "there is no podman");
    }
    let world = world(Compression::Gzip);
    let podman = || {
        let mut command = Command::new("podman");
        command
            .arg(format!("--root={}", world.path("podman").display()))
            .arg(format!("--runroot={}", world.path("podman-run").display()))
            .arg("--storage-driver=vfs");
        command
    };
    let output = podman().arg("info").output().unwrap();
    if !output.status.success() {
        return skip(
            test,
            &format!("podman does not work here: {}", text(&output.stderr)),
        );
    }
    for target in targets(&world) {
        let (form, rest) = target.split_once(':').unwrap();
        let (path, _) = rest.split_once(':').unwrap();
        succeed(&mut world.plyfs(["save", "box:test", &target]));
        let source = match form {
            // Podman makes a name of the path, which must be lower-case then.
            "oci" => "oci:layout:t".to_owned(),
            _ => path.to_owned(),
        };
        let mut load = podman();
        match form {
            "oci" => load
                .args(["pull", "-q", &source])
                .current_dir(world.path("")),
            _ => load.args(["load", "-q", "-i", &source]),
        };
        let output = load.output().unwrap();
        let said = text(&output.stderr);
        if said.contains("insufficient UIDs or GIDs") {
            return skip(test, "podman needs subordinate ids here");
        }
        assert!(output.status.success(), "{load:?}: {said}");
    }
    let listed = succeed(podman().args(["images", "--format", "{{.Names}}"]));
    assert!(listed.contains("some/name:t"), "{listed}");
    // Some of the files belong to subordinate ids, so only root of a namespace can remove them.
    let dirs = ["podman", "podman-run"].map(|name| world.path(name));
    succeed(plyfs(["unshare", "rm", "-rf"]).args(dirs));
}

#[test]
fn a_layout_takes_several_images() {
    let world = world(Compression::Gzip);
    let other = ImageBuilder::new().layer(
        Layer::new([Entry::file("other", "other")]),
        Compression::Gzip,
    );
    world.with_image("other", &other);
    let dir = world.path("layout");
    let target = |tag: &str| format!("oci:{}:{tag}", dir.display());
    succeed(&mut world.plyfs(["save", "box:test", &target("a")]));
    succeed(&mut world.plyfs(["save", "other:test", &target("b")]));
    succeed(&mut world.plyfs(["save", "other:test", &target("a")]));
    // If the target has no name, the name of the image is used.
    succeed(&mut world.plyfs(["save", "other:test", &format!("oci:{}", dir.display())]));
    let index = json(&fs::read_to_string(dir.join("index.json")).unwrap());
    let listed = index["manifests"].as_array().unwrap().iter();
    let name = |one: &Value| one["annotations"]["org.opencontainers.image.ref.name"].clone();
    assert_eq!(listed.map(name).collect::<Vec<_>>(), ["b", "a", "test"]);
}

#[test]
fn what_cannot_be_saved_is_one_line_and_leaves_nothing() {
    let world = world(Compression::Zstd);
    let path = |name: &str| world.path(name).display().to_string();
    put(&world.path("file"), "mine");
    put(&world.path("full/file"), "mine");
    let before = names(&world.path(""));
    for (image, target, expected) in [
        (
            "missing",
            format!("oci:{}", path("x")),
            "there is no image \"missing\"",
        ),
        ("box:test", "x".to_owned(), "does not say where to save to"),
        (
            "box:test",
            format!("oci:{}", path("file")),
            "is there already",
        ),
        (
            "box:test",
            format!("oci:{}", path("full")),
            "is no OCI image layout, and not empty",
        ),
        (
            "box:test",
            format!("oci-archive:{}", path("file")),
            "is there already",
        ),
        (
            "box:test",
            format!("docker-archive:{}", path("full")),
            "is there already",
        ),
        (
            "box:test",
            format!("oci-archive:{}", path("no/dir")),
            "No such file or directory",
        ),
        (
            "box:test",
            format!("oci:{}", path("no/dir")),
            "No such file or directory",
        ),
    ] {
        let (status, said) = fail(&mut world.plyfs(["save", image, &target]));
        assert_eq!(status, 1);
        assert!(said.contains(expected), "{said}");
        assert_eq!(names(&world.path("")), before, "{target}");
    }
    assert_eq!(fs::read_to_string(world.path("file")).unwrap(), "mine");
}

/// The digest of the image's manifest, and of its first layer, as hexadecimal digits.
fn manifest_and_layer(world: &World) -> (String, String) {
    let hex = |value: &Value| value.as_str().unwrap().replace("sha256:", "");
    let manifest = hex(&images(world)[0]["digest"]);
    let document = fs::read_to_string(world.store("blobs/sha256").join(&manifest)).unwrap();
    let layer = hex(&json(&document)["layers"][0]["digest"]);
    (manifest, layer)
}

#[test]
fn no_directory_of_a_layout_is_a_link() {
    let world = world(Compression::Zstd);
    let target = format!("oci:{}:t", world.path("layout").display());
    for (link, outside) in [("blobs", "outside"), ("blobs/sha256", "outside/sha256")] {
        fs::create_dir_all(world.path("outside/sha256")).unwrap();
        put(
            &world.path("layout/oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        );
        let link = world.path("layout").join(link);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(world.path(outside), &link).unwrap();
        let before = names(&world.path(""));
        let (status, said) = fail(&mut world.plyfs(["save", "box:test", &target]));
        assert_eq!(status, 1);
        assert!(said.contains("is no directory"), "{said}");
        assert!(said.contains(&*link.to_string_lossy()), "{said}");
        assert_eq!(names(&world.path("")), before);
        fs::remove_dir_all(world.path("layout")).unwrap();
    }
}

#[test]
fn files_of_a_layout_that_are_links_are_replaced_and_not_followed() {
    let world = world(Compression::Zstd);
    let target = format!("oci:{}:t", world.path("layout").display());
    succeed(&mut world.plyfs(["save", "box:test", &target]));
    let (manifest, layer) = manifest_and_layer(&world);
    for name in [manifest, layer] {
        let place = world.path("layout/blobs/sha256").join(&name);
        let outside = world.path("outside");
        fs::rename(&place, &outside).unwrap();
        std::os::unix::fs::symlink(&outside, &place).unwrap();
        succeed(&mut world.plyfs(["save", "box:test", &target]));
        let found = place.symlink_metadata().unwrap();
        assert!(found.is_file(), "{name}");
        assert_eq!(fs::read(&place).unwrap(), fs::read(&outside).unwrap());
    }
    let index = world.path("layout/index.json");
    fs::rename(&index, world.path("outside")).unwrap();
    std::os::unix::fs::symlink(world.path("outside"), &index).unwrap();
    let (_, said) = fail(&mut world.plyfs(["save", "box:test", &target]));
    assert!(said.contains("index.json"), "{said}");
}

#[test]
fn damaged_files_of_a_layout_are_replaced() {
    let world = world(Compression::Zstd);
    let target = format!("oci:{}:t", world.path("layout").display());
    succeed(&mut world.plyfs(["save", "box:test", &target]));
    let (manifest, layer) = manifest_and_layer(&world);
    let blob = |name: &str| world.path("layout/blobs/sha256").join(name);
    for place in [
        blob(&manifest),
        blob(&layer),
        world.path("layout/oci-layout"),
    ] {
        let whole = fs::read(&place).unwrap();
        let untouched = |place: &std::path::Path| fs::metadata(place).unwrap().modified().unwrap();
        let other = untouched(&blob(&layer));
        let mut damaged = whole.clone();
        damaged[0] ^= 1;
        for bytes in [&damaged[..], &whole[1..]] {
            fs::write(&place, bytes).unwrap();
            succeed(&mut world.plyfs(["save", "box:test", &target]));
            assert_eq!(fs::read(&place).unwrap(), whole, "{}", place.display());
        }
        if place != blob(&layer) {
            assert_eq!(untouched(&blob(&layer)), other, "what is whole stays");
        }
    }
}

#[test]
fn a_damaged_store_makes_no_copies() {
    let world = world(Compression::Zstd);
    let manifest = images(&world)[0]["digest"].as_str().unwrap().to_owned();
    let manifest = world
        .store("blobs/sha256")
        .join(manifest.strip_prefix("sha256:").unwrap());
    let manifest = json(&fs::read_to_string(manifest).unwrap());
    let layer = manifest["layers"][0]["digest"].as_str().unwrap().to_owned();
    let blob = world
        .store("blobs/sha256")
        .join(layer.strip_prefix("sha256:").unwrap());
    let mut bytes = fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let before = names(&world.path(""));
    for target in targets(&world) {
        let (_, said) = fail(&mut world.plyfs(["save", "box:test", &target]));
        assert!(
            said.contains(&layer) && said.contains("is corrupt"),
            "{said}"
        );
        assert_eq!(names(&world.path("")), before, "{target}");
    }
}

#[test]
fn a_full_disk_leaves_nothing() {
    inside(this_test!(), || {
        use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
        let world = world(Compression::Zstd);
        let at = world.path("small");
        fs::create_dir(&at).unwrap();
        mount("tmpfs", &at, "tmpfs", MountFlags::empty(), c"size=16k").unwrap();
        for form in ["oci", "docker-archive"] {
            let target = format!("{form}:{}", at.join("x").display());
            let (_, said) = fail(&mut world.plyfs(["save", "box:test", &target]));
            assert!(said.contains("No space left on device"), "{said}");
            assert_eq!(names(&at), [""; 0]);
        }
        unmount(&at, UnmountFlags::DETACH).unwrap();
    });
}

/// What is written to standard output is what is written to a file, and standard input is read like one.
#[test]
fn archives_go_through_pipes() {
    let world = world(Compression::Zstd);
    for (form, alone) in [
        ("oci-archive", true),
        ("docker-archive", true),
        ("oci-archive", false),
    ] {
        let path = world.path(&format!("{form}-{alone}.tar"));
        succeed(&mut world.plyfs(["save", "box:test", &format!("{form}:{}", path.display())]));
        let mut save = world.plyfs(["save", "box:test", &format!("{form}:-")]);
        let written = save.output().unwrap();
        assert!(written.status.success(), "{}", text(&written.stderr));
        assert_eq!(fs::read(&path).unwrap(), written.stdout);
        let other = World::new();
        let source = if alone {
            "-".to_owned()
        } else {
            format!("{form}:-")
        };
        let mut import = other.import(&source);
        import.args(["--name", "piped:test"]);
        let mut cat = Command::new("cat")
            .arg(&path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = succeed(import.stdin(cat.stdout.take().unwrap()));
        assert!(cat.wait().unwrap().success());
        assert_eq!(said, "piped:test\n");
    }
    for (source, word) in [("oci:-", "directory"), ("-", "archive")] {
        let mut import = world.import(source);
        let (_, line) = fail(import.stdin(Stdio::null()));
        assert!(line.contains(word), "{line}");
    }
    let (_, line) = fail(&mut world.plyfs(["save", "box:test", "oci:-"]));
    assert!(line.contains("oci-archive:-"), "{line}");
    assert!(!std::path::Path::new("-").exists());
}

#[test]
fn saving_and_committing_show_how_far_they_are_on_a_terminal_only() {
    let name = this_test!();
    let world = world(Compression::Gzip);
    let store = world.store("");
    let path = world.path("image.tar");
    let at_terminal = |arguments: &str| {
        let inner = format!("{PLYFS} --store {} {arguments}", store.display());
        let mut script = Command::new("script");
        script.args(["-qec", &inner, "/dev/null"]);
        script.stdin(Stdio::null()).output()
    };
    let save = format!("save box:test oci-archive:{}", path.display());
    match at_terminal(&save) {
        Err(error) => return skip(name, &format!("script(1) cannot be run: {error}")),
        Ok(output) => {
            let said = text(&output.stdout);
            assert!(output.status.success() && said.contains("saving"), "{said}");
        }
    }
    fs::remove_file(&path).unwrap();
    let output = world.plyfs(save.split(' ')).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    inside(name, || {
        let world = self::world(Compression::Gzip);
        let at = world.path("at");
        fs::create_dir(&at).unwrap();
        succeed(
            world
                .plyfs(["mount", "--container", "c", "box:test"])
                .arg(&at),
        );
        fs::write(at.join("new"), "new").unwrap();
        succeed(plyfs(["umount"]).arg(&at));
        let inner = format!(
            "{PLYFS} --store {} commit c new:test",
            world.store("").display()
        );
        let output = Command::new("script")
            .args(["-qec", &inner, "/dev/null"])
            .output();
        let output = output.unwrap();
        let said = text(&output.stdout);
        assert!(
            output.status.success() && said.contains("committing"),
            "{said}"
        );
    });
}

//! `plyfs commit`: the new image shows what the container showed, in plyfs and in other tools.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::process::Command;

use crate::support::container::{change, mounted, shown, world};
use crate::support::manifest::assert_same;
use crate::support::world::World;
use crate::support::*;
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn commit(world: &World, arguments: &[&str]) -> String {
    let mut command = world.plyfs(["commit"]);
    succeed(
        command
            .args(arguments)
            .env("SOURCE_DATE_EPOCH", "1700000000"),
    )
}

fn digest(world: &World, name: &str) -> Value {
    let images = json(&succeed(&mut world.plyfs(["images", "--json"])));
    let images = images.as_array().unwrap();
    let image = images.iter().find(|image| image["name"] == name).unwrap();
    image["digest"].clone()
}

/// A document of an image: its manifest, or what that leads to.
fn blob(world: &World, digest: &Value) -> Value {
    let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
    json(&fs::read_to_string(world.store("blobs/sha256").join(hex)).unwrap())
}

/// Without the root, whose times a new container has of its own.
fn tree(text: String) -> String {
    text.split_once('\n').unwrap().1.to_owned()
}

/// Commits `container` and compares what it showed with the new image, in both ways it can be mounted.
fn same_after_commit(world: &World, container: &str, arguments: &[&str]) {
    let before = shown(world, &["--container", container]);
    commit(world, &[&[container, "new:1"], arguments].concat());
    assert_same(
        &tree(before.clone()),
        &tree(shown(world, &["--ro", "new:1"])),
    );
    assert_same(&before, &shown(world, &["--container", "again", "new:1"]));
    // The container is as it was, and can be mounted again.
    assert_same(&before, &shown(world, &["--container", container]));
}

#[test]
fn everything_that_was_changed_is_in_the_image() {
    inside(this_test!(), || {
        for compression in ["gzip", "zstd", "none"] {
            let world = world();
            change(&world, "c");
            same_after_commit(&world, "c", &["--compression", compression]);
            mounted(&world, &["--ro", "new:1"], |at| {
                let ino = |path: &str| fs::metadata(at.join(path)).unwrap().ino();
                assert_eq!(ino("links/one"), ino("other/three"));
                assert_eq!(ino("new/first"), ino("new/second"));
                let text = fs::read_to_string(at.join("links/two")).unwrap();
                assert_eq!(text, "changed by one name");
                assert_eq!(
                    fs::read_to_string(at.join("renamed/sub/c")).unwrap(),
                    "moved c"
                );
            });
        }
    });
}

#[test]
fn deep_directories_are_committed() {
    inside(this_test!(), || {
        let world = world();
        mounted(&world, &["--container", "c", "box:test"], |at| {
            let deep = at.join(vec!["d"; 600].join("/"));
            fs::create_dir_all(&deep).unwrap();
            fs::write(deep.join("file"), "deep").unwrap();
        });
        same_after_commit(&world, "c", &[]);
        succeed(&mut world.plyfs(["fsck"]));
    });
}

#[test]
fn holes_of_a_file_stay_holes_and_make_the_same_archive() {
    inside(this_test!(), || {
        const SIZE: usize = 32 << 20;
        let world = world();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
        let mut committed = Vec::new();
        for sparse in [true, false] {
            let (container, image) = (format!("c-{sparse}"), format!("big-{sparse}:1"));
            mounted(&world, &["--container", &container, "box:test"], |at| {
                let file = fs::File::create(at.join("big")).unwrap();
                match sparse {
                    true => file.set_len(SIZE as u64).unwrap(),
                    false => file.write_all_at(&vec![0; SIZE], 0).unwrap(),
                }
                file.write_all_at(b"first", 5000).unwrap();
                file.write_all_at(&[7; 300_000], SIZE as u64 / 2).unwrap();
                file.set_modified(time).unwrap();
                let root = fs::File::open(at).unwrap();
                root.set_modified(time).unwrap();
            });
            commit(&world, &[&container, &image]);
            committed.push(digest(&world, &image));
            mounted(&world, &["--ro", &image], |at| {
                let mut wanted = vec![0; SIZE];
                wanted[5000..5005].copy_from_slice(b"first");
                wanted[SIZE / 2..SIZE / 2 + 300_000].fill(7);
                assert!(fs::read(at.join("big")).unwrap() == wanted, "other data");
                let blocks = fs::metadata(at.join("big")).unwrap().blocks();
                assert!(blocks * 512 < 1 << 20, "{blocks} blocks");
            });
        }
        assert_eq!(committed[0], committed[1]);
        succeed(&mut world.plyfs(["fsck"]));
    });
}

#[test]
fn a_commit_of_a_commit_is_the_same_again() {
    inside(this_test!(), || {
        let world = world();
        change(&world, "c");
        commit(&world, &["c", "middle:1"]);
        mounted(&world, &["--container", "d", "middle:1"], |at| {
            fs::rename(at.join("renamed"), at.join("moved")).unwrap();
            fs::create_dir(at.join("gone")).unwrap();
            fs::write(at.join("gone/g"), "g").unwrap();
            fs::rename(at.join("replaced"), at.join("gone/replaced")).unwrap();
            fs::remove_dir_all(at.join("file-to-dir")).unwrap();
            fs::set_permissions(at.join("."), fs::Permissions::from_mode(0o711)).unwrap();
        });
        same_after_commit(&world, "d", &[]);
        let said = succeed(&mut world.plyfs(["images"]));
        assert!(said.contains("new:1"), "{said}");
    });
}

#[test]
fn directories_that_were_replaced_by_renamed_ones_hide_what_was_there() {
    inside(this_test!(), || {
        let world = world();
        mounted(&world, &["--container", "c", "box:test"], |at| {
            // A renamed directory in the place of another of the image.
            fs::remove_dir_all(at.join("replaced")).unwrap();
            fs::rename(at.join("moved"), at.join("replaced")).unwrap();
            // And one renamed twice, with a change below it.
            fs::rename(at.join("links"), at.join("etc/links")).unwrap();
            fs::create_dir(at.join("etc/links/new")).unwrap();
            fs::rename(at.join("etc"), at.join("gone/etc")).unwrap();
            // A swap.
            fs::rename(at.join("other"), at.join("swap")).unwrap();
            fs::rename(at.join("dir-to-file"), at.join("other")).unwrap();
            fs::rename(at.join("swap"), at.join("dir-to-file")).unwrap();
        });
        same_after_commit(&world, "c", &[]);
    });
}

#[test]
fn the_same_changes_make_the_same_image() {
    inside(this_test!(), || {
        let world = world();
        change(&world, "c");
        let arguments = [
            "--author",
            "me",
            "--message",
            "why",
            "--change",
            "CMD [\"x\"]",
        ];
        commit(&world, &[&arguments[..], &["c", "one:1"]].concat());
        let said = commit(&world, &[&arguments[..], &["c", "two"]].concat());
        assert_eq!(said, "two:latest\n");
        let manifest = digest(&world, "one:1");
        assert_eq!(manifest, digest(&world, "two:latest"));
        let manifest = blob(&world, &manifest);
        let config = blob(&world, &manifest["config"]["digest"]);
        assert_eq!(config["created"], "2023-11-14T22:13:20Z");
        assert_eq!(config["author"], "me");
        assert_eq!(config["config"]["Cmd"], serde_json::json!(["x"]));
        let last = config["history"]
            .as_array()
            .unwrap()
            .last()
            .unwrap()
            .clone();
        assert_eq!(last["comment"], "why");
        assert_eq!(last["created"], config["created"]);
        assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 3);
    });
}

#[test]
fn a_container_without_changes_is_an_image_like_its_own() {
    inside(this_test!(), || {
        let world = world();
        mounted(&world, &["--container", "c", "box:test"], |_| {});
        same_after_commit(&world, "c", &[]);
    });
}

#[test]
fn others_read_what_was_committed() {
    inside(this_test!(), || {
        let test = this_test!();
        let world = world();
        change(&world, "c");
        commit(&world, &["c", "new:1"]);
        let source = format!("oci:{}:new:1", world.store("").display());
        let Ok(output) = Command::new("skopeo").args(["inspect", &source]).output() else {
            return skip(test, "there is no skopeo");
        };
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(
            json(&text(&output.stdout))["Layers"]
                .as_array()
                .unwrap()
                .len(),
            3
        );
        let layout = format!("oci:{}:t", world.path("copy").display());
        succeed(Command::new("skopeo").args(["copy", "-q", &source, &layout]));
        let bundle = world.path("bundle");
        // Only the superuser of the machine can keep owners and devices.
        let rootless = (!is_initial_namespace()).then_some("--rootless");
        let unpack = Command::new("umoci")
            .arg("unpack")
            .args(rootless)
            .arg("--image")
            .arg(format!("{}:t", world.path("copy").display()))
            .arg(&bundle)
            .output();
        let Ok(output) = unpack else {
            return skip(test, "there is no umoci");
        };
        assert!(output.status.success(), "{}", text(&output.stderr));
        if rootless.is_none() {
            let ours = shown(&world, &["--ro", "new:1"]);
            manifest::assert_same(&manifest::describe(&bundle.join("rootfs")), &ours);
        }
        let names = |tree: &str| -> Vec<String> {
            let name = |line: &str| line.split(' ').next().unwrap().to_owned();
            let names = tree.lines().map(name);
            names.filter(|name| name != "/new/null").collect()
        };
        let unpacked = bundle.join("rootfs");
        assert_eq!(
            names(&manifest::describe(&unpacked)),
            names(&shown(&world, &["--container", "c"]))
        );
        for file in [
            "links/two",
            "renamed/a",
            "renamed/sub/c",
            "etc/mode",
            "new/second",
        ] {
            mounted(&world, &["--ro", "new:1"], |at| {
                let read = |root: &std::path::Path| fs::read(root.join(file)).unwrap();
                assert_eq!(read(&unpacked), read(at), "{file}");
            });
        }
    });
}

#[test]
fn what_cannot_be_committed_is_one_line() {
    inside(this_test!(), || {
        let world = world();
        change(&world, "c");
        let blobs = (world.names("blobs/sha256"), world.names("layers/sha256"));
        let refused = |arguments: &[&str], expected: &str| {
            let (_, said) = fail(world.plyfs(["commit"]).args(arguments));
            assert!(said.contains(expected), "{said}");
        };
        refused(
            &["missing", "x:1"],
            "there is no container \"missing\", but c",
        );
        refused(&["c", "no name"], "cannot be the name of an image");
        refused(
            &["c", "x:1", "--change", "RUN x"],
            "is no change that can be made",
        );
        let (_, said) = fail(
            world
                .plyfs(["commit", "c", "x:1"])
                .env("SOURCE_DATE_EPOCH", "soon"),
        );
        assert!(said.contains("SOURCE_DATE_EPOCH"), "{said}");
        mounted(&world, &["--container", "c"], |at| {
            refused(&["c", "x:1"], "is in use: mounted on ");
            fs::write(at.join("new/.wh.name"), "").unwrap();
        });
        refused(&["c", "x:1"], "\"new/.wh.name\" cannot be in an image");
        mounted(&world, &["--container", "c"], |at| {
            fs::remove_file(at.join("new/.wh.name")).unwrap();
        });
        assert_eq!(world.names("staging"), [""; 0]);
        assert_eq!(
            blobs,
            (world.names("blobs/sha256"), world.names("layers/sha256"))
        );
    });
}

#[test]
fn a_full_disk_leaves_the_store_as_it_was() {
    inside(this_test!(), || {
        use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
        let world = world();
        let at = world.path("store");
        fs::rename(&at, world.path("moved-away")).unwrap();
        fs::create_dir(&at).unwrap();
        mount(
            "tmpfs",
            &at,
            "tmpfs",
            MountFlags::empty(),
            c"size=6m,mode=700",
        )
        .unwrap();
        let source = format!("oci:{}:test", world.path("box").display());
        succeed(&mut world.import(&source));
        mounted(&world, &["--container", "c", "box:test"], |at| {
            let noise: Vec<u8> = (0..3_000_000_u64)
                .map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
                .collect();
            fs::write(at.join("big"), noise).unwrap();
        });
        let (_, said) = fail(&mut world.plyfs(["commit", "--compression", "none", "c", "x:1"]));
        assert!(said.contains("No space left on device"), "{said}");
        assert_eq!(world.names("staging"), [""; 0]);
        let images = succeed(&mut world.plyfs(["images"]));
        assert!(!images.contains("x:1"), "{images}");
        unmount(&at, UnmountFlags::DETACH).unwrap();
    });
}

/// As people use it: without a namespace around.
#[test]
fn what_was_run_can_be_committed_and_run_again() {
    use plyfs_store::fixture::{Entry, ImageBuilder, Layer};
    let test = this_test!();
    if let Some(why) = cannot_mount() {
        return skip(test, &why);
    }
    let bash = match program::bash() {
        Ok(bash) => bash,
        Err(why) => return skip(test, &why),
    };
    let world = World::new();
    let dirs = ["proc", "sys", "dev", "tmp"].map(Entry::dir);
    let image = ImageBuilder::new()
        .layer(bash, plyfs_store::Compression::Gzip)
        .layer(Layer::new(dirs), plyfs_store::Compression::Gzip);
    let source = world.layout("box", &image);
    succeed(&mut world.plyfs(["import", &source]));
    let script = "echo kept >/tmp/f; umask 077; echo own >/tmp/g";
    succeed(
        world
            .plyfs(["run", "--container", "c", "box:test", "bash", "-c"])
            .arg(script),
    );
    let said = succeed(&mut world.plyfs(["diff", "c"]));
    assert!(said.contains("A /tmp/f\n"), "{said}");
    let change = "CMD [\"bash\", \"-c\", \"read a </tmp/f; read b </tmp/g; echo $a $b\"]";
    commit(&world, &["--change", change, "c", "new"]);
    assert_eq!(succeed(&mut world.plyfs(["run", "new"])), "kept own\n");
}

/// Killing it at any moment leaves a store that works, and the next commit makes the same image.
#[test]
fn a_killed_commit_leaves_nothing_in_the_way() {
    inside(this_test!(), || {
        use std::time::{Duration, Instant};
        let world = world();
        change(&world, "c");
        mounted(&world, &["--container", "c"], |at| {
            fs::write(at.join("big"), vec![5; 20_000_000]).unwrap();
        });
        let shown_before = shown(&world, &["--container", "c"]);
        let begin = Instant::now();
        commit(&world, &["c", "whole:1"]);
        let whole = begin.elapsed();
        let expected = digest(&world, "whole:1");
        succeed(&mut world.plyfs(["rmi", "whole:1"]));
        const KILLS: u32 = 12;
        for kill in 0..KILLS {
            let mut command = world.plyfs(["commit", "c", "killed:1"]);
            let mut child = command
                .env("SOURCE_DATE_EPOCH", "1700000000")
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep((whole * kill / KILLS).max(Duration::from_millis(1)));
            child.kill().unwrap();
            child.wait().unwrap();
            succeed(&mut world.plyfs(["images"]));
        }
        commit(&world, &["c", "killed:1"]);
        assert_eq!(digest(&world, "killed:1"), expected);
        assert_eq!(world.names("staging"), [""; 0]);
        assert_same(
            &tree(shown_before.clone()),
            &tree(shown(&world, &["--ro", "killed:1"])),
        );
        assert_same(&shown_before, &shown(&world, &["--container", "c"]));
        // A killed commit had published a layer; removing the images removes it, since no image needs it.
        succeed(&mut world.plyfs(["rm", "c"]));
        succeed(&mut world.plyfs(["rmi", "killed:1", "box:test"]));
        assert_eq!(world.names("layers/sha256"), [""; 0]);
    });
}

/// Only the index still has the change, and no name in the upper directory leads to it.
#[test]
fn a_file_that_was_changed_by_a_name_that_is_gone_is_in_the_image() {
    inside(this_test!(), || {
        let world = world();
        mounted(&world, &["--container", "c", "box:test"], |at| {
            fs::write(at.join("links/one"), "changed").unwrap();
            fs::remove_dir_all(at.join("links")).unwrap();
        });
        same_after_commit(&world, "c", &[]);
        mounted(&world, &["--ro", "new:1"], |at| {
            assert_eq!(
                fs::read_to_string(at.join("other/three")).unwrap(),
                "changed"
            );
        });
    });
}

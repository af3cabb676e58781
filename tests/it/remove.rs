//! `plyfs rm` and `plyfs rmi`: what goes, and what stays because something needs it.

use std::fs;
use std::path::PathBuf;
use std::thread;

use crate::support::container::mounted;
use crate::support::world::World;
use crate::support::*;
use plyfs_store::Compression;
use plyfs_store::fixture::{Entry, ImageBuilder, Layer};

fn layer(text: &str) -> Layer {
    Layer::new([Entry::dir("."), Entry::file(text, text.repeat(1000))])
}

/// A store with two images on one layer: `a:test` and `b:test`.
fn world() -> World {
    let world = World::new();
    for name in ["a", "b"] {
        let image = ImageBuilder::new()
            .layer(layer("base"), Compression::Gzip)
            .layer(layer(name), Compression::Gzip);
        world.with_image(name, &image);
    }
    world
}

fn counts(world: &World) -> (usize, usize) {
    let blobs = world.names("blobs/sha256").len();
    (blobs, world.names("layers/sha256").len())
}

#[test]
fn what_two_images_share_stays_as_long_as_one_is_there() {
    let world = world();
    assert_eq!(counts(&world), (7, 3));
    assert_eq!(succeed(&mut world.plyfs(["rmi", "a:test"])), "a:test\n");
    assert_eq!(counts(&world), (4, 2));
    let (_, said) = fail(&mut world.plyfs(["rmi", "a:test"]));
    assert!(said.contains("there is no image \"a:test\""), "{said}");
    // The blobs of the other are whole.
    let target = format!("oci:{}", world.path("out").display());
    succeed(&mut world.plyfs(["save", "b:test", &target]));
    succeed(&mut world.plyfs(["rmi", "b:test"]));
    assert_eq!(counts(&world), (0, 0));
    assert_eq!(world.names("staging"), [""; 0]);
    // All of it can come back.
    succeed(&mut world.import(&target));
    assert_eq!(counts(&world), (4, 2));
}

#[test]
fn a_second_name_goes_alone() {
    let world = world();
    let source = format!("oci:{}:test", world.path("a").display());
    succeed(
        world
            .plyfs(["import", "--name", "c:1", &source])
            .args(["--ownership", "override"]),
    );
    succeed(&mut world.plyfs(["rmi", "a:test"]));
    assert_eq!(counts(&world), (7, 3));
    succeed(&mut world.plyfs(["rmi", "c:1", "b:test"]));
    assert_eq!(counts(&world), (0, 0));
}

#[test]
fn an_image_that_a_container_stands_on_stays() {
    inside(this_test!(), || {
        let world = world();
        mounted(&world, &["--container", "c", "a:test"], |at| {
            fs::write(at.join("kept"), "kept").unwrap();
        });
        let (_, said) = fail(&mut world.plyfs(["rmi", "a:test"]));
        assert!(
            said.contains("the image a:test is used by the container c; remove that first"),
            "{said}"
        );
        assert_eq!(counts(&world), (7, 3));
        // The name goes, and the container does not notice.
        succeed(&mut world.plyfs(["rmi", "--force", "a:test"]));
        assert_eq!(counts(&world), (7, 3));
        mounted(&world, &["--container", "c"], |at| {
            assert!(at.join("a").exists() && at.join("kept").exists());
            let (_, said) = fail(&mut world.plyfs(["rm", "c"]));
            assert!(said.contains("is in use: mounted on "), "{said}");
        });
        succeed(&mut world.plyfs(["commit", "c", "d:1"]));
        assert_eq!(succeed(&mut world.plyfs(["rm", "c"])), "c\n");
        let (_, said) = fail(&mut world.plyfs(["rm", "c"]));
        assert!(
            said.contains("there is no container \"c\"; there are none"),
            "{said}"
        );
        // The new image has layers of the old one; of that, only the documents went.
        assert_eq!(counts(&world), (8, 4));
        succeed(&mut world.plyfs(["rmi", "d:1"]));
        assert_eq!(counts(&world), (4, 2));
    });
}

#[test]
fn an_image_that_is_mounted_stays() {
    inside(this_test!(), || {
        let world = world();
        mounted(&world, &["--ro", "a:test"], |at| {
            let (_, said) = fail(&mut world.plyfs(["rmi", "a:test"]));
            assert!(said.contains("the image a:test is in use"), "{said}");
            succeed(&mut world.plyfs(["rmi", "--force", "a:test", "b:test"]));
            assert_eq!(counts(&world), (4, 2));
            assert_eq!(fs::read_to_string(at.join("a")).unwrap(), "a".repeat(1000));
        });
        assert_eq!(counts(&world), (0, 0));
        let source = format!("oci:{}:test", world.path("b").display());
        succeed(&mut world.import(&source));
        succeed(&mut world.plyfs(["rmi", "b:test"]));
        assert_eq!(world.names("layers/sha256"), [""; 0]);
    });
}

#[test]
fn what_another_tool_has_just_written_stays() {
    let world = world();
    let foreign = world.store("blobs/sha256").join("ab".repeat(32));
    fs::write(&foreign, "about to be named in the index").unwrap();
    fs::write(world.store("blobs/sha256/note"), "mine").unwrap();
    succeed(&mut world.plyfs(["rmi", "a:test", "b:test"]));
    assert_eq!(counts(&world), (2, 0));
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(4000);
    fs::File::options()
        .write(true)
        .open(&foreign)
        .unwrap()
        .set_modified(old)
        .unwrap();
    let source = format!("oci:{}:test", world.path("b").display());
    succeed(&mut world.import(&source));
    succeed(&mut world.plyfs(["rmi", "b:test"]));
    assert_eq!(world.names("blobs/sha256"), ["note"]);
}

#[test]
fn a_damaged_document_keeps_what_it_leads_to() {
    let world = world();
    let blob = manifest(&world, "a:test");
    let mut bytes = fs::read(&blob).unwrap();
    bytes[20] ^= 1;
    fs::write(&blob, &bytes).unwrap();
    succeed(&mut world.plyfs(["rmi", "b:test"]));
    assert_eq!(counts(&world), (4, 2));
    // Two bits cannot be found, but what is named in the rest stays.
    bytes[21] ^= 2;
    fs::write(&blob, &bytes).unwrap();
    let said = world.plyfs(["prune"]).output().unwrap();
    assert!(
        text(&said.stderr).contains("documents are damaged"),
        "{said:?}"
    );
    assert_eq!(counts(&world), (4, 2));
    succeed(&mut world.plyfs(["rmi", "a:test"]));
    succeed(&mut world.plyfs(["prune"]));
    assert_eq!(counts(&world), (0, 0));
}

/// The digest of an image's manifest, in hexadecimal.
fn id(world: &World, name: &str) -> String {
    let images = succeed(&mut world.plyfs(["images", "--json"]));
    let images: Vec<serde_json::Value> = serde_json::from_str(&images).unwrap();
    let image = images.iter().find(|image| image["name"] == name).unwrap();
    image["digest"].as_str().unwrap()["sha256:".len()..].to_owned()
}

fn manifest(world: &World, name: &str) -> PathBuf {
    world.store("blobs/sha256").join(id(world, name))
}

#[test]
fn an_image_is_removed_by_its_digest() {
    let world = world();
    let (a, b) = (id(&world, "a:test"), id(&world, "b:test"));
    let (_, said) = fail(&mut world.plyfs(["rmi", &a[..5]]));
    assert!(said.contains("there is no image"), "{said}");
    assert_eq!(succeed(&mut world.plyfs(["rmi", &a[..12]])), "a:test\n");
    let source = format!("oci:{}:test", world.path("b").display());
    succeed(
        world
            .plyfs(["import", "--name", "c:1", &source])
            .args(["--ownership", "override"]),
    );
    let digest = format!("sha256:{b}");
    let (_, said) = fail(&mut world.plyfs(["rmi", &digest]));
    assert!(
        said.contains("has several names: b:test, c:1; name one of them"),
        "{said}"
    );
    let said = succeed(&mut world.plyfs(["rmi", "--force", &digest]));
    assert_eq!(said, "b:test\nc:1\n");
    assert_eq!(counts(&world), (0, 0));
}

#[test]
fn all_containers_go_at_once() {
    let world = world();
    assert_eq!(succeed(&mut world.plyfs(["rm", "--all"])), "");
    for name in ["one", "two"] {
        make_container(&world.store(""), name);
    }
    assert_eq!(fail(&mut world.plyfs(["rm"])).0, 2);
    assert_eq!(fail(&mut world.plyfs(["rm", "--all", "one"])).0, 2);
    assert_eq!(succeed(&mut world.plyfs(["rm", "--all"])), "one\ntwo\n");
    assert_eq!(world.names("containers"), [""; 0]);
}

/// A container on the image `a:test`.
fn make_container(store: &std::path::Path, name: &str) {
    let store = plyfs_store::Store::open_existing(store).unwrap();
    let image = store.image("a:test").unwrap();
    let name = name.parse().unwrap();
    let ownership = plyfs_store::Ownership::Override;
    let container = store
        .create_container(Some(&name), &image, ownership)
        .unwrap();
    fs::write(container.upper.join("changes"), vec![1; 300_000]).unwrap();
}

#[test]
fn pruning_removes_leftovers_and_nothing_else() {
    let world = world();
    let before = counts(&world);
    assert_eq!(
        succeed(&mut world.plyfs(["prune"])),
        "removed 0 blobs and 0 layers, 0 B\n"
    );
    assert_eq!(counts(&world), before);
    fs::create_dir_all(world.store("staging/1-1/layer")).unwrap();
    let layer = world.store("layers/sha256").join("cd".repeat(32));
    fs::create_dir_all(layer.join("diff")).unwrap();
    let said = succeed(&mut world.plyfs(["prune", "--json"]));
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["layers"], 1);
    assert_eq!(counts(&world), before);
    assert_eq!(world.names("staging"), [""; 0]);
}

#[test]
fn what_rmi_left_goes_with_the_last_mount() {
    inside(this_test!(), || {
        let world = world();
        let second = world.path("second");
        fs::create_dir(&second).unwrap();
        mounted(&world, &["--ro", "a:test"], |_| {
            succeed(world.plyfs(["mount", "--ro", "a:test"]).arg(&second));
            succeed(&mut world.plyfs(["rmi", "--force", "a:test"]));
        });
        assert_eq!(counts(&world), (7, 3));
        succeed(world.plyfs(["umount"]).arg(&second));
        assert_eq!(counts(&world), (4, 2));
    });
}

#[test]
fn what_rmi_left_goes_with_the_last_command() {
    use std::process::Stdio;
    let test = this_test!();
    inside(test, || {
        let bash = match crate::support::program::bash() {
            Ok(layer) => layer,
            Err(why) => return skip(test, &why),
        };
        let world = World::new();
        world.with_image("box", &ImageBuilder::new().layer(bash, Compression::Gzip));
        let script = "echo started; read line";
        let mut run = world.plyfs(["run", "-i", "box:test", "bash", "-c", script]);
        let mut run = run
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 8];
        std::io::Read::read_exact(run.stdout.as_mut().unwrap(), &mut said).unwrap();
        succeed(&mut world.plyfs(["rmi", "--force", "box:test"]));
        assert_eq!(counts(&world), (3, 1));
        drop(run.stdin.take());
        run.wait().unwrap();
        assert_eq!(counts(&world), (0, 0));
    });
}

/// Fills a file system to its last byte.
fn fill(dir: &std::path::Path) {
    use std::io::Write;
    let append = |size: usize| {
        let block = vec![7_u8; size];
        let mut file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(dir.join("full"))
            .unwrap();
        while file.write_all(&block).is_ok() {}
        file.sync_all().unwrap_or_default();
    };
    for size in [1 << 20, 4096, 4096, 1] {
        append(size);
    }
    // Not even a directory can be made.
    for at in 0..100_000 {
        if fs::create_dir(dir.join(format!("more-{at}"))).is_err() {
            return;
        }
    }
}

fn free(dir: &std::path::Path) -> u64 {
    let stat = rustix::fs::statvfs(dir).unwrap();
    stat.f_bfree * stat.f_frsize
}

/// On a full file system everything can be removed, and what is removed gives its space back.
fn removes_when_full(dir: &std::path::Path) {
    let world = world();
    let store = dir.join("store");
    let command = |arguments: &[&str]| {
        let mut command = plyfs(["--store".as_ref(), store.as_os_str()]);
        command.args(arguments);
        command
    };
    for name in ["a", "b"] {
        let source = format!("oci:{}:test", world.path(name).display());
        succeed(&mut command(&[
            "import",
            "--ownership",
            "override",
            &source,
        ]));
    }
    make_container(&store, "box");
    fill(dir);
    let (_, said) = fail(&mut command(&[
        "import",
        "--name",
        "c",
        &format!("oci:{}:test", world.path("a").display()),
    ]));
    assert!(said.contains("No space left on device"), "{said}");
    let full = free(dir);
    succeed(&mut command(&["rm", "box"]));
    let after = free(dir);
    assert!(after >= full + 300_000, "rm: {full} {after}");
    fill(dir);
    // The name goes although no new index can be written beside the old one.
    succeed(&mut command(&["rmi", "b:test"]));
    let listed = succeed(&mut command(&["images"]));
    assert!(
        listed.contains("a:test") && !listed.contains("b:test"),
        "{listed}"
    );
    succeed(&mut command(&["fsck"]));
    fill(dir);
    succeed(&mut command(&["rmi", "a:test"]));
    assert!(free(dir) > full, "{full} {}", free(dir));
    assert_eq!(
        fs::read_dir(store.join("layers/sha256")).unwrap().count(),
        0
    );
    assert_eq!(fs::read_dir(store.join("staging")).unwrap().count(), 0);
}

#[test]
fn removing_needs_no_space_on_a_disk() {
    if !rustix::process::geteuid().is_root() {
        return skip(this_test!(), "only root has loop devices");
    }
    for kind in [
        &crate::support::file_system::EXT4,
        &crate::support::file_system::XFS,
    ] {
        if let Some(why) = kind.cannot() {
            skip(this_test!(), &why);
            continue;
        }
        let disk = crate::support::file_system::FileSystem::new(kind);
        removes_when_full(&disk.path());
    }
}

#[test]
fn removing_needs_no_space_in_memory() {
    inside(this_test!(), || {
        let tmp = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        succeed(
            mount
                .args(["-t", "tmpfs", "-o", "size=8m,nr_inodes=2000", "none"])
                .arg(tmp.path()),
        );
        removes_when_full(tmp.path());
        succeed(std::process::Command::new("umount").arg(tmp.path()));
    });
}

#[test]
fn imports_and_removals_at_once_leave_whole_images() {
    let world = world();
    let import = |name: &str| {
        let source = format!("oci:{}:test", world.path(name).display());
        let output = world.import(&source).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    thread::scope(|scope| {
        for name in ["a", "b"] {
            scope.spawn(move || {
                for _ in 0..15 {
                    import(name);
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..30 {
                // There may be none at the moment.
                world.plyfs(["rmi", "a:test"]).output().unwrap();
            }
        });
    });
    import("a");
    import("b");
    for name in ["a", "b"] {
        let target = format!(
            "docker-archive:{}",
            world.path(&format!("{name}.tar")).display()
        );
        succeed(&mut world.plyfs(["save", &format!("{name}:test"), &target]));
        let other = World::new();
        succeed(&mut other.import(&target));
    }
    assert_eq!(counts(&world), (7, 3));
    assert_eq!(world.names("staging"), [""; 0]);
}

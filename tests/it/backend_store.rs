//! Which backend serves images and containers, and that each can go on with what the other left.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::backend::{FUSE, KERNEL, told, unmount, xattr};
use crate::support::manifest::describe;
use crate::support::world::World;
use crate::support::*;
use plyfs_store::Compression;
use plyfs_store::fixture::{Entry, ImageBuilder, Layer};

/// A store with an image that both can serve, or why there cannot be one here.
fn world(layers: usize) -> Result<World, String> {
    let many = |file| {
        let map = fs::read_to_string(file).unwrap_or_default();
        map.split_whitespace().nth(2) != Some("1") || map.lines().count() > 1
    };
    if !many("/proc/self/uid_map") || !many("/proc/self/gid_map") {
        return Err("owners cannot be kept as they are with a single id".to_owned());
    }
    let world = World::new();
    let layer = |i: usize| {
        let entries = [
            Entry::dir("."),
            Entry::dir("d"),
            Entry::file(format!("d/{i}"), format!("{i}").repeat(5000)).owner(3, 4),
            Entry::file(format!("gone-{i}"), "x"),
            Entry::dir(format!("moved-{i}")),
            Entry::file(format!("moved-{i}/f"), "moved"),
            Entry::file("all", format!("{i}")),
        ];
        Layer::new(entries)
    };
    let image = (0..layers).fold(ImageBuilder::new(), |image, i| {
        image.layer(layer(i), Compression::Gzip)
    });
    let source = world.layout("box", &image);
    succeed(&mut world.plyfs(["import", &source]));
    Ok(world)
}

/// Runs a body in a namespace with such a store.
fn with_store(name: &str, layers: usize, body: impl FnOnce(&World)) {
    inside(name, || match world(layers) {
        Ok(world) => body(&world),
        Err(why) => skip(name, &why),
    });
}

fn place(world: &World, name: &str) -> PathBuf {
    let place = world.path(name);
    fs::create_dir_all(&place).unwrap();
    place
}

#[test]
fn a_container_goes_from_one_backend_to_the_other_and_back() {
    let name = this_test!();
    with_store(name, 3, |world| {
        let at = place(world, "mnt");
        let mut before: Option<String> = None;
        for round in 0..6 {
            let backend = ["kernel", "fuse"][round % 2];
            let mut mount = world.plyfs(["mount", "--backend", backend, "--container", "c"]);
            if round == 0 {
                mount.arg("box:test");
            }
            succeed(mount.arg(&at));
            let shown = describe(&at);
            if let Some(before) = &before {
                assert_eq!(before, &shown, "round {round}, {backend}");
            }
            fs::write(at.join(format!("new-{round}")), backend).unwrap();
            let lower = round % 3;
            fs::write(at.join(format!("d/{lower}")), format!("{round}")).unwrap();
            fs::remove_file(at.join(format!("gone-{lower}"))).ok();
            fs::remove_dir_all(at.join("remade")).ok();
            fs::create_dir(at.join("remade")).unwrap();
            fs::write(at.join(format!("remade/{round}")), "x").unwrap();
            let (from, to) = (format!("moved-{lower}"), format!("renamed-{round}"));
            match fs::rename(at.join(&from), at.join(&to)) {
                // The kernel's overlay has this form in a user namespace.
                Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
                    assert!(!is_initial_namespace() && backend == "kernel");
                }
                _ => {}
            }
            let all = fs::File::options()
                .append(true)
                .open(at.join("all"))
                .unwrap();
            std::io::Write::write_all(&mut &all, b"+").unwrap();
            drop(all);
            before = Some(describe(&at));
            unmount(&at);
        }
        assert_eq!(before.unwrap().matches("/new-").count(), 6);
    });
}

#[test]
fn a_container_that_the_kernel_serves_is_in_use() {
    with_store(this_test!(), 2, |world| {
        let (at, other) = (place(world, "mnt"), place(world, "other"));
        let mut mount = world.plyfs(["mount", "--backend", "kernel", "--container", "c"]);
        assert_eq!(succeed(mount.arg("box:test").arg(&at)), "c\n");
        assert_eq!(mount_type(&at), "overlay");
        let in_use = || succeed(&mut world.plyfs(["ps"])).contains("mounted on ");
        assert!(in_use());
        for backend in ["kernel", "fuse", "auto"] {
            let mut again = world.plyfs(["mount", "--backend", backend, "--container", "c"]);
            let (_, line) = fail(again.arg(&other));
            assert!(line.contains("in use"), "{line}");
            assert!(!is_mounted(&other));
        }
        for command in [&["rm", "c"][..], &["commit", "c", "x:1"]] {
            let (_, line) = fail(&mut world.plyfs(command));
            assert!(line.contains("in use"), "{line}");
        }
        fs::write(at.join("new"), "kept").unwrap();
        unmount(&at);
        assert!(!in_use());
        // Another program may have mounted the container with the kernel's overlay.
        let upper = world.store("containers/c/upper");
        let options = format!(
            "lowerdir={},upperdir={},workdir={}{}",
            other.display(),
            upper.display(),
            world.store("containers/c/work").display(),
            if is_initial_namespace() {
                ""
            } else {
                ",userxattr"
            }
        );
        let data = std::ffi::CString::new(options).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("overlay", &at, "overlay", flags, &*data).unwrap();
        let mut remove = world.plyfs(["rm", "c"]);
        let (_, line) = fail(&mut remove);
        assert!(line.contains("mounted by the kernel's overlay"), "{line}");
        let mut again = world.plyfs(["mount", "--container", "c"]);
        let (_, line) = fail(again.arg(&other));
        assert!(line.contains("in use"), "{line}");
        unmount(&at);
        succeed(&mut remove);
    });
}

const RECORD: &str = "user.containers.override_stat";

/// Makes the container `c`, which the kernel's overlay serves, and writes attributes in it that FUSE would take for
/// records.
fn forge_on_the_kernels_overlay(world: &World) {
    let at = place(world, "mnt");
    let mut mount = world.plyfs(["mount", "--backend", "kernel", "--container", "c"]);
    succeed(mount.arg("box:test").arg(&at));
    assert_eq!(mount_type(&at), "overlay");
    // The mark must exist before a process can write: a later mount must not trust the records in the container.
    let work = world.store("containers/c/work");
    let mark = rustix::fs::getxattr(work, "user.overlay.plyfs.kernel", &mut [0; 8][..]);
    assert_eq!(mark, Ok(1));
    for (name, record) in [
        ("device", "0:0:666:char-1-3"),
        ("set-uid", "0:0:4755"),
        ("moved/device", "0:0:666:block-7-0"),
    ] {
        fs::create_dir_all(at.join("moved")).unwrap();
        fs::write(at.join(name), "").unwrap();
        xattr(&at.join(name), RECORD, record.as_bytes());
    }
    xattr(&at, RECORD, b"0:0:4755");
    // The mark must be hidden from users of the mount, who could remove it otherwise.
    let mut names = [0; 1024];
    let length = rustix::fs::listxattr(&at, &mut names[..]).unwrap();
    let names = text(&names[..length]);
    assert!(!names.contains("plyfs.kernel"), "{names}");
    unmount(&at);
}

/// The names below a directory that are devices or have set-id bits.
fn risen(dir: &Path) -> Vec<String> {
    let mut command = Command::new("find");
    command.arg(dir).args(["-mindepth", "1"]);
    command.args([
        "(", "-type", "b", "-o", "-type", "c", "-o", "-perm", "/6000", ")",
    ]);
    let found = succeed(command.args(["-printf", "%P\n"]));
    found.lines().map(str::to_owned).collect()
}

/// FUSE and `commit` took what a container wrote on the kernel's overlay for records, and made devices
/// and set-uid files of root of it.
#[test]
fn a_container_cannot_forge_a_device_record_on_the_kernels_overlay() {
    let name = this_test!();
    with_store(name, 2, |world| {
        forge_on_the_kernels_overlay(world);
        let at = place(world, "mnt");
        let none: [&str; 0] = [];
        let shown = |arguments: &[&str]| {
            succeed(
                world
                    .plyfs(["mount", "--backend", "fuse"])
                    .args(arguments)
                    .arg(&at),
            );
            let found = risen(&at);
            let mut buffer = [0; 64];
            let got = rustix::fs::getxattr(at.join("device"), RECORD, &mut buffer[..]);
            assert_eq!(got, Err(rustix::io::Errno::NODATA), "{arguments:?}");
            let set = rustix::fs::setxattr(
                at.join("device"),
                RECORD,
                b"0:0:4755",
                rustix::fs::XattrFlags::empty(),
            );
            assert!(set.is_err(), "{arguments:?}");
            unmount(&at);
            found
        };
        // In a read-only mount the upper directory is a layer, which plyfs does not change.
        assert_eq!(shown(&["--ro", "--container", "c"]), none);
        // Read the container while it is mounted, by a process that does not hold its lock.
        let mut mount = world.plyfs(["mount", "--backend", "kernel", "--container", "c"]);
        succeed(mount.arg(&at));
        let listed = succeed(&mut world.plyfs(["diff", "c"]));
        assert!(listed.contains("A /moved/device"), "{listed}");
        unmount(&at);
        succeed(&mut world.plyfs(["commit", "c", "new:1"]));
        assert_eq!(shown(&["--ro", "new:1"]), none);
        assert_eq!(shown(&["--container", "c"]), none);
        // Both backends can serve it afterwards.
        for backend in ["kernel", "fuse", "auto"] {
            let mut mount = world.plyfs(["mount", "--backend", backend, "--container", "c"]);
            succeed(mount.arg(&at));
            assert_eq!(risen(&at), none, "{backend}");
            unmount(&at);
        }
    });
}

/// A container that the superuser of the machine has had served, opened in a user namespace, where
/// devices are records.
#[test]
fn a_container_of_the_superuser_forges_nothing_for_a_user_namespace() {
    let name = this_test!();
    with_store(name, 2, |world| {
        if !is_initial_namespace() {
            return skip(name, "not the superuser of the machine");
        }
        let at = place(world, "mnt");
        for backend in ["kernel", "fuse"] {
            let container = format!("of-{backend}");
            let mut mount = world.plyfs(["mount", "--backend", backend, "--container", &container]);
            succeed(mount.arg("box:test").arg(&at));
            fs::write(at.join("device"), "").unwrap();
            let set = rustix::fs::setxattr(
                at.join("device"),
                RECORD,
                b"0:0:666:char-1-3",
                rustix::fs::XattrFlags::empty(),
            );
            assert_eq!(set.is_ok(), backend == "kernel");
            unmount(&at);
            let script = "\"$0\" --store \"$1\" mount --backend fuse --container \"$2\" \"$3\" && \
                stat -c %F \"$3/device\"; \"$0\" umount \"$3\"";
            let mut command = Command::new("unshare");
            command.args(["-U", "-r", "-m", "sh", "-c", script, PLYFS]);
            command.arg(world.store("")).arg(&container).arg(&at);
            let said = succeed(&mut command);
            assert!(said.ends_with("regular empty file\n"), "{backend}: {said}");
        }
    });
}

/// The flags of what is mounted, and whether they are in this list.
fn has_flags(at: &Path, flags: [&str; 2]) -> [bool; 2] {
    let options = mount_options(at);
    flags.map(|flag| options.split(',').any(|option| option == flag))
}

/// Devices and set-uid programs of an image were those of the machine.
#[test]
fn mount_of_an_image_as_root_is_nodev_and_nosuid() {
    inside(this_test!(), || {
        // With a single id owners are in records, which FUSE alone serves.
        let (world, backends) = match world(2) {
            Ok(world) => (world, &["kernel", "fuse"][..]),
            Err(_) => {
                let world = World::new();
                let layer = Layer::new([Entry::file("f", "text")]);
                world.with_image("box", &ImageBuilder::new().layer(layer, Compression::Gzip));
                (world, &["fuse"][..])
            }
        };
        let at = place(&world, "mnt");
        let flags = ["nodev", "nosuid"];
        for backend in backends {
            for what in [&["--ro", "box:test"][..], &["--container", "c", "box:test"]] {
                for (options, expected) in [
                    ("rw", [true, true]),
                    ("dev", [false, true]),
                    ("suid", [true, false]),
                    ("dev,suid", [false, false]),
                ] {
                    let mut mount = world.plyfs(["mount", "--backend", backend, "-o", options]);
                    succeed(mount.args(what).arg(&at));
                    let found = has_flags(&at, flags);
                    assert_eq!(found, expected, "{backend} {what:?} {options}");
                    unmount(&at);
                }
            }
            // Layers outside the store belong to the user: plyfs adds no flags there.
            let layer = world.path("layer");
            fs::create_dir_all(&layer).unwrap();
            let other = world.path("other");
            fs::create_dir_all(&other).unwrap();
            let options = format!("lowerdir={}:{}", layer.display(), other.display());
            let mut mount = world.plyfs(["mount", "--backend", backend, "-o", &options]);
            succeed(mount.arg(&at));
            assert_eq!(has_flags(&at, flags), [false, false], "{backend}");
            unmount(&at);
        }
    });
}

/// A container has set-uid programs, and its devices in a file system of their own.
#[test]
fn a_container_runs_on_nodev_and_not_on_nosuid() {
    let name = this_test!();
    inside(name, || {
        let layer = match crate::support::program::bash() {
            Ok(layer) => layer,
            Err(why) => return skip(name, &why),
        };
        let world = World::new();
        let image = ImageBuilder::new().layer(layer, Compression::Gzip);
        let source = world.layout("box", &image);
        succeed(&mut world.plyfs(["import", &source]));
        for backend in ["kernel", "fuse"] {
            let script = "while read -r line; do echo \"$line\"; done </proc/self/mountinfo";
            let mut run = world.plyfs(["run", "--backend", backend, "box:test"]);
            let output = run.args(["/bin/bash", "-c", script]).output().unwrap();
            if !output.status.success() && backend == "kernel" {
                skip(name, &text(&output.stderr));
                continue;
            }
            let said = text(&output.stdout);
            assert!(output.status.success(), "{}", text(&output.stderr));
            let root = said
                .lines()
                .find(|line| line.split(' ').nth(4) == Some("/"));
            let options = root.unwrap().split(' ').nth(5).unwrap();
            assert!(options.split(',').any(|option| option == "nodev"), "{said}");
            assert!(
                !options.split(',').any(|option| option == "nosuid"),
                "{said}"
            );
        }
    });
}

#[test]
fn an_image_that_the_kernel_serves_is_kept() {
    // A single layer is a stack with an empty directory below.
    with_store(this_test!(), 1, |world| {
        let at = place(world, "mnt");
        let mut mount = world.plyfs(["mount", "--backend", "kernel", "--ro", "box:test"]);
        succeed(mount.arg(&at));
        assert_eq!(mount_type(&at), "overlay");
        let shown = describe(&at);
        let (_, line) = fail(&mut world.plyfs(["rmi", "box:test"]));
        assert!(line.contains("in use"), "{line}");
        succeed(&mut world.plyfs(["rmi", "--force", "box:test"]));
        assert_eq!(world.names("layers/sha256").len(), 1);
        assert_eq!(describe(&at), shown);
        unmount(&at);
    });
}

#[test]
fn containers_and_images_are_chosen_for() {
    with_store(this_test!(), 1, |world| {
        let at = place(world, "mnt");
        let chosen = |arguments: &[&str], backend: &str, why: &str| {
            let mut command = world.plyfs(["--verbose", "mount"]);
            command.args(arguments).arg(&at).env_remove("PLYFS_BACKEND");
            let said = told(&mut command);
            assert!(
                said.contains(&format!("mounting with {backend}: ")),
                "{said}"
            );
            assert!(said.contains(why), "{said}");
            unmount(&at);
        };
        chosen(&["--ro", "box:test"], KERNEL, "all that");
        chosen(&["--container", "c", "box:test"], KERNEL, "all that");
        let volatile = ["-o", "volatile", "--container", "c"];
        chosen(&volatile, FUSE, "the mark of a volatile mount");
        if !is_initial_namespace() {
            // What is to be a device there is a record. That it is one of plyfs is known where the kernel's
            // overlay has never served the container, as in stores from before that was kept.
            let mut mount = world.plyfs(["mount", "--backend", "fuse", "--container", "d"]);
            succeed(mount.arg("box:test").arg(&at));
            unmount(&at);
            let device = world.store("containers/d/upper/null");
            fs::write(&device, "").unwrap();
            xattr(
                &device,
                "user.containers.override_stat",
                b"0:0:0666:char-1-3",
            );
            chosen(
                &["--container", "d"],
                FUSE,
                "is a device in an override_stat record",
            );
            let mut mount = world.plyfs(["mount", "--backend", "fuse", "--container", "d"]);
            succeed(mount.arg(&at));
            let kind = fs::symlink_metadata(at.join("null")).unwrap().file_type();
            assert!(kind.is_char_device(), "{kind:?}");
            unmount(&at);
        }
        let index = world.store("containers/c/work/index");
        if !is_initial_namespace() {
            fs::create_dir_all(index).unwrap();
            chosen(&["--container", "c"], FUSE, "the index");
        }
        // The record of this layer does not say in which attribute the opaque directory has its mark.
        let layer = Layer::new([Entry::dir("d"), Entry::opaque("d")]);
        let image = ImageBuilder::new().layer(layer, Compression::Gzip);
        let source = world.layout("opaque", &image);
        succeed(&mut world.plyfs(["import", &source]));
        chosen(&["--ro", "opaque:test"], KERNEL, "all that");
        for layer in world.names("layers/sha256") {
            let path = world.store(&format!("layers/sha256/{layer}/layer.json"));
            let json = fs::read_to_string(&path).unwrap();
            assert!(json.contains("\"trusted\":"), "{json}");
            // Such a record had no seal either.
            let (unsealed, _) = json.split_once(",\"seal\":").unwrap();
            let older = format!("{unsealed}}}")
                .replace("\"trusted\":true,", "")
                .replace("\"trusted\":false,", "");
            fs::write(&path, older).unwrap();
        }
        chosen(
            &["--ro", "opaque:test"],
            FUSE,
            "attributes that the kernel does not read",
        );
        // Owners in records.
        let source = world.layout("records", &image);
        let mut import = world.plyfs(["import", "--ownership", "override", "--name", "r:1"]);
        let other = ImageBuilder::new().layer(
            Layer::new([Entry::file("records", "x").owner(5, 5)]),
            Compression::Gzip,
        );
        drop(source);
        succeed(import.arg(world.layout("records2", &other)));
        chosen(&["--ro", "r:1"], FUSE, "override_stat records");
    });
}

/// The kernel lists a directory that only one layer has as it is, with whiteouts that hide nothing.
#[test]
fn a_whiteout_of_nothing_shows_no_name() {
    let name = this_test!();
    // Root of the machine keeps owners as they are; a namespace of one id cannot.
    match rustix::process::geteuid().is_root() {
        true => whiteouts_of_nothing(&World::new()),
        false => with_store(name, 1, whiteouts_of_nothing),
    }
}

fn whiteouts_of_nothing(world: &World) {
    let image = |layers: [Layer; 2]| {
        let add = |image: ImageBuilder, layer| image.layer(layer, Compression::Gzip);
        layers.into_iter().fold(ImageBuilder::new(), add)
    };
    let marks = Layer::new([
        Entry::whiteout("d/gone"),
        Entry::dir("own"),
        Entry::file("own/file", "x"),
        Entry::whiteout("own/nothing"),
        Entry::whiteout("no/such/thing"),
    ]);
    let base = Layer::new([Entry::dir("d"), Entry::file("d/gone", "x")]);
    let lower = Layer::new([Entry::dir("own"), Entry::file("own/nothing", "x")]);
    let top = Layer::new([Entry::file("top", "x")]);
    for (name, layers) in [
        ("base", [base, marks.clone()]),
        // The same layer as the lowest hides nothing at all, and on top of a third it does.
        ("lowest", [marks.clone(), top]),
        ("hides", [lower, marks]),
    ] {
        let source = world.layout(name, &image(layers));
        succeed(world.plyfs(["import", &source]).args(["--name", name]));
        for backend in ["kernel", "fuse"] {
            assert_eq!(
                listed(world, name, backend),
                "own/file\n",
                "{name} {backend}"
            );
        }
    }
}

/// What some directories of an image hold, mounted where only this can be seen.
fn listed(world: &World, image: &str, backend: &str) -> String {
    let script = "\"$0\" --store \"$1\" mount --ro --backend \"$2\" \"$3\" \"$4\"; \
        (cd \"$4\"; find d own no/such -mindepth 1 | sort); \"$0\" umount \"$4\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-euc", script, PLYFS]);
    command.arg(world.store(""));
    succeed(command.args([backend, image]).arg(place(world, "mnt")))
}

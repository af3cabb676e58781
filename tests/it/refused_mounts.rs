//! Mounts that cannot be: refused by either backend, with one line that says why and nothing left
//! mounted.

use std::fs;
use std::path::Path;

use crate::support::world::World;
use crate::support::*;
use plyfs_store::Compression;
use plyfs_store::fixture::{Entry, ImageBuilder, Layer};

const BACKENDS: [&str; 3] = ["auto", "kernel", "fuse"];

/// What is mounted in the temporary directory that this path lies in. What others mount meanwhile comes to this
/// namespace, too.
fn mounts_beside(path: &Path) -> Vec<String> {
    let tmp = std::env::temp_dir().canonicalize().unwrap();
    let path = path.canonicalize().unwrap();
    let is_own = |dir: &&Path| dir.parent() == Some(&tmp);
    let own = path.ancestors().find(is_own).unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    let is_in_own = |place: &&str| Path::new(place).starts_with(own);
    places.filter(is_in_own).map(str::to_owned).collect()
}

/// Expects every backend to refuse these options for these words.
#[track_caller]
fn refused(options: &str, target: &Path, words: &[&str]) {
    refused_with(1, options, target, words);
}

#[track_caller]
fn refused_with(expected: i32, options: &str, target: &Path, words: &[&str]) {
    let before = mounts_beside(target);
    for backend in BACKENDS {
        let mut command = plyfs(["mount", "--backend", backend, "-o", options]);
        let (status, line) = fail(command.arg(target));
        assert_eq!(status, expected, "{backend}: {line}");
        for word in words {
            assert!(line.contains(word), "{backend}: {word:?} is not in: {line}");
        }
        assert!(!line.contains("os error"), "{line}");
        assert_eq!(mounts_beside(target), before, "{backend}: {line}");
    }
}

#[test]
fn layers_that_cannot_be_are_refused() {
    inside(this_test!(), || {
        let stack = Stack::new(2);
        let at = stack.merged("");
        let path = |below: &str| stack.path(below).display().to_string();
        let (lower, work) = (path("lower0"), path("work"));
        fs::create_dir(stack.lower(0, "inner")).unwrap();
        let elsewhere = path("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("none", &elsewhere, "tmpfs", flags, None).unwrap();
        for (lower, upper, work, words) in [
            (
                "/no/such",
                &*path("upper"),
                &*work,
                ["/no/such", "No such file"],
            ),
            (&*lower, "/no/such", &work, ["/no/such", "No such file"]),
            (
                &lower,
                &path("upper"),
                "/no/such",
                ["/no/such", "No such file"],
            ),
            (&lower, &path("lower0/inner"), &work, ["overlap", "lower0"]),
            (
                &lower,
                &path("upper"),
                &path("lower0/inner"),
                ["overlap", "lower0"],
            ),
            (&lower, &path("upper"), &path("upper"), ["overlap", "upper"]),
            (
                &lower,
                &elsewhere,
                &work,
                ["not on one file system", "elsewhere"],
            ),
        ] {
            let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
            refused(&options, &at, &words);
        }
        rustix::mount::unmount(&elsewhere, rustix::mount::UnmountFlags::DETACH).unwrap();
        refused_with(2, "ro", &at, &["nothing to mount"]);
        let options = format!("lowerdir={lower},upperdir={}", path("upper"));
        refused(&options, &at, &["work directory"]);
    });
}

/// A process that walks through the lower directory would come to the mount, which shows that directory.
#[test]
fn a_mount_in_its_own_layer_is_refused() {
    inside(this_test!(), || {
        let stack = Stack::new(1);
        let (upper, work) = (stack.upper(""), stack.path("work"));
        let changes = format!("upperdir={},workdir={}", upper.display(), work.display());
        let parent = stack.path("");
        let options = format!("lowerdir={}", parent.display());
        refused(
            &options,
            &stack.merged(""),
            &["inside the lower directory", "merged"],
        );
        refused(
            &format!("lowerdir=/,{changes}"),
            &stack.merged(""),
            &["inside the lower"],
        );
        for place in [
            stack.upper("in"),
            stack.path("work/in"),
            stack.lower(0, "in"),
        ] {
            fs::create_dir(&place).unwrap();
            refused(&stack.options(), &place, &["inside the", "contain itself"]);
        }
        // A link does not hide it.
        let link = stack.path("link");
        std::os::unix::fs::symlink(stack.lower(0, ""), &link).unwrap();
        refused(
            &stack.options(),
            &link.join("in"),
            &["inside the lower directory"],
        );
    });
}

/// Users who want to try changes of a whole machine bind its root somewhere, and use that as a layer.
#[test]
fn a_layer_by_way_of_another_mount_does_not_contain_the_mount() {
    let name = this_test!();
    inside(name, || {
        let stack = Stack::new(1);
        put(&stack.lower(0, "file"), "lower");
        let (lower, bound) = (stack.path("lower0"), stack.path("bound"));
        let place = stack.lower(0, "in");
        fs::create_dir(&place).unwrap();
        fs::create_dir(&bound).unwrap();
        refused(&stack.options(), &place, &["inside the lower directory"]);
        rustix::mount::mount_bind(&lower, &bound).unwrap();
        let (lower, bound) = (lower.display().to_string(), bound.display().to_string());
        let options = stack.options().replace(&lower, &bound);
        for backend in BACKENDS {
            let mut command = plyfs(["mount", "--backend", backend, "-o", &options]);
            succeed(command.arg(&place));
            assert_eq!(fs::read(place.join("file")).unwrap(), b"lower");
            succeed(plyfs(["umount"]).arg(&place));
        }
        rustix::mount::unmount(&bound, rustix::mount::UnmountFlags::DETACH).unwrap();
    });
}

/// Shared mounts propagate a later mount to each other; under systemd all mounts are shared. A daemon that reads
/// such a layer would wait for itself.
#[test]
fn a_mount_that_is_shared_with_its_layer_is_refused() {
    inside(this_test!(), || {
        use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change};
        let stack = Stack::new(1);
        let (lower, place) = (stack.path("lower0"), stack.lower(0, "in"));
        fs::create_dir(&place).unwrap();
        let [bound, follower, last] = ["bound", "follower", "last"].map(|name| stack.path(name));
        mount_bind(&lower, &lower).unwrap();
        mount_change(&lower, MountPropagationFlags::SHARED).unwrap();
        // A peer, a slave, and a slave of that slave (mount_namespaces(7)).
        for (dir, from) in [(&bound, &lower), (&follower, &lower), (&last, &follower)] {
            fs::create_dir(dir).unwrap();
            mount_bind(from, dir).unwrap();
            if dir != &bound {
                mount_change(dir, MountPropagationFlags::DOWNSTREAM).unwrap();
                mount_change(dir, MountPropagationFlags::SHARED).unwrap();
            }
        }
        let words = ["inside the lower directory", "contain itself"];
        for layer in [&bound, &follower, &last] {
            let (lower, layer) = (lower.display().to_string(), layer.display().to_string());
            let options = stack.options().replace(&lower, &layer);
            refused(&options, &place, &words);
        }
        for dir in [&last, &follower, &bound, &lower] {
            rustix::mount::unmount(dir, UnmountFlags::DETACH).unwrap();
        }
    });
}

#[test]
fn a_busy_mount_point_is_refused() {
    inside(this_test!(), || {
        for backend in ["kernel", "fuse"] {
            let (stack, other) = (Stack::new(2), Stack::new(2));
            let at = stack.merged("");
            let options = format!("{},backend={backend}", stack.options());
            succeed(plyfs(["mount", "-o", &options]).arg(&at));
            refused(&other.options(), &at, &["busy", "unmount it first"]);
            refused(&stack.options(), &other.merged(""), &["in use"]);
            succeed(plyfs(["umount"]).arg(&at));
            assert!(!is_mounted(&at));
        }
    });
}

#[test]
fn an_upper_that_cannot_serve_is_refused() {
    inside(this_test!(), || {
        let stack = Stack::new(2);
        let at = stack.merged("");
        let lower = stack.lower(0, "");
        let lower = lower.display();
        let options = format!("lowerdir={lower},upperdir=/proc/self,workdir=/proc/self/task");
        refused(&options, &at, &["/proc/self"]);
    });
}

#[test]
fn what_is_not_in_the_store_is_refused() {
    inside(this_test!(), || {
        let world = World::new();
        let layer = Layer::new([Entry::dir("."), Entry::file("f", "x")]);
        let image = ImageBuilder::new().layer(layer, Compression::Gzip);
        world.with_image("good", &image);
        let at = world.path("here");
        fs::create_dir(&at).unwrap();
        let before = mounts_beside(&at);
        for backend in BACKENDS {
            for (arguments, word) in [
                (&["nope:test"][..], "nope:test"),
                (&["--container", "nope"], "\"nope\""),
                (&["--ro", "nope"], "nope"),
            ] {
                let mut mount = world.plyfs(["mount", "--backend", backend]);
                let (status, line) = fail(mount.args(arguments).arg(&at));
                assert_eq!(status, 1, "{line}");
                assert!(line.contains(word), "{line}");
            }
            let mut run = world.plyfs(["run", "--backend", backend, "nope:test", "true"]);
            let (status, line) = fail(&mut run);
            assert_eq!(status, 125, "{line}");
            // A refused mount leaves no container.
            let mut mount = world.plyfs(["mount", "--backend", backend, "-o", "uidmapping=0:0:1"]);
            mount.args(["-o", "context=x", "good:test"]).arg(&at);
            let (_, line) = fail(&mut mount);
            let word = if backend == "kernel" {
                "show other owners"
            } else {
                "context=x"
            };
            assert!(line.contains(word), "{line}");
            assert!(world.names("containers").is_empty(), "{line}");
        }
        assert_eq!(mounts_beside(&at), before);
    });
}

#[test]
fn a_machine_that_lets_nothing_be_mounted_says_so() {
    inside(this_test!(), || {
        let world = World::new();
        let layer = Layer::new([Entry::dir("."), Entry::file("f", "x")]);
        let image = ImageBuilder::new().layer(layer, Compression::Gzip);
        world.with_image("good", &image);
        let (store, at) = (world.store(""), world.path("here"));
        fs::create_dir(&at).unwrap();
        let (store, at) = (store.to_str().unwrap(), at.to_str().unwrap());
        for (command, words) in [
            (
                "exec \"$0\" --store \"$1\" run good:test true",
                ["user namespace", "user.max_user_namespaces"],
            ),
            (
                "exec \"$0\" unshare true",
                ["user namespace", "user.max_user_namespaces"],
            ),
            (
                "PATH=/none; exec \"$0\" --store \"$1\" mount --ro good:test \"$2\"",
                ["install fusermount3", "plyfs unshare"],
            ),
            (
                "exec \"$0\" --store \"$1\" mount --backend kernel --ro good:test \"$2\"",
                ["kernel's overlay cannot serve", "ordinary user"],
            ),
        ] {
            let Some(mut command) = without_anything(command, &[store, at]) else {
                let name = this_test!();
                return skip(name, "there is no setpriv");
            };
            let (status, line) = fail(&mut command);
            assert!(status == 1 || status == 125, "{status}: {line}");
            for word in words {
                assert!(line.contains(word), "{word:?} is not in: {line}");
            }
        }
    });
}

//! Records that a container forges on the kernel's overlay.

use super::*;

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

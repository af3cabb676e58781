//! Live records that are lost, old or cannot be written.

use super::*;

/// Whatever is killed, and whenever, leaves a stale file at most, and listing removes that.
#[test]
fn a_mount_that_is_killed_at_any_moment_leaves_no_live_record() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let at = place(&world, "mnt");
    for round in 0..40 {
        let script =
            "exec \"$0\" mount --foreground -q --backend fuse --container c box:test \"$1\"";
        let mut command = unshare(&world, script, &[at.to_str().unwrap()]);
        let mut mount = command.stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(fastrand::u64(0..60_000)));
        mount.kill().unwrap();
        mount.wait().unwrap();
        assert_nothing_live(&world);
        if round % 8 == 7 {
            // Neither is anything in the way of the next one.
            assert!(strand(
                test,
                &world,
                "fuse",
                &["--container", "c", "box:test"],
                &at
            ));
            succeed(&mut world.plyfs(["stop", "c"]));
        }
    }
    assert_nothing_live(&world);
}

#[test]
fn a_store_that_is_read_only_can_be_mounted_from() {
    let test = this_test!();
    inside(test, || {
        let Some(world) = world(test) else { return };
        let (store, at) = (world.store(""), place(&world, "mnt"));
        succeed(Command::new("mount").arg("--bind").args([&store, &store]));
        succeed(
            Command::new("mount")
                .args(["-o", "remount,bind,ro"])
                .arg(&store),
        );
        let output = world.plyfs(["mount", "--ro", "box:test"]).arg(&at).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "");
        assert_eq!(fs::read_to_string(at.join("a")).unwrap(), "a");
        assert_eq!(listed(&world).len(), 0);
        succeed(world.plyfs(["umount"]).arg(&at));
        succeed(Command::new("umount").arg(&store));
    });
}

#[test]
fn a_store_of_an_older_version_is_mounted_from() {
    let test = this_test!();
    inside(test, || {
        let Some(world) = world(test) else { return };
        fs::remove_dir(world.store("live")).unwrap();
        assert_eq!(listed(&world).len(), 0);
        let at = place(&world, "mnt");
        succeed(world.plyfs(["mount", "--ro", "box:test"]).arg(&at));
        assert_eq!(listed(&world).len(), 1);
        succeed(world.plyfs(["umount"]).arg(&at));
        assert_nothing_live(&world);
    });
}

#[test]
fn what_is_mounted_here_is_unmounted_without_a_store() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        stack.mount();
        let mut umount = plyfs(["umount"]);
        for name in ["HOME", "XDG_DATA_HOME", "PLYFS_STORE"] {
            umount.env_remove(name);
        }
        succeed(umount.arg(stack.merged("")));
        assert!(!is_mounted(&stack.merged("")));
    });
}

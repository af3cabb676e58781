//! What is in use, and who uses it.

use super::*;

#[test]
fn what_is_in_use_names_its_process_and_how_to_end_it() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let (at, other) = (place(&world, "mnt"), place(&world, "other"));
    for backend in BACKENDS {
        if !strand(
            test,
            &world,
            backend,
            &["--container", "c", "box:test"],
            &at,
        ) {
            continue;
        }
        let wanted = format!(
            "the container \"c\" is in use: mounted on {} by process {} in another mount \
             namespace; end that first (\"plyfs umount c\")",
            at.display(),
            pid(&row(&world, "c"))
        );
        let other = other.to_str().unwrap();
        let mount = format!("\"$0\" mount --container c {other}");
        for mut command in [
            world.plyfs(["rm", "c"]),
            world.plyfs(["commit", "c", "x:1"]),
            world.plyfs(["run", "--container", "c", "box:test", "sh"]),
            unshare(&world, &mount, &[]),
        ] {
            let (_, line) = fail(&mut command);
            assert!(line.contains(&wanted), "{command:?}: {line}");
        }
        let (_, line) = fail(&mut world.plyfs(["rm", "c"]));
        assert!(line.ends_with(", or remove it with rm --force"), "{line}");
        succeed(&mut world.plyfs(["rm", "--force", "c"]));
    }
}

#[test]
fn rm_force_ends_what_uses_a_container() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let at = place(&world, "mnt");
    for backend in BACKENDS {
        if !strand(
            test,
            &world,
            backend,
            &["--container", "c", "box:test"],
            &at,
        ) {
            continue;
        }
        let daemon = pid(&row(&world, "c"));
        assert_eq!(succeed(&mut world.plyfs(["rm", "--force", "c"])), "c\n");
        assert!(!is_alive(daemon));
        assert_eq!(world.names("containers"), [""; 0]);
        assert_nothing_live(&world);
    }
    let (_, line) = fail(&mut world.plyfs(["rm", "c"]));
    assert!(line.contains("there is no container \"c\""), "{line}");
    // As in Podman, what is not there is gone.
    assert_eq!(succeed(&mut world.plyfs(["rm", "--force", "c"])), "");
}

#[test]
fn a_killed_daemon_leaves_no_live_record() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let at = place(&world, "mnt");
    for backend in BACKENDS {
        if !strand(
            test,
            &world,
            backend,
            &["--container", "c", "box:test"],
            &at,
        ) {
            continue;
        }
        let daemon = pid(&row(&world, "c"));
        kill_process(daemon, Signal::KILL).unwrap();
        wait_until("the daemon ends", || listed(&world)[0]["in_use"] == false);
        assert_nothing_live(&world);
        succeed(&mut world.plyfs(["rm", "c"]));
    }
}

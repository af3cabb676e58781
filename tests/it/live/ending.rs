//! Ending what is mounted.

use super::*;

#[test]
fn stop_unmounts_what_is_only_mounted() {
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
        let (status, line) = fail(&mut world.plyfs(["kill", "c"]));
        assert!(status == 125 && line.contains("only running"), "{line}");
        assert_eq!(succeed(&mut world.plyfs(["stop", "c"])), "c\n");
        assert_nothing_live(&world);
        // As in Podman, what does not run is stopped.
        assert_eq!(succeed(&mut world.plyfs(["stop", "c"])), "c\n");
        let (status, line) = fail(&mut world.plyfs(["kill", "c"]));
        assert!(status == 125 && line.contains("does not run"), "{line}");
        succeed(&mut world.plyfs(["rm", "c"]));
    }
    let (status, line) = fail(&mut world.plyfs(["stop", "c"]));
    assert!(
        status == 125 && line.contains("no container \"c\""),
        "{line}"
    );
}

/// The daemon detaches it: it cannot know before whether that is in use elsewhere.
#[test]
fn what_is_still_used_in_another_namespace_is_said() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let at = place(&world, "mnt");
    for backend in BACKENDS {
        for lazy in [false, true] {
            let script = "\"$0\" mount -q --backend \"$1\" --container c box:test \"$2\" && \
                          cd \"$2\" && exec cat";
            let mut inner = unshare(&world, script, &[backend, at.to_str().unwrap()])
                .stdin(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let is_mounted = || listed(&world).iter().any(|row| row["in_use"] == true);
            while !is_mounted() && inner.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(10));
            }
            if backend == "kernel" && inner.try_wait().unwrap().is_some() {
                skip(&format!("{test} (kernel)"), "it cannot serve this mount");
                break;
            }
            let cwd = || fs::read_link(format!("/proc/{}/cwd", inner.id()));
            // A process in another user namespace keeps it back; then time has to do.
            wait_until("it is there", || cwd().map_or(true, |cwd| cwd == at));
            std::thread::sleep(Duration::from_millis(100));
            let daemon = pid(&row(&world, "c"));
            let start = Instant::now();
            let mut umount = world.plyfs(["umount"]);
            if lazy {
                succeed(umount.arg("--lazy").arg(&at));
                assert!(start.elapsed() < Duration::from_secs(3));
            } else {
                let (_, line) = fail(umount.arg(&at));
                let wanted =
                    format!("something still uses it in its mount namespace; process {daemon}");
                assert!(line.contains(&wanted), "{line}");
            }
            assert!(is_alive(daemon));
            drop(inner.stdin.take());
            inner.wait().unwrap();
            wait_until("the daemon ends", || !is_alive(daemon));
            assert_nothing_live(&world);
        }
    }
    world.plyfs(["rm", "c"]).output().unwrap();
}

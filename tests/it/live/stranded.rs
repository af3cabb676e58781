//! Mounts of other mount namespaces.

use super::*;

#[test]
fn a_mount_stranded_in_an_ended_unshare_can_be_unmounted_from_outside() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let at = place(&world, "mnt");
    for backend in BACKENDS {
        for by_name in [false, true] {
            let name = format!("{backend}-{by_name}");
            let what = ["--container", &name, "box:test"];
            if !strand(test, &world, backend, &what, &at) {
                continue;
            }
            let daemon = pid(&row(&world, &name));
            assert!(is_alive(daemon));
            let mut umount = world.plyfs(["umount"]);
            match by_name {
                true => umount.arg(&name),
                false => umount.arg(&at),
            };
            succeed(&mut umount);
            assert!(!is_alive(daemon));
            assert_nothing_live(&world);
            let new = world.store(&format!("containers/{name}/upper/new"));
            assert_eq!(fs::read_to_string(new).unwrap(), "data\n");
            succeed(&mut world.plyfs(["rm", &name]));
        }
    }
    let (_, line) = fail(world.plyfs(["umount"]).arg(&at));
    assert!(line.contains("cannot unmount"), "{line}");
}

#[test]
fn a_stranded_mount_can_be_unmounted_from_another_unshare() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let at = place(&world, "mnt");
    for backend in BACKENDS {
        if strand(test, &world, backend, &["--ro", "box:test"], &at) {
            let daemon = pid(&listed(&world)[0]);
            succeed(&mut unshare(
                &world,
                "\"$0\" umount \"$1\"",
                &[at.to_str().unwrap()],
            ));
            assert!(!is_alive(daemon));
            assert_nothing_live(&world);
        }
    }
}

/// Inside, a mount of the outer namespace is there and cannot be unmounted (mount_namespaces(7)).
#[test]
fn a_mount_of_the_outer_namespace_can_be_unmounted_in_an_unshare() {
    let test = this_test!();
    inside(test, || {
        let Some(world) = world(test) else { return };
        let at = place(&world, "mnt");
        let at = at.to_str().unwrap();
        succeed(&mut world.plyfs(["mount", "-q", "--container", "c", "box:test", at]));
        let daemon = pid(&row(&world, "c"));
        let mut inner = Command::new("unshare");
        inner.args(["--user", "--map-root-user", "--mount", PLYFS, "--store"]);
        inner.arg(world.store("")).args(["umount", at]);
        let output = inner.output().unwrap();
        // The inner namespace had a copy, which went with it.
        wait_until("the daemon ends", || !is_alive(daemon));
        assert!(!is_mounted(Path::new(at)), "{}", text(&output.stderr));
        assert_nothing_live(&world);
    });
}

#[test]
fn ps_shows_mounts_of_other_namespaces_with_their_process() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let (one, two) = (place(&world, "one"), place(&world, "two"));
    for backend in BACKENDS {
        if !strand(
            test,
            &world,
            backend,
            &["--container", "c", "box:test"],
            &one,
        ) {
            continue;
        }
        assert!(strand(test, &world, backend, &["--ro", "box:test"], &two));
        let rows = listed(&world);
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert_eq!(rows[0]["name"], "c");
        for (row, at) in rows.iter().zip([&one, &two]) {
            assert_eq!(row["status"], "mounted");
            assert_eq!(row["in_use"], true);
            assert_eq!(row["image"], "box:test");
            assert_eq!(row["target"], at.to_str().unwrap());
            assert_eq!(row["here"], false);
            assert_eq!(row["backend"], backend);
            for namespace in ["mnt", "user"] {
                use std::os::unix::fs::MetadataExt;
                let path = format!("/proc/{}/ns/{namespace}", pid(row));
                // Of a process in another user namespace that may be kept back.
                if let Ok(ns) = fs::metadata(path) {
                    assert_eq!(row["namespace"][namespace], ns.ino());
                }
            }
        }
        let table = succeed(&mut world.plyfs(["ps"]));
        for (row, at) in rows.iter().zip([&one, &two]) {
            let wanted = format!("mounted on {} (another mount namespace)", at.display());
            let line = table.lines().find(|line| line.contains(&wanted)).unwrap();
            assert!(line.ends_with(&format!("  {}", pid(row))), "{table}");
        }
        for at in [&one, &two] {
            succeed(world.plyfs(["umount"]).arg(at));
        }
        succeed(&mut world.plyfs(["rm", "c"]));
        assert_nothing_live(&world);
    }
}

/// The process that mounts is not the one that serves: the record must name the latter.
#[test]
fn ps_names_the_daemon_and_not_the_command_that_mounted() {
    let test = this_test!();
    inside(test, || {
        let Some(world) = world(test) else { return };
        let at = place(&world, "mnt");
        succeed(
            world
                .plyfs(["mount", "-q", "--container", "c", "box:test"])
                .arg(&at),
        );
        let row = row(&world, "c");
        assert_eq!(pid(&row), daemon_of(&at).unwrap());
        assert_eq!(row["here"], true);
        let table = succeed(&mut world.plyfs(["ps"]));
        assert!(
            table.contains(&format!("mounted on {}  ", at.display())),
            "{table}"
        );
        succeed(&mut world.plyfs(["umount", "c"]));
        assert!(!is_mounted(&at));
        assert_nothing_live(&world);
    });
}

#[test]
fn a_directory_that_is_mounted_on_in_two_namespaces_is_not_guessed() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let at = place(&world, "mnt");
    for name in ["one", "two"] {
        assert!(strand(
            test,
            &world,
            "fuse",
            &["--container", name, "box:test"],
            &at
        ));
    }
    let (_, line) = fail(world.plyfs(["umount"]).arg(&at));
    for name in ["one", "two"] {
        let daemon = pid(&row(&world, name));
        let wanted = format!("{name} (box:test) by process {daemon}");
        assert!(line.contains(&wanted), "{line}");
        assert!(is_alive(daemon));
    }
    for name in ["one", "two"] {
        succeed(&mut world.plyfs(["umount", name]));
    }
    assert_nothing_live(&world);
}

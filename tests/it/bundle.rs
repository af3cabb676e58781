//! `plyfs bundle`: a directory that other runtimes take.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::shell::world;
use crate::support::*;
use rustix::process::{Pid, Signal, kill_process};

/// Runs commands of a shell in which `$PLYFS` works in this store and mounting is allowed.
fn unshared(world: &world::World, text: &str) -> Command {
    let mut command = plyfs(["unshare", "sh", "-e", "-c", text]);
    command.env("PLYFS", PLYFS);
    command.env("PLYFS_STORE", world.store(""));
    command.env("DIR", world.path("bundle"));
    command.env("STATE", world.path("state"));
    command
}

#[test]
fn another_runtime_runs_a_bundle() {
    let test = this_test!();
    if !tools::has("runc") {
        return skip(test, "there is no runc");
    }
    let Some(world) = world(test) else { return };
    let text =
        "$PLYFS bundle --hostname bx box:test $DIR sh -c 'hostname; echo $HOME; echo new >/new' >&2
        ls $DIR
        runc --root $STATE run --bundle $DIR bx-$$
        $PLYFS umount $DIR
        ls $DIR $DIR/rootfs";
    let said = succeed(&mut unshared(&world, text));
    let files = "config.json\nhostname\nhosts\nresolv.conf\nrootfs\n";
    let dir = world.path("bundle").display().to_string();
    let expected = format!("{files}bx\n/root\n{dir}:\n{files}\n{dir}/rootfs:\n");
    assert_eq!(said, expected);
    // The container stays, with the changes that the program made.
    let names = world.names("containers");
    assert_eq!(names.len(), 1);
    let changes = succeed(&mut world.plyfs(["diff", &names[0]]));
    assert!(changes.contains("A /new"), "{changes}");
}

#[test]
fn a_bundle_that_cannot_be_made_leaves_nothing() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let dir = world.path("bundle");
    for arguments in [
        &["no-such-image"][..],
        &["--user", "no-such-user", "box:test"],
        &["box:test"],
    ] {
        let mut words: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        words.push("$DIR".to_owned());
        // The last one has no command, in an image that names none.
        let text = format!("exec $PLYFS bundle {}", words.join(" "));
        let (status, line) = fail(&mut unshared(&world, &text));
        assert_eq!(status, 1, "{line}");
        assert!(!dir.exists(), "{arguments:?}: {line}");
        assert_eq!(world.names("containers"), [""; 0], "{line}");
    }
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("file"), "").unwrap();
    let (_, line) = fail(&mut unshared(
        &world,
        "exec $PLYFS bundle box:test $DIR true",
    ));
    assert!(line.contains("is not empty"), "{line}");
    assert_eq!(world::names(&dir), ["file"]);
}

/// If plyfs cannot print the name of the container, the caller does not learn it, so no container is left.
#[test]
fn a_bundle_whose_name_cannot_be_printed_leaves_nothing() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let dir = world.path("bundle");
    let text = "exec $PLYFS bundle box:test $DIR true >/dev/full";
    let (status, line) = fail(&mut unshared(&world, text));
    assert_eq!(status, 1, "{line}");
    assert_nothing_left(&world, &dir);
}

/// A signal at any moment leaves a whole bundle or nothing.
#[test]
fn a_bundle_that_is_interrupted_leaves_nothing() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let dir = world.path("bundle");
    let mut interrupted = 0;
    for at in 0..40 {
        let mut command = unshared(&world, "exec $PLYFS bundle box:test $DIR true");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(at * 4));
        let signal = [Signal::TERM, Signal::INT, Signal::HUP][at as usize % 3];
        kill_process(Pid::from_child(&child), signal).unwrap();
        if child.wait().unwrap().success() {
            succeed(&mut unshared(&world, "$PLYFS umount $DIR"));
            fs::remove_dir_all(&dir).unwrap();
            for name in world.names("containers") {
                succeed(&mut world.plyfs(["rm", &name]));
            }
        } else {
            interrupted += 1;
            assert_nothing_left(&world, &dir);
        }
    }
    assert!(interrupted > 0, "no signal came in time");
}

#[track_caller]
fn assert_nothing_left(world: &world::World, dir: &Path) {
    assert!(!dir.exists(), "{:?}", world::names(dir));
    assert_eq!(world.names("containers"), [""; 0]);
    assert_eq!(world.names("live"), [""; 0]);
}

/// Set-uid programs of an image have their power below a bundle, and are not for other users of the machine.
#[test]
fn others_may_not_enter_a_bundle_of_root() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let dir = world.path("bundle");
    let text = "$PLYFS bundle box:test $DIR true >/dev/null; stat -c %a $DIR; $PLYFS umount $DIR";
    assert_eq!(succeed(&mut unshared(&world, text)), "700\n");
    fs::remove_dir_all(&dir).unwrap();
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        let mut bundle = world.plyfs(["bundle", "box:test"]);
        let (_, line) = fail(bundle.arg(&dir).arg("true"));
        assert!(line.contains("chmod 0700"), "{line}");
        assert_eq!(world::names(&dir), [""; 0]);
    }
}

//! Mounts of an ordinary user through fusermount3(1), whose daemon has no capabilities.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::support::*;

/// Makes a command one of the user who mounts.
fn as_user(mut command: Command) -> Command {
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Why there can be no such mount.
fn cannot_be_mounted() -> Option<String> {
    let helper = Command::new("fusermount3").arg("--version").output();
    let missing = helper.err().map(|error| format!("fusermount3: {error}"));
    cannot_run_as_ordinary_user().or(missing)
}

/// Runs a script of the user in the mounted directory, between mounting and unmounting.
fn in_mount(stack: &Stack, script: &str) -> String {
    if rustix::process::geteuid().is_root() {
        let owner = format!("{NOBODY}:{NOBODY}");
        let mut chown = Command::new("chown");
        succeed(chown.args(["-R", "-h", &owner]).arg(stack.path("")));
    }
    let mut mount = plyfs(["mount", "-o", &stack.options()]);
    mount.arg(stack.merged(""));
    succeed(&mut as_user(mount));
    let mut shell = Command::new("sh");
    shell
        .args(["-ec", script])
        .current_dir(stack.merged(""))
        .env("UPPER", stack.upper(""));
    let output = as_user(shell).output().unwrap();
    let mut umount = plyfs(["umount"]);
    umount.arg(stack.merged(""));
    succeed(&mut as_user(umount));
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// A tree like a module cache: no directory and no file is writable.
fn with_read_only_tree() -> Stack {
    let stack = Stack::new(1);
    put(&stack.lower(0, "mod/a/x"), "x");
    put(&stack.lower(0, "mod/a/sub/y"), "y");
    for file in ["mod/a/x", "mod/a/sub/y"] {
        set_mode(&stack.lower(0, file), 0o444);
    }
    for dir in ["mod/a/sub", "mod/a", "mod"] {
        set_mode(&stack.lower(0, dir), 0o555);
    }
    stack
}

/// Lets an ordinary user's test remove it.
fn make_writable(stack: &Stack) {
    succeed(
        Command::new("chmod")
            .args(["-R", "u+w"])
            .arg(stack.path("")),
    );
}

#[test]
fn read_only_directories_are_copied_up_with_their_modes() {
    let name = this_test!();
    if let Some(why) = cannot_be_mounted() {
        return skip(name, &why);
    }
    let stack = with_read_only_tree();
    let numbers = "stat -c %i mod/a/sub mod/a/sub/y";
    let before = in_mount(
        &stack,
        &format!("{numbers}; touch -d 2001-01-01 mod/a/sub mod/a/sub/y; stat -c %a mod mod/a"),
    );
    let (before, modes) = before.rsplit_once("555\n555\n").unwrap();
    assert_eq!(modes, "");
    for dir in ["mod", "mod/a", "mod/a/sub"] {
        assert_eq!(mode(&stack.upper(dir)), 0o555, "{dir}");
    }
    assert_eq!(mode(&stack.upper("mod/a/sub/y")), 0o444);
    // They keep the handle of what they are copies of, and with it their numbers.
    assert_eq!(in_mount(&stack, numbers), before);
    make_writable(&stack);
}

#[test]
fn read_only_directories_are_made_writable_changed_and_removed() {
    let name = this_test!();
    if let Some(why) = cannot_be_mounted() {
        return skip(name, &why);
    }
    let stack = with_read_only_tree();
    in_mount(
        &stack,
        "touch -d 2001-01-01 mod/a/sub
         chmod -R u+w mod
         echo new >mod/a/new
         mv mod/a/sub mod/moved
         rm -rf mod
         mkdir -m 555 mod
         test $(stat -c %a mod) = 555
         rmdir mod
         mkdir -m 555 mod",
    );
    assert_eq!(mode(&stack.upper("mod")), 0o555);
    assert_eq!(in_mount(&stack, "ls -A mod"), "");
    make_writable(&stack);
}

#[test]
fn a_read_only_directory_is_renamed_and_removed_where_it_is() {
    let name = this_test!();
    if let Some(why) = cannot_be_mounted() {
        return skip(name, &why);
    }
    let stack = with_read_only_tree();
    fs::create_dir(stack.lower(0, "empty")).unwrap();
    set_mode(&stack.lower(0, "empty"), 0o555);
    in_mount(
        &stack,
        "mv mod renamed
         touch -d 2001-01-01 empty
         rmdir empty
         test $(cat renamed/a/sub/y) = y",
    );
    assert_eq!(mode(&stack.upper("renamed")), 0o555);
    let shown = in_mount(
        &stack,
        "ls; cat renamed/a/sub/y; stat -c %a renamed renamed/a",
    );
    assert_eq!(shown, "renamed\ny555\n555\n");
    make_writable(&stack);
}

/// plyfs must not call fusermount3(1), whose message names the table that it has read.
#[test]
fn what_is_not_mounted_is_said_in_plain_words() {
    if let Some(why) = cannot_run_as_ordinary_user() {
        return skip(this_test!(), &why);
    }
    let dir = tempfile::tempdir().unwrap();
    set_mode(dir.path(), 0o755);
    let place = dir.path().join("place");
    fs::create_dir(&place).unwrap();
    let umount = |what: &Path| {
        let mut umount = plyfs(["umount"]);
        umount
            .arg(what)
            .env("PLYFS_STORE", dir.path().join("store"));
        fail(&mut as_user(umount)).1
    };
    let said = umount(&place);
    assert!(
        said.ends_with("nothing is mounted on it in this mount namespace"),
        "{said}"
    );
    let said = umount(&dir.path().join("nosuch"));
    assert!(
        said.contains("there is no such directory, and no container of that name"),
        "{said}"
    );
    // Something is mounted there, but not by this user.
    let said = umount(Path::new("/proc"));
    assert!(
        said.contains("no FUSE file system of this user's"),
        "{said}"
    );
    for said in [umount(&place), umount(Path::new("/proc"))] {
        assert!(
            !said.contains("fusermount") && !said.contains("mtab"),
            "{said}"
        );
    }
}

/// Copies lend the directory that they come to the permission to write, which an ACL must not lose or keep.
#[test]
fn an_acl_that_is_set_while_files_are_copied_up_stays() {
    let name = this_test!();
    if let Some(why) = cannot_be_mounted() {
        return skip(name, &why);
    }
    if !crate::support::tools::has("setfacl") {
        return skip(name, "there is no setfacl");
    }
    let stack = Stack::new(1);
    for number in 0..400 {
        put(&stack.lower(0, &format!("d/{number}")), "x");
    }
    set_mode(&stack.lower(0, "d"), 0o555);
    let turns = in_mount(
        &stack,
        "touch -d 2001-01-01 d
         touch -d 2001-01-01 d/* &
         turns=0
         while kill -0 $! 2>/dev/null; do
             for wanted in rwx:7 r-x:5; do
                 setfacl -m u::${wanted%:*} d
                 test $(stat -c %a d) = ${wanted#*:}55
                 getfacl -cp d | grep -qx user::${wanted%:*}
             done
             turns=$((turns + 1))
         done
         wait $!
         test $(stat -c %a d) = 555
         echo $turns",
    );
    assert!(turns.trim().parse::<u32>().unwrap() > 0);
    assert_eq!(mode(&stack.upper("d")), 0o555);
    assert_eq!(fs::read_dir(stack.upper("d")).unwrap().count(), 400);
    make_writable(&stack);
}

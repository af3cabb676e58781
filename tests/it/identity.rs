//! Which files of a mount are one, and their inode numbers.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::support::tree::{assert_same, facts};
use crate::support::*;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};

/// A lower layer in which a directory and a file are mounted in a second place.
fn with_mounts_inside() -> Stack {
    let stack = Stack::new(1);
    for (path, text) in [("a/b/f", "inner"), ("b/own", "own"), ("a/foo", "foo")] {
        put(&stack.lower(0, path), text);
    }
    put(&stack.lower(0, "c/foo"), "");
    fs::hard_link(stack.lower(0, "a/b/f"), stack.lower(0, "a/b/g")).unwrap();
    mount_bind(stack.lower(0, "a/b"), stack.lower(0, "b")).unwrap();
    mount_bind(stack.lower(0, "a/foo"), stack.lower(0, "c/foo")).unwrap();
    stack
}

fn take_mounts_away(stack: &Stack) {
    for path in ["b", "c/foo"] {
        unmount(stack.lower(0, path), UnmountFlags::DETACH).unwrap();
    }
}

/// Runs a script in a user namespace, where what an outer one has mounted cannot be taken away.
fn run_in_a_namespace(stack: &Stack, script: &str) {
    let mut nested = Command::new("unshare");
    nested.args(["-U", "-r", "-m", "sh", "-c", script]);
    nested.env("PLYFS", PLYFS).env("OPTIONS", stack.options());
    succeed(nested.env("M", stack.path("merged")));
}

#[test]
fn mounts_inside_a_lower_directory_are_not_shown() {
    inside(this_test!(), || {
        let mut stack = with_mounts_inside();
        stack.mount();
        // Also one that comes later.
        mount_bind(stack.lower(0, "a/b"), stack.lower(0, "c")).unwrap();
        assert_eq!(fs::read(stack.merged("b/own")).unwrap(), b"own");
        fs::write(stack.merged("c/foo"), "changed").unwrap();
        assert_eq!(fs::read(stack.merged("a/foo")).unwrap(), b"foo");
        let shown = facts(&stack.merged(""));
        stack.unmount();
        stack.mount_kernel();
        assert_same(&shown, &facts(&stack.merged("")));
        unmount(stack.merged(""), UnmountFlags::empty()).unwrap();
        unmount(stack.lower(0, "c"), UnmountFlags::DETACH).unwrap();
        take_mounts_away(&stack);
    });
}

/// What a mount inside a lower directory hides is not shown to a namespace that may not take the mount away;
/// there the same object has two paths. So it has, by its number, on a file system that puts others together.
#[test]
fn two_paths_to_one_inode_without_a_second_link_are_two_files() {
    let name = this_test!();
    inside(name, || {
        let stack = with_mounts_inside();
        let script = r#"
set -e
mount() { "$PLYFS" mount -o "$OPTIONS,index=on,redirect_dir=on,backend=fuse" "$M"; }
is() { test "$2" = "$3" || { echo "$1: expected $2, got $3" >&2; exit 1; }; }
mount
is names "a b c" "$(echo $(ls "$M"))"
is "what is mounted" "foo foo" "$(cat "$M/a/foo") $(cat "$M/c/foo")"
exec 7<"$M/a/foo"
printf changed >"$M/c/foo"
is "a file and its second path" "foo changed" "$(cat "$M/a/foo") $(cat "$M/c/foo")"
rm "$M/a/foo"
is "the second path of what was removed" "foo changed" "$(cat <&7) $(cat "$M/c/foo")"
is "a directory and its second path" "f g f g" "$(echo $(ls "$M/a/b" "$M/b" | grep -v :))"
printf +1 >>"$M/b/f"
is "links of the second path" "inner+1 inner" "$(cat "$M/b/f") $(cat "$M/b/g")"
is "links of the first path" "inner inner" "$(cat "$M/a/b/f") $(cat "$M/a/b/g")"
printf +2 >>"$M/a/b/g"
rm "$M/b/f"
is "links that stay one" "inner+2 inner+2" "$(cat "$M/a/b/f") $(cat "$M/a/b/g")"
is "the link that stays" inner "$(cat "$M/b/g")"
mv "$M/b" "$M/moved"
: >"$M/moved/new"
is "a moved directory and its first path" "f g g new" "$(echo $(ls "$M/a/b" "$M/moved" | grep -v :))"
mkdir "$M/b"
is "a directory with the name of the moved one" "" "$(ls "$M/b")"
find "$M" -type f | sort | xargs grep -H . >"$M.before" || true
exec 7<&-
"$PLYFS" umount "$M"
mount
find "$M" -type f | sort | xargs grep -H . >"$M.after" || true
is "a remount" "$(cat "$M.before")" "$(cat "$M.after")"
"$PLYFS" umount "$M"
"#;
        run_in_a_namespace(&stack, script);
        take_mounts_away(&stack);
    });
}

#[test]
fn a_copy_of_a_file_with_a_second_path_has_a_number_of_its_own() {
    let name = this_test!();
    inside(name, || {
        let stack = Stack::new(1);
        put(&stack.path("bound/f"), "f");
        for dir in ["a", "b"] {
            let at = stack.lower(0, dir);
            fs::create_dir_all(&at).unwrap();
            succeed(
                Command::new("mount")
                    .arg("--bind")
                    .args([stack.path("bound"), at]),
            );
        }
        let script = r#"
set -e
mount() { "$PLYFS" mount -o "$OPTIONS,backend=fuse" "$M"; }
differ() {
    a=$(stat -c %d:%i "$M/a/f"); b=$(stat -c %d:%i "$M/b/f")
    test "$a" != "$b" || { echo "$1: both are $a" >&2; exit 1; }
}
mount
stat "$M/a/f" "$M/b/f" >/dev/null
echo A >>"$M/a/f"
differ "after a write"
"$PLYFS" umount "$M"
mount
differ "after a remount"
"$PLYFS" umount "$M"
"#;
        run_in_a_namespace(&stack, script);
        for dir in ["a", "b"] {
            succeed(Command::new("umount").arg(stack.lower(0, dir)));
        }
    });
}

fn tmpfs(at: &Path) {
    fs::create_dir_all(at).unwrap();
    mount("tmpfs", at, "tmpfs", MountFlags::empty(), None).unwrap();
}

#[test]
fn upper_files_have_their_own_numbers_where_the_lower_layer_lies_elsewhere() {
    let name = this_test!();
    inside(name, || {
        let mut stack = Stack::new(1);
        tmpfs(&stack.lower(0, ""));
        put(&stack.lower(0, "d/lower"), "lower");
        stack.mount();
        fs::write(stack.merged("new"), "new").unwrap();
        fs::create_dir(stack.merged("dir")).unwrap();
        let number = |path: std::path::PathBuf| fs::symlink_metadata(path).unwrap().ino();
        let shown = ["new", "dir"].map(|name| number(stack.merged(name)));
        let lower = number(stack.merged("d/lower"));
        assert_eq!(shown, ["new", "dir"].map(|name| number(stack.upper(name))));
        stack.unmount();
        // The upper layer becomes the topmost lower one, below another or none.
        let lowers = format!(
            "lowerdir={}:{}",
            stack.upper("").display(),
            stack.lower(0, "").display()
        );
        let upper = stack.path("upper2");
        let work = stack.path("work2");
        for dir in [&upper, &work] {
            fs::create_dir(dir).unwrap();
        }
        let with_upper = format!(
            "{lowers},upperdir={},workdir={}",
            upper.display(),
            work.display()
        );
        for options in [with_upper, lowers] {
            succeed(plyfs(["mount", "-o", &options]).arg(stack.merged("")));
            let now = ["new", "dir"].map(|name| number(stack.merged(name)));
            assert_eq!(now, shown, "{options}");
            assert_eq!(number(stack.merged("d/lower")), lower, "{options}");
            stack.unmount();
        }
        unmount(stack.lower(0, ""), UnmountFlags::DETACH).unwrap();
    });
}

/// As the kernel's overlay refuses them, where it keeps an index.
#[test]
fn layers_that_the_kernels_overlay_changes_are_refused_where_an_index_is_kept() {
    let name = this_test!();
    inside(name, || {
        let mut kernel = Stack::new(1);
        kernel.mount_kernel();
        fs::create_dir(kernel.merged("inside")).unwrap();
        let stack = Stack::new(1);
        let options = |lower: &Path, index: &str| {
            let lower = format!("lowerdir={},", lower.display());
            let own = format!("lowerdir={},", stack.lower(0, "").display());
            stack.options().replace(&own, &lower) + ",index=" + index
        };
        for lower in [kernel.upper(""), kernel.upper("inside")] {
            let refused = options(&lower, "on");
            let (_, line) = fail(plyfs(["mount", "-o", &refused]).arg(stack.merged("")));
            assert!(
                line.contains("which another mount changes")
                    || line.contains("changed by another mount"),
                "{line}"
            );
            assert!(!is_mounted(&stack.merged("")));
            succeed(plyfs(["mount", "-o", &options(&lower, "off")]).arg(stack.merged("")));
            succeed(plyfs(["umount"]).arg(stack.merged("")));
        }
        unmount(kernel.merged(""), UnmountFlags::empty()).unwrap();
    });
}

/// The daemon of the other mount holds a lock on its upper directory; a lock of any other program says nothing.
#[test]
fn layers_that_another_daemon_changes_are_refused_where_an_index_is_kept() {
    let name = this_test!();
    inside(name, || {
        let mut living = Stack::new(1);
        put(&living.lower(0, "f"), "f");
        living.mount();
        fs::create_dir(living.merged("inside")).unwrap();
        let mount = |lower: &Path| {
            let stack = Stack::new(1);
            let own = format!("lowerdir={},", stack.lower(0, "").display());
            let lower = format!("lowerdir={},", lower.display());
            let options = stack.options().replace(&own, &lower) + ",index=on,backend=fuse";
            let mut command = plyfs(["mount", "-o", &options]);
            let output = command.arg(stack.merged("")).output().unwrap();
            if output.status.success() {
                succeed(plyfs(["umount"]).arg(stack.merged("")));
            }
            text(&output.stderr)
        };
        for lower in [living.upper(""), living.upper("inside")] {
            let line = mount(&lower);
            assert!(
                line.contains("which another mount changes")
                    || line.contains("changed by another mount"),
                "{line}"
            );
        }
        living.unmount();
        let dir = fs::File::open(living.upper("")).unwrap();
        rustix::fs::flock(&dir, rustix::fs::FlockOperation::LockExclusive).unwrap();
        assert_eq!(mount(&living.upper("inside")), "");
    });
}

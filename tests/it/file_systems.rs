//! Layers on file systems of every kind.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::file_system::{BTRFS, EXT4, FileSystem, Kind, XFS};
use crate::support::tree::{assert_same, facts};
use crate::support::*;
use rustix::mount::{MountFlags, UnmountFlags};

fn make_lower(stack: &Stack) {
    for (path, text) in [
        ("d/f", "lower"),
        ("d/gone", "lower"),
        ("d/sub/deep", "deep"),
        ("removed/x", "x"),
        ("moved/y", "y"),
        ("exec", "#!/bin/sh\n"),
    ] {
        put(&stack.lower(0, path), text);
    }
    put(&stack.lower(0, "large"), &"large ".repeat(100_000));
    fs::hard_link(stack.lower(0, "large"), stack.lower(0, "hard")).unwrap();
    symlink("d/f", stack.lower(0, "link")).unwrap();
    fs::set_permissions(stack.lower(0, "exec"), PermissionsExt::from_mode(0o4755)).unwrap();
    let sparse = File::create(stack.lower(0, "sparse")).unwrap();
    sparse.write_all_at(b"end", 1 << 20).unwrap();
}

/// A little of everything.
fn change(root: &Path) {
    let at = |path: &str| root.join(path);
    let large = File::options().write(true).open(at("large")).unwrap();
    large.write_all_at(b"LARGE", 300_000).unwrap();
    large.sync_all().unwrap();
    let sparse = File::options().write(true).open(at("sparse")).unwrap();
    sparse.write_all_at(b"start", 0).unwrap();
    fs::write(at("d/f"), "changed").unwrap();
    fs::remove_file(at("d/gone")).unwrap();
    fs::remove_dir_all(at("removed")).unwrap();
    fs::create_dir(at("removed")).unwrap();
    // Without attributes it is copied.
    succeed(
        Command::new("mv")
            .args(["-T"])
            .args([at("moved"), at("d/moved")]),
    );
    fs::hard_link(at("d/f"), at("d/linked")).unwrap();
    symlink("x", at("new link")).unwrap();
    fs::set_permissions(at("exec"), PermissionsExt::from_mode(0o700)).unwrap();
    fs::rename(at("link"), at("d/link")).unwrap();
}

/// The session on an upper layer on this file system, and on the lower one beside it, as where blocks
/// are shared; then the kernel's overlay shows the same.
fn serves_both(name: &str, kind: &Kind) {
    inside(name, || {
        if let Some(why) = kind.cannot() {
            return skip(name, &why);
        }
        let below = FileSystem::new(kind);
        let mut stack = Stack::new(1);
        fs::remove_dir(stack.lower(0, "")).unwrap();
        fs::create_dir(below.path().join("lower")).unwrap();
        symlink(below.path().join("lower"), stack.path("lower0")).unwrap();
        stack.upper_in(&below.path());
        make_lower(&stack);
        stack.mount();
        change(&stack.merged(""));
        let shown = facts(&stack.merged(""));
        stack.unmount();
        let blocks = fs::metadata(stack.upper("sparse")).unwrap().blocks();
        assert!(blocks < 1024, "{blocks} blocks of a sparse file");
        stack.mount();
        assert_same(&shown, &facts(&stack.merged("")));
        stack.unmount();
        stack.mount_kernel();
        assert_same(&shown, &facts(&stack.merged("")));
        rustix::mount::unmount(stack.merged(""), UnmountFlags::empty()).unwrap();
    });
}

#[test]
fn an_upper_layer_on_ext4_serves_plyfs_and_the_kernel() {
    serves_both(this_test!(), &EXT4);
}

#[test]
fn an_upper_layer_on_xfs_serves_plyfs_and_the_kernel() {
    serves_both(this_test!(), &XFS);
}

#[test]
fn an_upper_layer_on_btrfs_serves_plyfs_and_the_kernel() {
    serves_both(this_test!(), &BTRFS);
}

/// Unmounts, asserts that the kernel's overlay shows what was shown, and takes the file system of the lower
/// layer away.
fn assert_kernel_shows_the_same(stack: &mut Stack) {
    let shown = facts(&stack.merged(""));
    stack.unmount();
    stack.mount_kernel();
    assert_same(&shown, &facts(&stack.merged("")));
    rustix::mount::unmount(stack.merged(""), UnmountFlags::empty()).unwrap();
    rustix::mount::unmount(stack.lower(0, ""), UnmountFlags::DETACH).unwrap();
}

/// Mounts a file system over the lower layer.
fn over_lower(stack: &Stack, kind: &str) -> rustix::io::Result<()> {
    let at = stack.lower(0, "");
    rustix::mount::mount(kind, &at, kind, MountFlags::empty(), None)
}

#[test]
fn a_lower_layer_on_a_file_system_without_attributes_is_changed_like_any() {
    let name = this_test!();
    inside(name, || {
        let mut stack = Stack::new(1);
        if let Err(error) = over_lower(&stack, "ramfs") {
            return skip(name, &format!("no ramfs can be mounted: {error}"));
        }
        make_lower(&stack);
        let empty = rustix::fs::XattrFlags::empty();
        let has_none = rustix::fs::lsetxattr(stack.lower(0, "d"), "user.x", b"y", empty);
        assert_eq!(has_none, Err(rustix::io::Errno::OPNOTSUPP));
        stack.mount();
        change(&stack.merged(""));
        rustix::fs::lsetxattr(stack.merged("d/sub/deep"), "user.x", b"y", empty).unwrap();
        assert_kernel_shows_the_same(&mut stack);
    });
}

/// The kernel asks for the ACL of what it checks permissions of.
#[test]
fn other_users_read_a_lower_layer_on_a_file_system_without_attributes() {
    let name = this_test!();
    inside(name, || {
        if !is_initial_namespace() {
            return skip(name, "only root can become another user");
        }
        let mut stack = Stack::new(1);
        if let Err(error) = over_lower(&stack, "ramfs") {
            return skip(name, &format!("no ramfs can be mounted: {error}"));
        }
        put(&stack.lower(0, "d/f"), "f");
        fs::write(stack.lower(0, "own"), "own").unwrap();
        for (path, mode) in [("", 0o755), ("d", 0o711), ("d/f", 0o604), ("own", 0o600)] {
            fs::set_permissions(stack.lower(0, path), PermissionsExt::from_mode(mode)).unwrap();
        }
        stack.mount();
        // Without the capabilities of root, and neither the owner nor of the group.
        let reads = |path: &str| {
            let mut command = Command::new("setpriv");
            command.args([
                "--reuid",
                "1",
                "--regid",
                "1",
                "--clear-groups",
                "--",
                "cat",
            ]);
            // The directory of the stack is for its owner alone.
            command.arg(path).current_dir(stack.merged(""));
            command.output()
        };
        let Ok(output) = reads("d/f") else {
            return skip(name, "there is no setpriv");
        };
        assert_eq!(
            (text(&output.stdout), text(&output.stderr)),
            ("f".into(), String::new())
        );
        let output = reads("own").unwrap();
        assert!(
            text(&output.stderr).contains("Permission denied"),
            "{output:?}"
        );
        stack.unmount();
        rustix::mount::unmount(stack.lower(0, ""), UnmountFlags::DETACH).unwrap();
    });
}

#[test]
fn a_lower_layer_on_squashfs_is_changed_like_any() {
    let name = this_test!();
    inside(name, || {
        if let Some(why) = EXT4.cannot() {
            return skip(name, &why);
        }
        let mut stack = Stack::new(1);
        make_lower(&stack);
        let image = stack.path("image");
        let mut make = Command::new("mksquashfs");
        make.arg(stack.lower(0, "")).arg(&image);
        match make.args(["-no-xattrs", "-quiet", "-no-progress"]).output() {
            Err(error) => return skip(name, &format!("mksquashfs: {error}")),
            Ok(output) => assert!(output.status.success(), "{}", text(&output.stderr)),
        }
        let mut mount = Command::new("mount");
        mount.args(["-t", "squashfs", "-o", "loop,ro"]);
        succeed(mount.arg(&image).arg(stack.lower(0, "")));
        stack.mount();
        change(&stack.merged(""));
        assert_kernel_shows_the_same(&mut stack);
    });
}

/// Mounts something for upper layers on a directory, with another beside it for what it needs. An error says why
/// that cannot be.
type Lacking = fn(&Path, &Path) -> Result<(), String>;

fn ramfs(at: &Path, _: &Path) -> Result<(), String> {
    let mounted = rustix::mount::mount("ramfs", at, "ramfs", MountFlags::empty(), None);
    mounted.map_err(|errno| format!("no ramfs can be mounted: {errno}"))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", text(&output.stderr))),
    }
}

fn bindfs(at: &Path, beside: &Path) -> Result<(), String> {
    run(Command::new("bindfs").arg(beside).arg(at))
}

fn bindfs_without_attributes(at: &Path, beside: &Path) -> Result<(), String> {
    run(Command::new("bindfs")
        .arg("--xattr-none")
        .arg(beside)
        .arg(at))
}

fn fuse2fs(at: &Path, beside: &Path) -> Result<(), String> {
    let image = beside.join("image");
    File::create(&image).unwrap().set_len(32 << 20).unwrap();
    run(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
    run(Command::new("fuse2fs")
        .args(["-o", "rw,fakeroot"])
        .arg(image)
        .arg(at))
}

/// It makes no whiteouts: they would be its own.
fn overlay(at: &Path, beside: &Path) -> Result<(), String> {
    for name in ["lower", "upper", "work"] {
        fs::create_dir(beside.join(name)).unwrap();
    }
    let beside = beside.display();
    let userxattr = if is_initial_namespace() {
        ""
    } else {
        ",userxattr"
    };
    let options =
        format!("lowerdir={beside}/lower,upperdir={beside}/upper,workdir={beside}/work{userxattr}");
    let mut mount = Command::new("mount");
    run(mount
        .args(["-t", "overlay", "overlay", "-o", &options])
        .arg(at))
}

/// The session on such an upper layer shows what it shows on any, also after another mount.
fn serves_as_any(name: &str, lacking: Lacking, drop_in: bool) {
    inside(name, || {
        let mut any = Stack::new(1);
        make_lower(&any);
        any.mount();
        change(&any.merged(""));
        change_more(&any.merged(""));
        let expected = facts(&any.merged(""));

        let mut stack = Stack::new(1);
        let (at, beside) = (stack.path("small"), stack.path("beside"));
        fs::create_dir(&at).unwrap();
        fs::create_dir(&beside).unwrap();
        if let Err(why) = lacking(&at, &beside) {
            return skip(name, &why);
        }
        make_lower(&stack);
        stack.upper_in(&at);
        let mount = |stack: &mut Stack| {
            let mut mount = plyfs([] as [&str; 0]);
            match drop_in {
                true => succeed(
                    std::os::unix::process::CommandExt::arg0(&mut mount, "fuse-overlayfs")
                        .args(["-o", &stack.options()])
                        .arg(stack.merged("")),
                ),
                false => succeed(
                    mount
                        .args(["mount", "-o", &stack.options()])
                        .arg(stack.merged("")),
                ),
            };
            stack.mounted_by_other();
        };
        mount(&mut stack);
        change(&stack.merged(""));
        change_more(&stack.merged(""));
        assert_alike(&expected, &facts(&stack.merged("")));
        stack.unmount();
        mount(&mut stack);
        assert_alike(&expected, &facts(&stack.merged("")));
        stack.unmount();
        stack.drop_tmpfs();
    });
}

/// What takes renames with flags: names of lower layers are moved, hidden and made again.
fn change_more(root: &Path) {
    let at = |path: &str| root.join(path);
    // Over a file of the lower layer, over a whiteout, and of a name that was made over a whiteout.
    fs::rename(at("hard"), at("large")).unwrap();
    fs::rename(at("large"), at("d/gone")).unwrap();
    fs::write(at("hard"), "hard").unwrap();
    fs::remove_file(at("hard")).unwrap();
    // A directory in the place of another, and one where a directory and a file were.
    fs::remove_dir(at("removed")).unwrap();
    fs::create_dir(at("removed")).unwrap();
    fs::write(at("removed/new"), "new").unwrap();
    fs::create_dir(at("empty")).unwrap();
    fs::remove_dir_all(at("d/sub")).unwrap();
    succeed(
        Command::new("mv")
            .arg("-T")
            .args([at("empty"), at("d/sub")]),
    );
    fs::remove_file(at("d/sub2")).unwrap_err();
    fs::create_dir(at("d/sub2")).unwrap();
    fs::remove_file(at("sparse")).unwrap();
    fs::create_dir(at("sparse")).unwrap();
    succeed(
        Command::new("mv")
            .arg("-T")
            .args([at("removed"), at("sparse")]),
    );
    fs::create_dir(at("removed")).unwrap();
    fs::remove_dir(at("removed")).unwrap();
}

/// The same but for what depends on when and where: times, numbers and blocks.
fn assert_alike(
    one: &std::collections::BTreeMap<Vec<u8>, crate::support::tree::Facts>,
    other: &std::collections::BTreeMap<Vec<u8>, crate::support::tree::Facts>,
) {
    let alike = |all: &std::collections::BTreeMap<Vec<u8>, crate::support::tree::Facts>| {
        let mut all = all.clone();
        for facts in all.values_mut() {
            facts.mtime = (0, 0);
        }
        all
    };
    assert_same(&alike(one), &alike(other));
}

#[test]
fn an_upper_layer_on_ramfs_is_changed_like_any() {
    serves_as_any(this_test!(), ramfs, false);
}

#[test]
fn an_upper_layer_on_ramfs_is_changed_like_any_by_the_drop_in() {
    let name = this_test!();
    serves_as_any(name, ramfs, true);
}

#[test]
fn an_upper_layer_on_bindfs_is_changed_like_any() {
    let name = this_test!();
    serves_as_any(name, bindfs, false);
}

#[test]
fn an_upper_layer_on_bindfs_is_changed_like_any_by_the_drop_in() {
    let name = this_test!();
    serves_as_any(name, bindfs, true);
}

#[test]
fn an_upper_layer_on_bindfs_without_attributes_is_changed_like_any() {
    let name = this_test!();
    serves_as_any(name, bindfs_without_attributes, false);
}

#[test]
fn an_upper_layer_on_fuse2fs_is_changed_like_any() {
    let name = this_test!();
    serves_as_any(name, fuse2fs, false);
}

#[test]
fn an_upper_layer_on_fuse2fs_is_changed_like_any_by_the_drop_in() {
    let name = this_test!();
    serves_as_any(name, fuse2fs, true);
}

#[test]
fn an_upper_layer_that_cannot_hold_whiteouts_is_refused_in_one_line() {
    let name = this_test!();
    inside(name, || {
        let stack = Stack::new(1);
        let (at, beside) = (stack.path("small"), stack.path("beside"));
        fs::create_dir(&at).unwrap();
        fs::create_dir(&beside).unwrap();
        if let Err(why) = overlay(&at, &beside) {
            return skip(name, &why);
        }
        stack.upper_in(&at);
        let (_, line) = fail(plyfs(["mount", "-o", &stack.options()]).arg(stack.merged("")));
        assert!(line.contains("make whiteouts, which ext4"), "{line}");
        assert!(!is_mounted(&stack.merged("")));
        stack.drop_tmpfs();
    });
}

/// What was removed below a directory that was made again stays removed after the next mount.
#[test]
fn a_directory_made_again_on_ramfs_hides_what_was_there() {
    let name = this_test!();
    inside(name, || {
        let mut stack = Stack::new(2);
        let at = stack.path("small");
        fs::create_dir(&at).unwrap();
        if let Err(why) = ramfs(&at, &at) {
            return skip(name, &why);
        }
        stack.upper_in(&at);
        for path in ["d/a", "d/sub/x"] {
            put(&stack.lower(0, path), "top");
        }
        put(&stack.lower(1, "d/b"), "bottom");
        stack.mount();
        let names = |stack: &Stack| {
            let entries = fs::read_dir(stack.merged("d")).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let open = File::open(stack.merged("d")).unwrap();
        fs::remove_dir_all(stack.merged("d")).unwrap();
        fs::create_dir(stack.merged("d")).unwrap();
        assert!(names(&stack).is_empty());
        drop(open);
        fs::write(stack.merged("d/a"), "new").unwrap();
        fs::create_dir(stack.merged("d/sub")).unwrap();
        fs::remove_file(stack.merged("d/a")).unwrap();
        assert_eq!(names(&stack), ["sub"]);
        // It can only be copied: nothing says that it is not what lies below its new name.
        let moved = fs::rename(stack.merged("d"), stack.merged("e")).unwrap_err();
        assert_eq!(moved.kind(), std::io::ErrorKind::CrossesDevices);
        fs::remove_file(stack.merged("d/sub/x")).unwrap_err();
        stack.unmount();
        stack.mount();
        assert_eq!(names(&stack), ["sub"]);
        assert_eq!(fs::read_dir(stack.merged("d/sub")).unwrap().count(), 0);
        stack.unmount();
        stack.drop_tmpfs();
    });
}

/// What happens in two directories, as inotify(7) has it: "0 create name".
fn events_during(dirs: [&Path; 2], body: impl FnOnce()) -> Vec<String> {
    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
    let inotify = inotify::init(CreateFlags::NONBLOCK).unwrap();
    let wanted =
        WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO;
    let watches = dirs.map(|dir| inotify::add_watch(&inotify, dir, wanted).unwrap());
    body();
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(&inotify, &mut buffer);
    let mut events = Vec::new();
    while let Ok(event) = reader.next() {
        let dir = watches.iter().position(|watch| *watch == event.wd());
        let (Some(dir), Some(name)) = (dir, event.file_name()) else {
            continue;
        };
        let what = match event.events() {
            flags if flags.contains(ReadFlags::CREATE) => "create",
            flags if flags.contains(ReadFlags::DELETE) => "delete",
            flags if flags.contains(ReadFlags::MOVED_FROM) => "leave",
            _ => "come",
        };
        events.push(format!("{dir} {what} {}", name.to_string_lossy()));
    }
    events
}

/// Its whiteouts go when it is no longer there, and a file hides what is below meanwhile.
#[test]
fn a_directory_that_is_replaced_hides_what_is_below_until_then() {
    let name = this_test!();
    inside(name, || {
        for again in [false, true] {
            let mut stack = Stack::new(1);
            let (at, beside) = (stack.path("small"), stack.path("beside"));
            fs::create_dir(&at).unwrap();
            fs::create_dir(&beside).unwrap();
            if let Err(why) = bindfs_without_attributes(&at, &beside) {
                return skip(name, &why);
            }
            put(&stack.lower(0, "d/below"), "below");
            stack.upper_in(&at);
            let mut mount = plyfs([] as [&str; 0]);
            std::os::unix::process::CommandExt::arg0(&mut mount, "fuse-overlayfs");
            succeed(mount.args(["-o", &stack.options()]).arg(stack.merged("")));
            stack.mounted_by_other();
            fs::remove_file(stack.merged("d/below")).unwrap();
            if again {
                // It is opaque then, by a file.
                fs::remove_dir(stack.merged("d")).unwrap();
                fs::create_dir(stack.merged("d")).unwrap();
            }
            fs::create_dir(stack.merged("new")).unwrap();
            fs::write(stack.merged("new/file"), "new").unwrap();
            let (upper, replaced) = (stack.upper(""), stack.upper("d"));
            let events = events_during([&upper, &replaced], || {
                fs::rename(stack.merged("new"), stack.merged("d")).unwrap();
            });
            let when = |event: &str| events.iter().position(|one| one == event);
            let guarded = when("0 create .wh.d").unwrap_or_else(|| panic!("{events:?}"));
            let left = when("0 leave d").unwrap_or_else(|| panic!("{events:?}"));
            let came = when("0 come d").unwrap_or_else(|| panic!("{events:?}"));
            let unguarded = when("0 delete .wh.d").unwrap_or_else(|| panic!("{events:?}"));
            assert!(
                guarded < left && left < came && came < unguarded,
                "{events:?}"
            );
            let emptied = events.iter().position(|one| one.starts_with("1 delete"));
            assert!(emptied.is_some_and(|emptied| left < emptied), "{events:?}");
            let shown = |stack: &Stack| crate::support::world::names(&stack.merged("d"));
            assert_eq!(shown(&stack), ["file"]);
            stack.unmount();
            let mut mount = plyfs([] as [&str; 0]);
            std::os::unix::process::CommandExt::arg0(&mut mount, "fuse-overlayfs");
            succeed(mount.args(["-o", &stack.options()]).arg(stack.merged("")));
            stack.mounted_by_other();
            assert_eq!(shown(&stack), ["file"]);
            stack.unmount();
            stack.drop_tmpfs();
        }
    });
}

#[test]
fn an_upper_layer_on_an_overlay_is_changed_like_any_by_the_drop_in() {
    let name = this_test!();
    serves_as_any(name, overlay, true);
}

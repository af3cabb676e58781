//! A fault below a mount fails the call that meets it, and changes nothing else.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::file_system::{BTRFS, EXT4, FileSystem};
use crate::support::*;

/// Runs a script, which must not take longer than this.
fn within(seconds: u32, script: &str, in_dir: &Path) -> Output {
    let start = Instant::now();
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", &seconds.to_string(), "sh", "-c", script]);
    let output = command.current_dir(in_dir).output().unwrap();
    let took = start.elapsed();
    assert!(took < Duration::from_secs(seconds.into()), "it hangs");
    output
}

fn fails_for_want_of_space(result: std::io::Result<()>) {
    let kind = result.unwrap_err().kind();
    assert!(
        matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded),
        "{kind}"
    );
}

#[test]
fn a_copy_up_that_does_not_fit_fails_and_changes_nothing() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        let large = "large ".repeat(400_000);
        put(&stack.lower(0, "d/large"), &large);
        put(&stack.lower(0, "d/small"), "small");
        stack.upper_on_tmpfs("1200k");
        stack.mount();
        let path = stack.merged("d/large");
        let file = File::options().write(true).open(&path).unwrap();
        fails_for_want_of_space(file.write_all_at(b"X", 5).and_then(|()| file.sync_all()));
        drop(file);
        fails_for_want_of_space(fs::set_permissions(&path, PermissionsExt::from_mode(0o600)));
        // A change that fits succeeds.
        fs::write(stack.merged("d/small"), "changed").unwrap();
        stack.unmount();
        let left = fs::read_dir(stack.upper("d")).unwrap().count();
        assert_eq!(left, 1, "only the small file is in the upper layer");
        stack.mount();
        assert!(fs::read_to_string(&path).unwrap() == large);
        assert_eq!(fs::read(stack.merged("d/small")).unwrap(), b"changed");
        stack.unmount();
        stack.drop_tmpfs();
    });
}

#[test]
fn close_reports_data_that_does_not_fit() {
    inside(this_test!(), || {
        for options in ["", ",writeback=1"] {
            let mut stack = Stack::new(1);
            put(&stack.lower(0, "lower"), "");
            stack.upper_on_tmpfs("1200k");
            stack.mount_with(options);
            // dd(1) checks the result of close(2).
            for name in ["new", "lower"] {
                let script = format!("dd if=/dev/zero of={name} bs=100k count=30 2>&1");
                let output = within(20, &script, &stack.merged(""));
                assert!(!output.status.success(), "{name}: {}", text(&output.stdout));
                fs::remove_file(stack.merged(name)).unwrap();
            }
            fs::write(stack.merged("fits"), "fits").unwrap();
            stack.unmount();
            assert_eq!(fs::read(stack.upper("fits")).unwrap(), b"fits");
            stack.drop_tmpfs();
        }
    });
}

/// Where data does not outlast the machine, the daemon answers once that there is nothing to sync. The kernel must
/// still send the writes that it has gathered.
#[test]
fn what_is_synced_where_nothing_lasts_is_in_the_upper_layer() {
    let name = this_test!();
    inside(name, || {
        for volatile in [false, true] {
            let mut stack = Stack::new(1);
            put(&stack.lower(0, "lower"), "lower");
            if volatile {
                stack.mount_with(",volatile,writeback=1");
            } else {
                stack.upper_on_tmpfs("1m");
                stack.mount_with(",writeback=1");
            }
            for (file, round) in ["new", "lower"].into_iter().zip(0..) {
                let open = File::options()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(stack.merged(file))
                    .unwrap();
                for text in ["first", "again"] {
                    open.write_all_at(text.as_bytes(), round).unwrap();
                    open.sync_all().unwrap();
                    let found = fs::read(stack.upper(file)).unwrap();
                    assert!(found.ends_with(text.as_bytes()), "{file}: {found:?}");
                }
            }
            File::open(stack.merged("")).unwrap().sync_all().unwrap();
            if !volatile {
                let file = File::create(stack.merged("large")).unwrap();
                let written = file.write_all_at(&vec![7; 2 << 20], 0);
                fails_for_want_of_space(written.and_then(|()| file.sync_all()));
            }
            stack.unmount();
            if !volatile {
                stack.drop_tmpfs();
            }
        }
    });
}

/// The kernel sends FORGET for a removed file after unlink(2) returns, and may send later writes first. The daemon
/// must free the space before that.
#[test]
fn the_space_of_a_removed_file_can_be_used_at_once() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "lower"), "");
        stack.upper_on_tmpfs("1200k");
        stack.mount();
        let (content, busy) = (vec![7; 1 << 20], AtomicBool::new(true));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                // Keep processors busy, so that the daemon does not always run at once.
                scope.spawn(|| {
                    while busy.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            let result = (0..150).try_for_each(|round| {
                let file = File::create(stack.merged(&format!("f{round}")))?;
                file.write_all_at(&content, 0)?;
                file.sync_all()?;
                drop(file);
                fs::create_dir(stack.merged("d"))?;
                fs::remove_dir(stack.merged("d"))?;
                fs::remove_file(stack.merged(&format!("f{round}")))
            });
            busy.store(false, Ordering::Relaxed);
            result.unwrap();
        });
        stack.unmount();
        stack.drop_tmpfs();
    });
}

/// A symbolic link cannot carry an owner record, so plyfs keeps such a link as a file. Here the disk has no space for
/// the content of that file.
#[test]
fn a_link_without_room_leaves_nothing_behind() {
    let name = this_test!();
    inside(name, || {
        let mut stack = Stack::new(1);
        stack.upper_on_tmpfs("64k");
        stack.mount_with("xattr_permissions=2");
        let dir = stack.merged("d");
        fs::create_dir(&dir).unwrap();
        std::os::unix::fs::chown(&dir, Some(0), Some(5)).unwrap();
        fs::set_permissions(&dir, PermissionsExt::from_mode(0o2755)).unwrap();
        let filler = stack.merged("filler");
        let mut file = File::create(&filler).unwrap();
        let filled = (0..100).try_for_each(|_| {
            file.write_all(&[7; 4096])?;
            file.sync_all()
        });
        fails_for_want_of_space(filled);
        drop(file);
        let link = dir.join("link");
        for _ in 0..2 {
            fails_for_want_of_space(std::os::unix::fs::symlink("target", &link));
            let found = fs::symlink_metadata(&link);
            assert_eq!(found.unwrap_err().kind(), ErrorKind::NotFound);
        }
        fs::remove_file(filler).unwrap();
        std::os::unix::fs::symlink("target", &link).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("target"));
        assert_eq!(fs::symlink_metadata(&link).unwrap().gid(), 5);
        stack.unmount();
        stack.drop_tmpfs();
    });
}

/// The file system below drops capabilities on a write before it finds that it has no space.
#[test]
fn a_write_without_room_leaves_capabilities() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        stack.upper_on_tmpfs("64k");
        stack.mount_with(",writeback=1");
        let (capable, name) = (stack.merged("capable"), c"security.capability");
        let mut value = [0; 20];
        // VFS_CAP_REVISION_2, and a capability that is permitted.
        (value[3], value[4]) = (2, 1);
        let mut file = File::create(&capable).unwrap();
        file.write_all(&[7; 30 * 1024]).unwrap();
        // As with install(1), the kernel gathers this write and sends it after the attribute is set.
        file.write_all(&[7; 60 * 1024]).unwrap();
        let set = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&capable, name, &value, set).unwrap();
        let get = |path: &Path| {
            let mut found = [0; 64];
            let length = rustix::fs::getxattr(path, name, &mut found[..])?;
            rustix::io::Result::Ok(found[..length].to_vec())
        };
        let shown = get(&capable).unwrap();
        fails_for_want_of_space(file.sync_all());
        drop(file);
        assert_eq!(get(&stack.upper("capable")), Ok(shown));
        stack.unmount();
        stack.drop_tmpfs();
    });
}

/// With CAP_SYS_RESOURCE the daemon of root would write beyond every quota.
#[test]
fn a_quota_holds_for_what_is_written_through_a_mount() {
    let name = this_test!();
    inside(name, || {
        if let Some(why) = EXT4.cannot() {
            return skip(name, &why);
        }
        let Ok(below) = FileSystem::try_new(&EXT4, &["-O", "quota"], ",usrquota") else {
            return skip(name, "this kernel mounts no ext4 with quotas");
        };
        let mut set = Command::new("setquota");
        set.args(["-u", &NOBODY.to_string(), "0", "1000", "0", "0"]);
        match set.arg(below.path()).output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => return skip(name, text(&output.stderr).trim()),
            Err(error) => return skip(name, &format!("setquota: {error}")),
        }
        let mut stack = Stack::new(1);
        let megabytes = "text ".repeat(600_000);
        put(&stack.lower(0, "theirs"), &megabytes);
        let theirs = stack.lower(0, "theirs");
        std::os::unix::fs::chown(&theirs, Some(NOBODY), Some(NOBODY)).unwrap();
        stack.upper_in(&below.path());
        stack.mount();
        let new = stack.merged("new");
        let mut file = File::create(&new).unwrap();
        std::os::unix::fs::chown(&new, Some(NOBODY), Some(NOBODY)).unwrap();
        let written = file
            .write_all(megabytes.as_bytes())
            .and_then(|()| file.sync_all());
        fails_for_want_of_space(written);
        let theirs = File::options()
            .write(true)
            .open(stack.merged("theirs"))
            .unwrap();
        let written = theirs.write_all_at(b"X", 0);
        fails_for_want_of_space(written.and_then(|()| theirs.sync_all()));
        // Root has no quota.
        fs::write(stack.merged("roots"), &megabytes).unwrap();
        drop((file, theirs));
        stack.unmount();
        assert!(!stack.upper("theirs").exists());
        assert_eq!(fs::metadata(stack.upper("roots")).unwrap().len(), 3_000_000);
    });
}

#[test]
fn the_writer_gets_the_error_of_a_subvolume_quota() {
    let name = this_test!();
    inside(name, || {
        if let Some(why) = BTRFS.cannot() {
            return skip(name, &why);
        }
        let below = FileSystem::new(&BTRFS);
        for arguments in [&["quota", "enable"][..], &["qgroup", "limit", "2M"]] {
            let mut btrfs = Command::new("btrfs");
            succeed(btrfs.args(arguments).arg(below.path()));
        }
        let mut stack = Stack::new(1);
        let megabytes = "text ".repeat(600_000);
        put(&stack.lower(0, "large"), &megabytes);
        stack.upper_in(&below.path());
        stack.mount();
        let mut new = File::create(stack.merged("new")).unwrap();
        let written = new.write_all(megabytes.as_bytes());
        fails_for_want_of_space(written.and_then(|()| new.sync_all()));
        drop(new);
        fs::remove_file(stack.merged("new")).unwrap();
        let large = stack.merged("large");
        let file = File::options().write(true).open(&large).unwrap();
        fails_for_want_of_space(file.write_all_at(b"X", 0).and_then(|()| file.sync_all()));
        drop(file);
        stack.unmount();
        assert!(!stack.upper("large").exists());
        stack.mount();
        assert!(fs::read_to_string(large).unwrap() == megabytes);
        stack.unmount();
    });
}

#[test]
fn few_descriptors_are_enough_for_a_large_tree() {
    inside(this_test!(), || {
        let mut stack = Stack::new(2);
        for i in 0..1500 {
            let layer = i % 2;
            put(
                &stack.lower(layer, &format!("d{}/e{}/f{i}", i % 40, i % 7)),
                "lower",
            );
        }
        let script = "ulimit -n 64 && exec \"$0\" mount -o \"$1\" \"$2\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, PLYFS, &stack.options()]);
        succeed(command.arg(stack.merged("")));
        stack.mounted_by_other();
        assert_eq!(descriptor_limit(&stack.merged("")), "64");
        let mut held = Vec::new();
        for i in 0..1500 {
            let path = stack.merged(&format!("d{}/e{}/f{i}", i % 40, i % 7));
            assert_eq!(fs::read(&path).unwrap(), b"lower", "{i}");
            match i % 5 {
                0 => fs::write(&path, "written").unwrap(),
                1 => fs::rename(&path, stack.merged(&format!("moved{i}"))).unwrap(),
                2 if held.len() < 200 => {
                    let file = File::options().read(true).write(true).open(&path);
                    held.push(file.unwrap());
                    fs::remove_file(&path).unwrap();
                }
                _ => {}
            }
        }
        for file in &held {
            // Removed files need their descriptors, but they are lower ones and not yet copied.
            let mut data = [0; 5];
            file.read_exact_at(&mut data, 0).unwrap();
            assert_eq!(&data, b"lower");
        }
        drop(held);
        let found = walk(&stack.merged(""));
        assert_eq!(found, 1300);
        stack.unmount();
    });
}

/// How many descriptors the daemon of a mount may have.
fn descriptor_limit(merged: &Path) -> String {
    let daemon = daemon_of(merged).unwrap();
    let limits = fs::read_to_string(format!("/proc/{daemon}/limits")).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let fields: Vec<_> = line.unwrap().split_whitespace().collect();
    fields[4].to_owned()
}

/// How many files are below a directory.
fn walk(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    let below = entries.map(|entry| match entry.file_type().unwrap().is_dir() {
        true => walk(&entry.path()),
        false => 1,
    });
    below.sum()
}

/// What the mount shows then is undefined, but each call ends, and so does the mount.
#[test]
fn a_layer_that_vanishes_ends_nothing_else() {
    inside(this_test!(), || {
        for seen_before in [true, false] {
            let mut stack = Stack::new(2);
            for i in 0..50 {
                put(&stack.lower(1, &format!("d/e/f{i}")), "gone");
                put(&stack.lower(0, &format!("d/kept{i}")), "kept");
            }
            put(&stack.upper("u"), "upper");
            stack.mount();
            if seen_before {
                assert_eq!(walk(&stack.merged("")), 101);
            }
            fs::remove_dir_all(stack.lower(1, "")).unwrap();
            // The call may fail or succeed.
            let script = "ls -laR .; cat d/e/*; echo x >>d/e/f1; echo x >d/e/new; mv d/e/f2 d/moved; \
                rm -rf d/e; mkdir d/e; chmod 700 d/e; rm d/e/f3; ln d/e/f4 d/l; mv d moved; true";
            within(30, script, &stack.merged(""));
            assert_eq!(fs::read(stack.merged("u")).unwrap(), b"upper");
            fs::write(stack.merged("new"), "new").unwrap();
            let kept = ["d", "moved"].map(|dir| stack.merged(&format!("{dir}/kept1")));
            assert!(
                kept.iter()
                    .any(|path| fs::read(path).is_ok_and(|data| data == b"kept"))
            );
            stack.unmount();
            assert_eq!(fs::read(stack.upper("new")).unwrap(), b"new");
        }
    });
}

#[test]
fn what_the_daemon_may_not_read_is_refused_and_nothing_else() {
    let name = this_test!();
    if !is_initial_namespace() || !rustix::process::geteuid().is_root() {
        return skip(name, "only root makes files that others cannot read");
    }
    if let Some(why) = cannot_mount().or(cannot_run_as_ordinary_user()) {
        return skip(name, &why);
    }
    let stack = Stack::new(1);
    put(&stack.lower(0, "secret"), "secret");
    put(&stack.lower(0, "dir/secret"), "secret");
    put(&stack.lower(0, "open"), "open");
    let mode = |path: &str, mode| {
        fs::set_permissions(stack.path(path), PermissionsExt::from_mode(mode)).unwrap();
    };
    mode("lower0/secret", 0o600);
    mode("lower0/dir", 0o700);
    for path in ["", "lower0", "upper", "work", "merged"] {
        mode(path, 0o755);
    }
    for dir in ["upper", "work", "lower0/open"] {
        std::os::unix::fs::chown(stack.path(dir), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let script = r#"
        "$0" mount -o "$1" "$2" && cd "$2" || exit 1
        cat secret && echo read; echo x >>secret && echo written; chmod 644 secret && echo changed
        ls dir && echo listed; mv dir dir2 && echo moved
        cat open; echo more >>open; cat open; ls
        cd / && "$0" umount "$2"
    "#;
    let mut command = plyfs(["unshare", "sh", "-c", script, PLYFS, &stack.options()]);
    std::os::unix::process::CommandExt::uid(&mut command, NOBODY);
    std::os::unix::process::CommandExt::gid(&mut command, NOBODY);
    let output = command.arg(stack.merged("")).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    assert_eq!(
        told,
        "openopenmore\ndir\nopen\nsecret\n",
        "{}",
        text(&output.stderr)
    );
    assert!(!stack.upper("secret").exists());
    assert_eq!(fs::metadata(stack.lower(0, "secret")).unwrap().size(), 6);
}

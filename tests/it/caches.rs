//! What the kernel keeps of a mount: how long, and that it agrees with what is on disk.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use crate::support::*;
use plyfs_sys::mapping::Mapping;
use rustix::process::Signal;

/// Runs a script in a directory, and kills it if it hangs.
fn within(seconds: u32, script: &str, dir: &Path) -> Output {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", &seconds.to_string(), "sh", "-c", script]);
    command.current_dir(dir).output().unwrap()
}

/// What a script prints while the daemon answers no request.
fn without_daemon(stack: &Stack, script: &str) -> String {
    let daemon = daemon_of(&stack.merged("")).unwrap();
    // The directory is entered while there is a daemon.
    rustix::process::kill_process(daemon, Signal::STOP).unwrap();
    let output = within(5, script, &stack.path(""));
    rustix::process::kill_process(daemon, Signal::CONT).unwrap();
    assert!(output.status.success(), "{script}: {}", output.status);
    text(&output.stdout)
}

#[test]
fn attributes_of_lower_hard_links_are_cached() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "a"), "content");
        for name in ["b", "c"] {
            fs::hard_link(stack.lower(0, "a"), stack.lower(0, name)).unwrap();
        }
        stack.mount();
        let script = format!("stat -c %i {0}/a {0}/b {0}/c", stack.merged("").display());
        let first = succeed(Command::new("sh").args(["-c", &script]));
        assert_eq!(first.lines().collect::<Vec<_>>()[1..].len(), 2);
        assert_eq!(without_daemon(&stack, &script), first);
        // A copy-up breaks the link at once: the name is another file, and the other names are unchanged.
        let before = fs::metadata(stack.merged("b")).unwrap().ino();
        let mut file = File::options()
            .append(true)
            .open(stack.merged("b"))
            .unwrap();
        file.write_all(b"more").unwrap();
        let after = fs::metadata(stack.merged("b")).unwrap();
        assert_eq!(after.nlink(), 1);
        assert_ne!(after.ino(), before);
        assert_eq!(file.metadata().unwrap().ino(), after.ino());
        assert_eq!(fs::metadata(stack.merged("a")).unwrap().ino(), before);
        let now = succeed(Command::new("sh").args(["-c", &script]));
        assert_eq!(without_daemon(&stack, &script), now);
    });
}

/// find(1) by names took four times as long as on the kernel's overlay, most of it for attributes that it did not want.
#[test]
fn a_walk_gets_the_attributes_that_it_looks_at_and_soon_no_others() {
    inside(this_test!(), || {
        let walked = |script: &str| {
            let mut stack = Stack::new(1);
            for number in 0..200 {
                put(&stack.lower(0, &format!("d{}/f{number}", number % 20)), "x");
            }
            stack.mount();
            let found = succeed(
                Command::new("sh")
                    .arg("-c")
                    .arg(script)
                    .current_dir(stack.merged("")),
            );
            assert_eq!(found.lines().count(), 221, "{script}");
            stack
        };
        let every = "n=0; while [ $n -lt 200 ]; do stat -c %n:%s:%F d$((n % 20))/f$n || exit 1; n=$((n + 1)); done";
        // It comes to the directories in some order: in all of them there are files, and in few were files looked at.
        let by_names = walked("find . | sort");
        let daemon = daemon_of(&by_names.merged("")).unwrap();
        rustix::process::kill_process(daemon, Signal::STOP).unwrap();
        let answered = within(2, &format!("cd merged; {every}"), &by_names.path(""));
        rustix::process::kill_process(daemon, Signal::CONT).unwrap();
        assert!(
            !answered.status.success(),
            "the kernel had attributes that the script did not ask for"
        );
        // find(1) with `-size` asks for the attributes, so the kernel has them.
        let by_size = walked("find . -size -9 | sort");
        let expected = without_daemon(&by_size, &format!("cd merged; {every}"));
        let now = within(60, every, &by_names.merged(""));
        assert_eq!(text(&now.stdout), expected);
        assert_eq!(expected.lines().count(), 200);
        for mut stack in [by_names, by_size] {
            stack.unmount();
        }
    });
}

/// The attributes that a copy-up changes by itself.
fn changed(path: &Path) -> (i64, i64, u64, u64) {
    let stat =
        fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (stat.ctime(), stat.ctime_nsec(), stat.blocks(), stat.size())
}

#[test]
fn a_copy_up_shows_at_once_in_the_directories_above() {
    inside(this_test!(), || {
        for options in ["", ",writeback=1", ",copy_up=open"] {
            let mut stack = Stack::new(1);
            put(&stack.lower(0, "tmp/sub/f"), "content");
            put(&stack.lower(0, "d/f"), "content");
            put(&stack.lower(0, "e/f"), "content");
            stack.mount_with(options);
            let dirs = ["", "tmp", "tmp/sub", "d", "e"];
            let all = || dirs.map(|dir| changed(&stack.merged(dir)));
            // Now the kernel has them.
            all();
            let mut file = File::options()
                .append(true)
                .open(stack.merged("tmp/sub/f"))
                .unwrap();
            file.write_all(b"more").unwrap();
            if options == ",writeback=1" {
                file.sync_all().unwrap();
            }
            fs::write(stack.merged("d/new"), "new").unwrap();
            rustix::fs::setxattr(
                stack.merged("e/f"),
                "user.n",
                b"value",
                rustix::fs::XattrFlags::empty(),
            )
            .unwrap();
            for dir in dirs {
                let (shown, stored) = (changed(&stack.merged(dir)), changed(&stack.upper(dir)));
                assert_eq!(shown, stored, "{dir:?} {options}");
            }
            // With a writeback cache the kernel keeps the times of files itself.
            if options != ",writeback=1" {
                let file = changed(&stack.merged("e/f"));
                assert_eq!(file, changed(&stack.upper("e/f")), "{options}");
            }
        }
    });
}

/// An archive made below the tree that it is of copies its directory up before that is read.
#[test]
fn tar_of_a_tree_with_the_archive_in_it_sees_no_change() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "tmp/other"), "content");
        put(&stack.lower(0, "d/f"), "content");
        stack.mount();
        let tar = "tar -cf tmp/archive.tar --exclude=./* .";
        let output = within(
            20,
            &format!("stat . tmp >/dev/null && {tar}"),
            &stack.merged(""),
        );
        let said = text(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
    });
}

/// A mark on a new directory, and a name that a move gives to a file in the index, change their ctime.
#[test]
fn what_is_made_and_moved_is_shown_as_it_is_on_disk() {
    let name = this_test!();
    inside(name, || {
        for options in ["", ",index=on", ",xattr_permissions=2"] {
            if options == ",index=on" && !is_initial_namespace() {
                skip(name, "the index is for the superuser of the machine");
                continue;
            }
            let mut stack = Stack::new(1);
            put(&stack.lower(0, "d/f"), "content");
            fs::hard_link(stack.lower(0, "d/f"), stack.lower(0, "d/h")).unwrap();
            stack.mount_with(options);
            fs::create_dir(stack.merged("d/new")).unwrap();
            fs::write(stack.merged("d/own"), "own").unwrap();
            let agree = |paths: &[&str]| {
                for path in paths {
                    let shown = changed(&stack.merged(path));
                    assert_eq!(shown, changed(&stack.upper(path)), "{path} {options}");
                }
            };
            agree(&["", "d", "d/new", "d/own"]);
            let mut file = File::options()
                .append(true)
                .open(stack.merged("d/h"))
                .unwrap();
            file.write_all(b"more").unwrap();
            agree(&["d/h"]);
            fs::rename(stack.merged("d"), stack.merged("e")).unwrap();
            agree(&["", "e", "e/f", "e/h", "e/new"]);
        }
    });
}

#[test]
fn chattr_shows_at_once_in_the_time_of_last_status_change() {
    let name = this_test!();
    inside(name, || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "f"), "content");
        stack.mount();
        let (path, stored) = (stack.merged("f"), stack.upper("f"));
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"more")
            .unwrap();
        let file = File::open(&path).unwrap();
        let flags = match rustix::fs::ioctl_getflags(&file) {
            Ok(flags) => flags,
            Err(error) => return skip(name, &format!("no flags of files here: {error}")),
        };
        let before = changed(&path);
        std::thread::sleep(std::time::Duration::from_millis(30));
        rustix::fs::ioctl_setflags(&file, flags | rustix::fs::IFlags::NODUMP).unwrap();
        assert_eq!(changed(&path), changed(&stored));
        assert_ne!(changed(&path), before);
    });
}

#[test]
fn a_file_with_more_lower_names_than_were_counted_keeps_one_link() {
    let name = this_test!();
    inside(name, || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "0"), "");
        fs::hard_link(stack.lower(0, "0"), stack.lower(0, "1")).unwrap();
        stack.mount_with(",index=on");
        let at = |name| stack.merged(name);
        fs::write(at("0"), "content").unwrap();
        for name in ["2", "3"] {
            fs::hard_link(stack.lower(0, "0"), stack.lower(0, name)).unwrap();
            fs::remove_file(at(name)).unwrap();
        }
        // The kernel has counted to zero, and links nothing without links.
        fs::hard_link(at("0"), at("4")).unwrap();
        assert_eq!(fs::metadata(at("0")).unwrap().nlink(), 2);
        assert_eq!(fs::read_to_string(at("4")).unwrap(), "content");
    });
}

/// A stack whose lower file `f` of a megabyte cannot be copied up.
fn too_large() -> Stack {
    let stack = Stack::new(1);
    put(&stack.lower(0, "f"), &"x".repeat(1 << 20));
    stack.upper_on_tmpfs("400k");
    stack
}

#[test]
fn a_refused_copy_up_fails_the_write_and_changes_no_file() {
    let name = this_test!();
    inside(name, || {
        let mut stack = too_large();
        stack.mount();
        for script in [
            "echo lost >>f",
            "echo lost | tee -a f >/dev/null",
            "dd if=/dev/zero of=f bs=10 count=1 conv=notrunc",
            "sh -c 'exec 3<>f; echo lost >&3'",
        ] {
            let output = within(20, script, &stack.merged(""));
            assert!(!output.status.success(), "{script}");
            let now = fs::read(stack.merged("f")).unwrap();
            assert_eq!(now.len(), 1 << 20, "{script}");
            assert!(now.iter().all(|byte| *byte == b'x'), "{script}");
        }
        // Other files still fit.
        fs::write(stack.merged("small"), "small").unwrap();
        stack.unmount();
        assert!(!stack.upper("f").exists());
        stack.drop_tmpfs();
    });
}

#[test]
fn what_a_mapping_could_not_store_is_not_shown_for_long() {
    let name = this_test!();
    inside(name, || {
        for options in ["", ",writeback=1"] {
            let mut stack = too_large();
            stack.mount_with(options);
            let file = File::options()
                .read(true)
                .write(true)
                .open(stack.merged("f"))
                .unwrap();
            let mut mapping = Mapping::new(&file, 8192, true).unwrap();
            mapping.store(100, b"lost").unwrap();
            assert!(file.sync_all().is_err(), "{options}");
            drop(mapping);
            let mut found = [0; 4];
            for _ in 0..100 {
                file.read_exact_at(&mut found, 100).unwrap();
                if found == *b"xxxx" {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            assert_eq!(&found, b"xxxx", "{options}");
            drop(file);
            stack.unmount();
            stack.drop_tmpfs();
        }
    });
}

#[test]
fn the_kernel_gathers_writes_only_if_asked_to() {
    inside(this_test!(), || {
        for (options, gathers) in [("", false), (",writeback=0", false), (",writeback=1", true)] {
            let mut stack = Stack::new(1);
            stack.mount_with(options);
            let mut file = File::create(stack.merged("f")).unwrap();
            file.write_all(b"content").unwrap();
            let stored = fs::read(stack.upper("f")).unwrap();
            assert_eq!(stored.is_empty(), gathers, "{options}");
        }
    });
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn content(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn without_a_timeout_changes_of_a_lower_layer_show_at_once() {
    let name = this_test!();
    inside(name, || {
        for options in [
            ",timeout=0",
            ",timeout=0,writeback=1",
            ",timeout=0,copy_up=open",
        ] {
            let mut stack = Stack::new(2);
            put(&stack.lower(0, "d/above"), "above");
            put(&stack.lower(1, "d/below"), "below");
            put(&stack.lower(1, "f"), "first");
            symlink("here", stack.lower(1, "link")).unwrap();
            stack.mount_with(options);
            let (m, l) = (|path| stack.merged(path), |path| stack.lower(1, path));
            // A listing of an upper directory is one of several layers.
            fs::write(m("d/own"), "own").unwrap();
            fs::write(m("own"), "own").unwrap();
            assert_eq!(names(&m("")), ["d", "f", "link", "own"]);
            assert_eq!(names(&m("d")), ["above", "below", "own"]);
            for _ in 0..20 {
                assert!(!m("new").exists());
            }
            assert_eq!(content(&m("f")), "first");

            put(&l("new"), "new");
            assert_eq!(content(&m("new")), "new");
            put(&l("d/new"), "new");
            assert_eq!(names(&m("")), ["d", "f", "link", "new", "own"]);
            assert_eq!(names(&m("d")), ["above", "below", "new", "own"]);

            // Of the same size, too, and open.
            let mut open = File::open(m("f")).unwrap();
            fs::write(l("f"), "other").unwrap();
            assert_eq!(content(&m("f")), "other");
            let mut text = String::new();
            open.read_to_string(&mut text).unwrap();
            assert_eq!(text, "other");
            drop(open);
            put(&l("f.tmp"), "renamed");
            fs::rename(l("f.tmp"), l("f")).unwrap();
            assert_eq!(content(&m("f")), "renamed");
            fs::remove_file(l("link")).unwrap();
            symlink("elsewhere", l("link")).unwrap();
            let target = fs::read_link(m("link")).unwrap();
            assert_eq!(target, Path::new("elsewhere"));

            // Another kind under the same name; file systems use inode numbers again at once.
            for _ in 0..3 {
                fs::remove_file(l("new")).unwrap();
                assert!(!m("new").exists());
                fs::create_dir(l("new")).unwrap();
                assert_eq!(names(&m("new")), [""; 0]);
                put(&l("new/in"), "in");
                assert_eq!(content(&m("new/in")), "in");
                fs::remove_dir_all(l("new")).unwrap();
                put(&l("new"), "again");
                assert_eq!(content(&m("new")), "again");
            }
            // A directory that moves, with another in its place.
            fs::rename(l("d"), l("moved")).unwrap();
            put(&l("d/third"), "third");
            assert_eq!(names(&m("moved")), ["below", "new"]);
            assert_eq!(content(&m("moved/below")), "below");
            assert_eq!(names(&m("d")), ["above", "own", "third"]);
            assert_eq!(content(&m("d/third")), "third");
            // A lower directory that comes under one that is there.
            put(&stack.lower(0, "moved/upper"), "upper");
            assert_eq!(names(&m("moved")), ["below", "new", "upper"]);
            assert_eq!(content(&m("moved/upper")), "upper");

            // What is made beside all that.
            let mut file = File::options().append(true).open(m("f")).unwrap();
            file.write_all(b" and more").unwrap();
            drop(file);
            assert_eq!(content(&m("f")), "renamed and more");
            fs::remove_file(m("new")).unwrap();
            put(&l("new"), "hidden");
            assert!(!m("new").exists());
            assert!(fs::remove_dir(m("moved")).is_err());
            fs::remove_dir_all(m("moved")).unwrap();
            assert!(!m("moved").exists());
            fs::rename(m("d"), m("e")).unwrap();
            assert_eq!(names(&m("e")), ["above", "own", "third"]);
            stack.unmount();
        }
    });
}

/// A file with several names is one node where nothing can be changed, and lies where it was found last.
#[test]
fn a_file_with_several_names_is_read_when_one_is_gone() {
    let name = this_test!();
    inside(name, || {
        for gone in ["d/a", "d/b", "e/c"] {
            let mut stack = Stack::new(1);
            put(&stack.lower(0, "d/a"), "content");
            fs::create_dir(stack.lower(0, "e")).unwrap();
            for other in ["d/b", "e/c"] {
                fs::hard_link(stack.lower(0, "d/a"), stack.lower(0, other)).unwrap();
            }
            let lower = stack.lower(0, "");
            let options = format!("lowerdir={},timeout=0", lower.display());
            succeed(plyfs(["mount", "-o", &options]).arg(stack.merged("")));
            stack.mounted_by_other();
            for path in [gone, "d/a", "d/b", "e/c"] {
                fs::metadata(stack.merged(path)).unwrap();
            }
            fs::remove_file(stack.lower(0, gone)).unwrap();
            for path in ["d/a", "d/b", "e/c"] {
                let read = fs::read_to_string(stack.merged(path));
                match path == gone {
                    true => assert!(read.is_err(), "{path}"),
                    false => assert_eq!(read.unwrap(), "content", "{path}"),
                }
            }
            stack.unmount();
        }
    });
}

#[test]
fn a_short_timeout_ends() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "f"), "first");
        // The kernel would keep the size of a file whose writes it gathers.
        stack.mount_with(",timeout=0.2,writeback=1");
        let (m, l) = (|path| stack.merged(path), |path| stack.lower(0, path));
        assert_eq!(names(&m("")), ["f"]);
        assert!(!m("new").exists());
        assert_eq!(content(&m("f")), "first");
        put(&l("new"), "new");
        fs::write(l("f"), "a longer second").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert_eq!(content(&m("new")), "new");
        assert_eq!(names(&m("")), ["f", "new"]);
        assert_eq!(content(&m("f")), "a longer second");
        stack.unmount();
    });
}

/// A process that reads a large directory in parts sees each name that stays once, though others make the kernel
/// read it from the start.
#[test]
fn two_readers_of_a_changing_directory_miss_nothing() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        for number in 0..1000 {
            put(&stack.lower(0, &format!("d/f{number}")), "");
        }
        stack.mount_with(",timeout=0");
        let mut seen = Vec::new();
        for (number, entry) in fs::read_dir(stack.merged("d")).unwrap().enumerate() {
            seen.push(entry.unwrap().file_name());
            if number % 100 == 0 {
                put(&stack.lower(0, &format!("d/late{number}")), "");
                assert!(names(&stack.merged("d")).len() > 1000);
            }
        }
        seen.retain(|name| name.to_string_lossy().starts_with('f'));
        assert_eq!(seen.len(), 1000);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 1000);
        stack.unmount();
    });
}

/// As on the kernel's overlay, which opens the files of layers with those of the mount.
#[test]
fn an_open_file_stays_itself_when_a_lower_file_is_replaced() {
    inside(this_test!(), || {
        for timeout in ["timeout=0", "timeout=0.2"] {
            let mut stack = Stack::new(1);
            for name in ["read", "written", "removed", "mode"] {
                put(&stack.lower(0, name), "old content");
            }
            stack.mount_with(timeout);
            let (m, l) = (|path| stack.merged(path), |path| stack.lower(0, path));
            let opened = |name| File::open(m(name)).unwrap();
            let [read, removed, mode] = ["read", "removed", "mode"].map(opened);
            let written = File::options().write(true).open(m("written")).unwrap();
            for name in ["read", "written", "mode"] {
                put(&l("beside"), "new");
                fs::rename(l("beside"), l(name)).unwrap();
            }
            fs::remove_file(l("removed")).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(300));
            // Now the names are known as other files.
            for name in ["read", "mode"] {
                assert_eq!(content(&m(name)), "new", "{timeout}");
            }
            assert!(!m("removed").exists());
            for file in [&read, &removed, &mode] {
                let mut found = [0; 100];
                let length = file.read_at(&mut found, 0).unwrap();
                assert_eq!(text(&found[..length]), "old content", "{timeout}");
                assert_eq!(file.metadata().unwrap().len(), 11);
            }
            // It was copied up when it was opened, and hides the new one.
            written.write_all_at(b"OLD", 0).unwrap();
            assert_eq!(content(&m("written")), "OLD content", "{timeout}");
            // A file that is no longer there is not copied over the new one.
            let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            let changed = mode.set_permissions(permissions).unwrap_err();
            let stale = rustix::io::Errno::STALE.raw_os_error();
            assert_eq!(changed.raw_os_error(), Some(stale), "{timeout}");
            assert_eq!(content(&m("mode")), "new", "{timeout}");
            assert!(!stack.upper("mode").exists());
            drop((read, removed, mode, written));
            stack.unmount();
        }
    });
}

//! Attributes that the kernel caches.

use super::*;

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

//! `plyfs mount` and `plyfs umount` of plain directories.

use std::fs::{self, File};
use std::io::{IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::*;
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn a_stack_is_mounted_changed_and_unmounted() {
    inside(this_test!(), || {
        let mut stack = Stack::new(2);
        put(&stack.lower(0, "d/top"), "top");
        put(&stack.lower(1, "d/bottom"), "bottom");
        stack.mount();
        assert_eq!(mount_type(&stack.merged("")), "fuse.plyfs");
        assert_eq!(fs::read_to_string(stack.merged("d/top")).unwrap(), "top");
        fs::write(stack.merged("d/new"), "new").unwrap();
        fs::remove_file(stack.merged("d/top")).unwrap();
        fs::rename(stack.merged("d/bottom"), stack.merged("moved")).unwrap();
        let names = |path| {
            let entries = fs::read_dir(path).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(stack.merged("d")), ["new"]);
        assert_eq!(names(stack.merged("")), ["d", "moved"]);
        stack.unmount();
        assert!(!is_mounted(&stack.merged("")));
        assert_eq!(fs::read_to_string(stack.upper("moved")).unwrap(), "bottom");
        assert_eq!(fs::read_to_string(stack.lower(0, "d/top")).unwrap(), "top");
        // A second mount shows the changes of the first.
        stack.mount();
        assert_eq!(names(stack.merged("d")), ["new"]);
    });
}

#[test]
fn requests_that_need_not_be_sent_can_be_had() {
    inside(this_test!(), || {
        let words = [
            "open", "opendir", "create", "flush", "lookup", "killpriv", "readlink", "fsync",
        ];
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "d/lower"), "lower");
        for word in words {
            stack.mount_with(&format!("send={word}"));
            let link = stack.merged(&format!("d/{word}.link"));
            std::os::unix::fs::symlink("lower", &link).unwrap();
            for _ in 0..2 {
                let mut file = fs::File::create(stack.merged("d/new")).unwrap();
                file.write_all(word.as_bytes()).unwrap();
                file.sync_all().unwrap();
                drop(file);
                let mut lower = fs::File::options();
                let mut lower = lower.append(true).open(&link).unwrap();
                lower.write_all(b"+").unwrap();
                assert!(fs::read_dir(stack.merged("d")).unwrap().count() > 2);
                assert_eq!(fs::read(stack.merged("d/new")).unwrap(), word.as_bytes());
            }
            stack.unmount();
            assert_eq!(fs::read(stack.upper("d/new")).unwrap(), word.as_bytes());
            fs::remove_file(stack.upper("d/new")).unwrap();
        }
        let content = format!("lower{}", "++".repeat(words.len()));
        assert_eq!(fs::read_to_string(stack.upper("d/lower")).unwrap(), content);
        let options = format!("{},send=open:close", stack.options());
        let (_, line) = fail(plyfs(["mount", "-o", &options]).arg(stack.merged("")));
        assert!(line.contains("send= takes open, opendir"), "{line}");
    });
}

#[test]
fn a_directory_is_listed_while_it_is_removed() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        for i in 0..3000 {
            put(&stack.lower(0, &format!("d/{i}")), "");
        }
        stack.mount();
        fs::remove_dir_all(stack.merged("d")).unwrap();
        fs::create_dir(stack.merged("d")).unwrap();
        assert_eq!(fs::read_dir(stack.merged("d")).unwrap().count(), 0);
    });
}

/// Fault 1, through the kernel's page cache.
#[test]
fn a_descriptor_opened_before_copy_up_sees_later_writes() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "f"), &"old ".repeat(2048));
        stack.mount();
        let mut reader = fs::File::open(stack.merged("f")).unwrap();
        let mut before = String::new();
        reader.read_to_string(&mut before).unwrap();
        let writer = fs::File::options()
            .write(true)
            .open(stack.merged("f"))
            .unwrap();
        writer.write_all_at(b"NEW ", 4096).unwrap();
        writer.sync_all().unwrap();
        reader.seek(SeekFrom::Start(0)).unwrap();
        let mut after = String::new();
        reader.read_to_string(&mut after).unwrap();
        let expected = before
            .replacen("old ", "NEW ", 1025)
            .replacen("NEW ", "old ", 1024);
        assert_eq!(after, expected);
        writer.write_all_at(b"2", 4098).unwrap();
        drop((writer, reader));
        stack.unmount();
        let kept = fs::read_to_string(stack.upper("f")).unwrap();
        assert_eq!(&kept[4094..4104], "d NE2 old ");
    });
}

/// Fault 3, with real descriptors.
#[test]
fn an_open_file_outlives_its_name() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "lower"), "lower text");
        stack.mount();
        fs::write(stack.merged("upper"), "upper text").unwrap();
        for name in ["lower", "upper"] {
            let path = stack.merged(name);
            let mut file = fs::File::options()
                .read(true)
                .write(true)
                .open(&path)
                .unwrap();
            fs::remove_file(&path).unwrap();
            file.set_len(5).unwrap();
            file.set_permissions(fs::Permissions::from_mode(0o600))
                .unwrap();
            file.write_all_at(b"X", 0).unwrap();
            file.sync_all().unwrap();
            let meta = file.metadata().unwrap();
            assert_eq!((meta.len(), meta.mode() & 0o777), (5, 0o600));
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, format!("X{}", &name[1..]));
            let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
            assert_eq!(fs::read_to_string(again).unwrap(), text);
            assert!(!path.exists());
        }
    });
}

#[test]
fn writes_arrive_in_the_upper_layer_when_the_file_is_closed() {
    inside(this_test!(), || {
        for options in ["", ",writeback=1"] {
            let mut stack = Stack::new(1);
            stack.mount_with(options);
            let mut file = fs::File::create(stack.merged("f")).unwrap();
            for i in 0..10_000 {
                writeln!(file, "line {i}").unwrap();
            }
            drop(file);
            let there = fs::read_to_string(stack.upper("f")).unwrap();
            assert_eq!(there.lines().count(), 10_000, "{options}");
        }
    });
}

#[test]
fn a_read_only_mount_refuses_changes() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "f"), "text");
        stack.mount_with("ro");
        let error = fs::write(stack.merged("f"), "x").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        assert_eq!(fs::read_to_string(stack.merged("f")).unwrap(), "text");
    });
}

/// As in the kernel's overlay, where it is not left out.
#[test]
fn a_read_only_mount_shows_its_upper_layer() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "f"), "lower");
        put(&stack.upper("f"), "upper");
        stack.mount_with("ro");
        assert_eq!(fs::read_to_string(stack.merged("f")).unwrap(), "upper");
    });
}

#[test]
fn a_mount_is_made_read_only_and_writable_again() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        stack.mount_with("nodev");
        let remount = |options: &str| {
            plyfs(["mount", "-o", options])
                .arg(stack.merged(""))
                .output()
        };
        let write = || fs::write(stack.merged("f"), "text").map_err(|error| error.kind());
        assert_eq!(write(), Ok(()));
        assert!(remount("remount,ro").unwrap().status.success());
        assert_eq!(write(), Err(std::io::ErrorKind::ReadOnlyFilesystem));
        assert!(remount("remount,rw").unwrap().status.success());
        assert_eq!(write(), Ok(()));
        let options = mount_options(&stack.merged(""));
        assert!(options.contains("nodev"), "{options}");
    });
}

#[test]
fn a_mount_without_an_upper_layer_stays_read_only() {
    inside(this_test!(), || {
        let stack = Stack::new(1);
        let (lower, merged) = (stack.lower(0, ""), stack.merged(""));
        let lower = format!("lowerdir={}", lower.display());
        succeed(plyfs(["mount", "-o", &lower]).arg(&merged));
        let (_, line) = fail(plyfs(["mount", "-o", "remount,rw"]).arg(&merged));
        assert!(line.contains("no upper directory"), "{line}");
        let options = mount_options(&merged);
        assert!(options.starts_with("ro"), "{options}");
        succeed(plyfs(["umount"]).arg(&merged));
    });
}

#[test]
fn the_source_and_type_are_those_asked_for() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        stack.mount_with("fsname=overlay,subtype=other");
        assert_eq!(mount_type(&stack.merged("")), "fuse.other");
    });
}

#[test]
fn a_signal_ends_the_daemon_and_the_mount() {
    inside(this_test!(), || {
        let stack = Stack::new(1);
        let mut daemon = plyfs(["mount", "--foreground", "-o", &stack.options()])
            .arg(stack.merged(""))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        while !is_mounted(&stack.merged("")) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        fs::write(stack.merged("f"), "text").unwrap();
        let pid = rustix::process::Pid::from_child(&daemon);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(daemon.wait().unwrap().success());
        assert!(!is_mounted(&stack.merged("")));
        assert_eq!(fs::read_to_string(stack.upper("f")).unwrap(), "text");
    });
}

#[test]
fn what_cannot_be_mounted_is_one_line_and_leaves_nothing() {
    inside(this_test!(), || {
        let stack = Stack::new(1);
        let merged = stack.merged("");
        let said = |options: &str, contains: &str| {
            let (status, line) = fail(plyfs(["mount", "-o", options]).arg(&merged));
            assert_eq!(status, 1);
            assert!(line.contains(contains), "{line}");
            assert!(!is_mounted(&merged));
        };
        let lower = stack.lower(0, "").display().to_string();
        said("lowerdir=/no/such/dir", "/no/such/dir");
        said(&format!("lowerdir={lower},upperdir=/tmp"), "work directory");
        said(&format!("lowerdir={lower},nonsense"), "nonsense");
        said(
            &format!("{},lowerdir={}", stack.options(), stack.upper("").display()),
            "overlap",
        );
        // The status is 2, as for every missing argument.
        let (status, line) = fail(plyfs(["mount", "-o", "ro"]).arg(&merged));
        assert_eq!(status, 2);
        assert!(line.contains("lowerdir="), "{line}");
        let (_, line) = fail(&mut plyfs([
            "mount",
            "-o",
            &stack.options(),
            "/no/such/mountpoint",
        ]));
        assert!(line.contains("/no/such/mountpoint"), "{line}");
        assert!(line.ends_with("make it first"), "{line}");
        let file = stack.path("file");
        fs::write(&file, "").unwrap();
        let (_, line) = fail(plyfs(["mount", "-o", &stack.options()]).arg(&file));
        assert!(line.contains("no directory"), "{line}");
        let (_, line) = fail(plyfs(["umount"]).arg(&merged));
        assert!(line.contains("merged"), "{line}");
    });
}

#[test]
fn a_work_directory_serves_one_mount() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        stack.mount();
        let other = stack.path("other");
        fs::create_dir(&other).unwrap();
        let (_, line) = fail(plyfs(["mount", "-o", &stack.options()]).arg(&other));
        assert!(line.contains("in use"), "{line}");
        assert!(!is_mounted(&other));
        stack.unmount();
        stack.mount();
    });
}

/// If the table of descriptors grows while the process has several threads, the kernel waits for all processors, ten
/// milliseconds and more. fork(2) does not hand down a table that the parent has enlarged.
#[test]
fn the_table_of_descriptors_is_large_from_the_start() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        stack.mount();
        let daemon = daemon_of(&stack.merged("")).unwrap();
        let status = format!("/proc/{}/status", daemon.as_raw_nonzero());
        let status = fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
        let size: u64 = line.unwrap().trim().parse().unwrap();
        assert!(size >= 512, "{size}");
        stack.unmount();
    });
}

/// Waking a thread takes longer than either. Python asks of every file it opens whether it is a terminal.
#[test]
fn what_can_be_answered_at_once_wakes_no_thread() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        let sector = "x".repeat(512);
        put(&stack.lower(0, "sector"), &sector);
        stack.mount();
        let daemon = daemon_of(&stack.merged("")).unwrap();
        // How often the threads of the pools have gone to sleep; `None` while one has not done so yet.
        let slept = || {
            let tasks = fs::read_dir(format!("/proc/{daemon}/task")).unwrap();
            let statuses =
                tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")).unwrap());
            let pools = statuses.filter(|status| {
                status.starts_with("Name:\tplyfs-copy\n")
                    || status.starts_with("Name:\tplyfs-sync\n")
            });
            let counts: Vec<u64> = pools
                .map(|status| {
                    let count = status
                        .lines()
                        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
                    count.unwrap().trim().parse().unwrap()
                })
                .collect();
            let all = counts.len() == 2 && !counts.contains(&0);
            all.then(|| counts.iter().sum::<u64>())
        };
        let wait_until = |what: &dyn Fn() -> bool| {
            let start = Instant::now();
            while !what() {
                assert!(start.elapsed() < Duration::from_secs(30));
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        wait_until(&|| slept().is_some());
        let before = slept();
        let file = File::open(stack.merged("sector")).unwrap();
        assert!(!file.is_terminal());
        assert_eq!(slept(), before);
        // The file ends where a read could also be short because the following data is not in memory.
        assert_eq!(fs::read_to_string(stack.merged("sector")).unwrap(), sector);
        assert_eq!(slept(), before);
        let copy = File::create(stack.merged("copy")).unwrap();
        let copied = rustix::fs::copy_file_range(&file, None, &copy, None, 1 << 30);
        assert_eq!(copied, Ok(sector.len()));
        assert_eq!(fs::read_to_string(stack.merged("copy")).unwrap(), sector);
        drop(copy);
        assert_eq!(slept(), before);
        // This request does wake a thread, so the check above would see it.
        rustix::fs::ioctl_getflags(&file).ok();
        wait_until(&|| slept() > before);
        drop(file);
        stack.unmount();
    });
}

#[test]
fn unmounting_waits_for_the_daemon() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        for i in 0..20 {
            // The work directory is locked as long as a daemon lives.
            stack.mount();
            fs::write(stack.merged("f"), format!("{i}")).unwrap();
            stack.unmount();
        }
    });
}

#[test]
fn a_busy_mount_is_not_unmounted() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "f"), "");
        stack.mount();
        let file = fs::File::open(stack.merged("f")).unwrap();
        let (_, line) = fail(plyfs(["umount"]).arg(stack.merged("")));
        assert!(line.contains("busy"), "{line}");
        assert!(is_mounted(&stack.merged("")));
        drop(file);
        stack.unmount();
    });
}

#[test]
fn usage_is_explained() {
    let help = succeed(&mut plyfs(["--help"]));
    for command in ["mount", "umount", "unshare"] {
        assert!(help.contains(command), "{help}");
    }
    let output = plyfs(["no-such-command"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_daemon_holds_no_pipe_of_its_caller() {
    inside(this_test!(), || {
        let stack = Stack::new(1);
        let script = r#"
            exec 3>&1
            "$0" mount -o "$1" "$2" && echo mounted >&3
        "#;
        let mut command = std::process::Command::new("timeout");
        command.args(["20", "sh", "-c", script, PLYFS, &stack.options()]);
        // This reads until all processes have closed the pipe.
        let said = succeed(command.arg(stack.merged("")));
        assert_eq!(said, "mounted\n");
        succeed(plyfs(["umount"]).arg(stack.merged("")));
    });
}

#[test]
fn the_writer_gets_the_error_of_a_full_disk() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        stack.upper_on_tmpfs("1200k");
        stack.mount();
        let mut file = fs::File::create(stack.merged("f")).unwrap();
        let data = vec![7; 3_000_000];
        let written = file.write_all(&data).and_then(|()| file.sync_all());
        assert!(written.is_err(), "{:?}", fs::metadata(stack.upper("f")));
        drop(file);
        stack.unmount();
        stack.drop_tmpfs();
    });
}

/// The kernel asks for holes without sending what it has gathered.
#[test]
fn what_was_just_written_is_no_hole() {
    inside(this_test!(), || {
        for options in ["", ",writeback=1"] {
            let mut stack = Stack::new(1);
            put(&stack.lower(0, "lower"), "");
            stack.mount_with(options);
            for name in ["new", "lower"] {
                let file = fs::File::options()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(stack.merged(name))
                    .unwrap();
                file.write_all_at(&[7; 300_000], 0).unwrap();
                let reader = fs::File::open(stack.merged(name)).unwrap();
                let data = rustix::fs::seek(&reader, rustix::fs::SeekFrom::Data(0));
                assert_eq!(data, Ok(0), "{name} {options}");
                let hole = rustix::fs::seek(&reader, rustix::fs::SeekFrom::Hole(0));
                assert_eq!(hole, Ok(300_000), "{name} {options}");
            }
        }
    });
}

#[test]
fn unmounting_does_not_wait_for_other_mount_namespaces() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        stack.mount();
        let mut other = Command::new("unshare");
        other.args(["--mount", "sh", "-c", "echo ready; exec sleep 60"]);
        let mut other = other.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = [0; 6];
        std::io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut said).unwrap();
        let output = plyfs(["umount"]).arg(stack.merged("")).output().unwrap();
        assert!(output.status.success());
        let line = text(&output.stderr);
        assert!(line.contains("still mounted in another"), "{line}");
        other.kill().unwrap();
        other.wait().unwrap();
        // The daemon ends when the last namespace with the mount has ended.
        let options = stack.options();
        let again = || {
            plyfs(["mount", "-o", &options])
                .arg(stack.merged(""))
                .output()
        };
        let start = std::time::Instant::now();
        while !again().unwrap().status.success() {
            assert!(start.elapsed().as_secs() < 10);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        stack.unmount();
    });
}

/// The superuser's daemon must not write data of other users beyond quotas or into reserved blocks.
#[test]
fn the_daemon_gives_up_what_exempts_from_limits() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        stack.mount();
        let daemon = daemon_of(&stack.merged("")).unwrap();
        let sets = rustix::thread::capabilities(Some(daemon)).unwrap();
        let resource = rustix::thread::CapabilitySet::SYS_RESOURCE;
        assert!(!sets.effective.contains(resource));
        assert!(!sets.effective.is_empty());
    });
}

/// fstests generic/448. An offset that is negative to the kernel comes as a large one from here.
#[test]
fn there_is_no_data_before_the_file() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "f"), "data");
        stack.mount();
        let file = fs::File::open(stack.merged("f")).unwrap();
        for offset in [u64::MAX, 1 << 63] {
            for whence in [rustix::fs::SeekFrom::Data, rustix::fs::SeekFrom::Hole] {
                let sought = rustix::fs::seek(&file, whence(offset));
                assert_eq!(sought, Err(rustix::io::Errno::NXIO));
            }
        }
    });
}

#[test]
fn set_uid_is_gone_at_once_when_others_write() {
    inside(this_test!(), || {
        if !rustix::process::geteuid().is_root() {
            return skip(this_test!(), "only root can be others");
        }
        let mut stack = Stack::new(1);
        stack.mount();
        let path = stack.merged("f");
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4777)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o4777);
        let written = std::process::Command::new("setpriv")
            .args([
                "--reuid=1000",
                "--clear-groups",
                "--bounding-set=-all",
                "sh",
                "-c",
            ])
            .arg(format!("echo y >>{}", path.display()))
            .output();
        match written {
            Ok(output) if output.status.success() => {}
            other => {
                return skip(this_test!(), &format!("{other:?}"));
            }
        }
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o777);
    });
}

#[test]
fn a_program_that_runs_can_be_read() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        stack.mount();
        fs::copy("/bin/sleep", stack.merged("program")).unwrap();
        stack.unmount();
        let mut running = std::process::Command::new(stack.upper("program"))
            .arg("60")
            .spawn()
            .unwrap();
        stack.mount();
        let read = fs::read(stack.merged("program"));
        running.kill().unwrap();
        running.wait().unwrap();
        assert_eq!(read.unwrap(), fs::read("/bin/sleep").unwrap());
    });
}

/// A copy without its data made its whole directory impossible to list.
#[test]
fn a_damaged_file_is_listed_and_refused() {
    inside(this_test!(), || {
        let mut stack = Stack::new(2);
        put(&stack.lower(0, "d/sound"), "sound");
        put(&stack.lower(0, "d/damaged"), "");
        let damaged = fs::File::options()
            .write(true)
            .open(stack.lower(0, "d/damaged"));
        damaged.unwrap().set_len(10_000).unwrap();
        let namespace = match is_initial_namespace() {
            true => "trusted",
            false => "user",
        };
        let record = format!("{namespace}.overlay.metacopy");
        let empty = rustix::fs::XattrFlags::empty();
        rustix::fs::lsetxattr(stack.lower(0, "d/damaged"), record, b"", empty).unwrap();
        stack.mount();
        for _ in 0..3 {
            let entries = fs::read_dir(stack.merged("d")).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            assert_eq!(names, ["damaged", "sound"]);
            assert_eq!(fs::read(stack.merged("d/sound")).unwrap(), b"sound");
            for error in [
                fs::metadata(stack.merged("d/damaged")).unwrap_err(),
                fs::read(stack.merged("d/damaged")).unwrap_err(),
                fs::write(stack.merged("d/damaged"), "x").unwrap_err(),
            ] {
                let errno = rustix::io::Errno::from_io_error(&error);
                assert_eq!(errno, Some(rustix::io::Errno::IO));
            }
        }
        stack.unmount();
    });
}

#[test]
fn a_mount_whose_daemon_has_ended_is_named_and_replaced() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "f"), "text");
        stack.mount();
        let daemon = daemon_of(&stack.merged("")).unwrap();
        rustix::process::kill_process(daemon, rustix::process::Signal::KILL).unwrap();
        let is_dead = || {
            let found = rustix::fs::statfs(stack.merged(""));
            found.err() == Some(rustix::io::Errno::NOTCONN)
        };
        let start = std::time::Instant::now();
        while !is_dead() {
            assert!(start.elapsed().as_secs() < 10, "the daemon lives");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let program = stack.path("fuse-overlayfs");
        std::os::unix::fs::symlink(PLYFS, &program).unwrap();
        let options = stack.options();
        let mount = |more: &[&str]| {
            let mut command = plyfs(["mount", "-o", &options]);
            command.args(more).arg(stack.merged(""));
            command
        };
        let (_, line) = fail(&mut mount(&[]));
        assert!(
            line.contains("has ended") && line.contains("--replace"),
            "{line}"
        );
        let (_, line) = fail(
            Command::new(program)
                .args(["-o", &options])
                .arg(stack.merged("")),
        );
        assert!(line.contains("has ended"), "{line}");
        assert!(is_dead());
        succeed(&mut mount(&["--replace"]));
        assert_eq!(fs::read(stack.merged("f")).unwrap(), b"text");
        // `--replace` does not replace a mount whose daemon lives.
        let (_, line) = fail(&mut mount(&["--replace"]));
        assert!(line.contains("busy"), "{line}");
        stack.unmount();
        assert!(!is_mounted(&stack.merged("")));
    });
}

#[test]
fn a_mount_that_was_made_through_a_link_is_unmounted_through_it() {
    inside(this_test!(), || {
        let stack = Stack::new(1);
        put(&stack.lower(0, "f"), "text");
        let link = stack.path("link");
        std::os::unix::fs::symlink("merged", &link).unwrap();
        for again in [false, true] {
            succeed(plyfs(["mount", "-o", &stack.options()]).arg(&link));
            assert!(is_mounted(&stack.merged("")), "{again}");
            assert_eq!(fs::read(link.join("f")).unwrap(), b"text");
            succeed(plyfs(["umount"]).arg(&link));
            assert!(!is_mounted(&stack.merged("")), "{again}");
        }
        let (_, line) = fail(plyfs(["umount"]).arg(&link));
        assert!(line.contains("nothing is mounted"), "{line}");
    });
}

/// The files of mounts that name this process.
fn files_of(pid: Pid) -> Vec<PathBuf> {
    let files = state_directories().into_iter().flat_map(fs::read_dir);
    let mut paths: Vec<PathBuf> = files.flatten().map(|file| file.unwrap().path()).collect();
    paths.retain(|path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().nth(1) == Some(&pid.to_string())
    });
    paths
}

#[test]
fn a_mount_has_a_file_until_it_is_unmounted() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        stack.mount();
        let files = files_of(daemon_of(&stack.merged("")).unwrap());
        assert_eq!(files.len(), 1, "{files:?}");
        stack.unmount();
        assert!(!files[0].exists());
    });
}

#[test]
fn umount_removes_the_file_of_a_daemon_that_was_killed() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        stack.mount();
        let daemon = daemon_of(&stack.merged("")).unwrap();
        let files = files_of(daemon);
        assert_eq!(files.len(), 1, "{files:?}");
        kill_process(daemon, Signal::KILL).unwrap();
        let output = plyfs(["umount"]).arg(stack.merged("")).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "");
        assert!(!files[0].exists());
        stack.mount();
        stack.unmount();
    });
}

/// As in containers whose /run cannot be written to.
#[test]
fn mounting_and_unmounting_need_no_runtime_directory() {
    inside(this_test!(), || {
        for place in ["/run", "/tmp"] {
            let flags = rustix::mount::MountFlags::RDONLY;
            if place == "/run" || !is_initial_namespace() {
                rustix::mount::mount("none", place, "tmpfs", flags, None).unwrap();
            }
        }
        let merged = PathBuf::from("/dev/shm/plyfs-test-merged");
        let lower = PathBuf::from("/dev/shm/plyfs-test-lower");
        for dir in [&merged, &lower] {
            fs::create_dir_all(dir).unwrap();
        }
        for backend in ["fuse", "auto"] {
            let options = format!("lowerdir={},backend={backend}", lower.display());
            for command in [
                plyfs(["mount", "-o", &options]).arg(&merged),
                plyfs(["umount"]).arg(&merged),
            ] {
                command.env_remove("XDG_RUNTIME_DIR");
                let output = command.output().unwrap();
                assert!(output.status.success(), "{}", text(&output.stderr));
                assert_eq!(text(&output.stderr), "");
            }
        }
        fs::remove_dir(&merged).unwrap();
        fs::remove_dir(&lower).unwrap();
    });
}

/// The other copy is in this mount namespace, and the message says where.
#[test]
fn umount_names_the_place_of_another_copy() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        stack.mount();
        let copy = stack.lower(0, "").with_file_name("copy");
        fs::create_dir(&copy).unwrap();
        rustix::mount::mount_bind(stack.merged(""), &copy).unwrap();
        let output = plyfs(["umount"]).arg(stack.merged("")).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let line = text(&output.stderr);
        assert!(
            line.contains(&format!("still mounted on {}", copy.display())),
            "{line}"
        );
        succeed(plyfs(["umount"]).arg(&copy));
    });
}

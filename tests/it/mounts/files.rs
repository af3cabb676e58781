//! Files of a mount.

use super::*;

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

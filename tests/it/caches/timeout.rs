//! Layers that change below the mount.

use super::*;

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

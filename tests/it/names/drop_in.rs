//! Under the name fuse-overlayfs.

use super::*;

/// Tools look for the type of mount that fuse-overlayfs makes.
#[test]
fn fuse_overlayfs_is_fuse_and_a_helper_of_mount_chooses() {
    let name = this_test!();
    inside(name, || {
        let stack = Stack::new(2);
        let at = stack.merged("");
        let program = link(&stack, "fuse-overlayfs");
        let mut command = Command::new(program);
        command.env("PLYFS_BACKEND", "kernel");
        succeed(command.args(["-o", &stack.options()]).arg(&at));
        assert_eq!(mount_type(&at), "fuse.fuse-overlayfs");
        succeed(plyfs(["umount"]).arg(&at));
        let program = link(&stack, "mount.plyfs");
        for (backend, kind) in [("", "overlay"), (",backend=fuse", "fuse.plyfs")] {
            let options = format!("{}{backend}", stack.options());
            let mut command = Command::new(&program);
            command.env_remove("PLYFS_BACKEND").arg("none").arg(&at);
            let output = command.args(["-v", "-o", &options]).output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
            assert!(text(&output.stderr).contains("mounting with"));
            assert_eq!(mount_type(&at), kind);
            succeed(plyfs(["umount"]).arg(&at));
        }
    });
}

/// fuse-overlayfs is mounted `nodev` by libfuse, and `suid` by itself.
#[test]
fn fuse_overlayfs_of_root_is_nodev_and_suid() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        let program = link(&stack, "fuse-overlayfs");
        for (option, nodev, nosuid) in [
            ("", true, false),
            (",dev,suid", false, false),
            (",nosuid", true, true),
        ] {
            mount_by(&program, &mut stack, option);
            let options = mount_options(&stack.merged(""));
            let has = |flag: &str| options.split(',').any(|option| option == flag);
            assert_eq!(
                (has("nodev"), has("nosuid")),
                (nodev, nosuid),
                "{option}: {options}"
            );
            stack.unmount();
        }
    });
}

/// It was taken and changed nothing.
#[test]
fn static_nlink_is_one_for_directories() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "d/e/f"), "text");
        let program = link(&stack, "fuse-overlayfs");
        let links = |stack: &Stack| fs::metadata(stack.merged("d")).unwrap().nlink();
        for (option, expected) in [("static_nlink", 1), ("fast_ino=1", 3)] {
            mount_by(&program, &mut stack, &format!(",{option}"));
            assert_eq!(links(&stack), expected, "{option}");
            stack.unmount();
        }
    });
}

#[test]
fn noxattrs_shows_no_attributes() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "f"), "text");
        let set = |path: PathBuf| {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(path, "user.note", b"x", flags)
        };
        set(stack.lower(0, "f")).unwrap();
        let program = link(&stack, "fuse-overlayfs");
        mount_by(&program, &mut stack, ",noxattrs=1");
        let refused = Some(rustix::io::Errno::OPNOTSUPP);
        let mut buffer = [0; 64];
        let at = || stack.merged("f");
        let got = rustix::fs::getxattr(at(), "user.note", &mut buffer[..]);
        assert_eq!(got.err(), refused);
        assert_eq!(rustix::fs::listxattr(at(), &mut buffer[..]).err(), refused);
        assert_eq!(set(at()).err(), refused);
        assert_eq!(rustix::fs::removexattr(at(), "user.note").err(), refused);
        fs::write(at(), "written").unwrap();
        stack.unmount();
    });
}

/// It was taken and changed nothing.
#[test]
fn redirect_dir_is_honoured_under_the_name_fuse_overlayfs() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "d/f"), "text");
        let program = link(&stack, "fuse-overlayfs");
        for (option, is_copied) in [("redirect_dir=off", true), ("redirect_dir=on", false)] {
            mount_by(&program, &mut stack, &format!(",{option}"));
            fs::rename(stack.merged("d"), stack.merged("e")).unwrap();
            assert_eq!(fs::read(stack.merged("e/f")).unwrap(), b"text");
            stack.unmount();
            assert_eq!(stack.upper("e/f").exists(), is_copied, "{option}");
            for name in ["d", "e"] {
                let path = stack.upper(name);
                fs::remove_dir_all(&path)
                    .or_else(|_| fs::remove_file(&path))
                    .unwrap();
            }
        }
        let mut wrong = Command::new(program);
        wrong.args(["-o", &format!("{},redirect_dir=maybe", stack.options())]);
        let (_, line) = fail(wrong.arg(stack.merged("")));
        assert!(line.contains("redirect_dir="), "{line}");
    });
}

/// Every removal failed then, with EINVAL.
#[test]
fn an_upper_directory_on_a_mount_that_takes_no_whiteouts_is_refused() {
    inside(this_test!(), || {
        let mut below = Stack::new(1);
        let program = link(&below, "fuse-overlayfs");
        mount_by(&program, &mut below, "");
        let stack = Stack::new(1);
        put(&stack.lower(0, "f"), "text");
        stack.upper_in(&below.merged(""));
        let mut command = Command::new(program);
        let (_, line) = fail(command.args(["-o", &stack.options()]).arg(stack.merged("")));
        assert!(line.contains("cannot make whiteouts"), "{line}");
        assert!(!is_mounted(&stack.merged("")));
        below.unmount();
    });
}

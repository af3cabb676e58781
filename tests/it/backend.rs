//! What serves a mount of directories, the kernel's overlay or FUSE, and why.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::backend::{FUSE, KERNEL, chosen, mount, told, unmount, xattr};
use crate::support::*;

#[test]
fn the_choice_has_a_reason() {
    inside(this_test!(), || {
        let stack = Stack::new(2);
        put(&stack.lower(0, "f"), "text");
        let with = |more: &str| format!("{},{more}", stack.options());
        chosen(&stack, &stack.options(), KERNEL, "all that was asked for");
        chosen(&stack, &with("backend=kernel"), KERNEL, "it was asked for");
        chosen(&stack, &with("backend=fuse"), FUSE, "it was asked for");
        let shown = "show other owners";
        for (options, why) in [
            ("uidmapping=0:0:1", shown),
            ("gidmapping=0:0:1", shown),
            ("squash_to_root", shown),
            ("squash_to_uid=0", shown),
            ("xattr_permissions=2", "override_stat"),
            ("whiteouts=file", "that are files"),
            ("noacl", "noacl"),
            ("subtype=x", "subtype="),
            ("timeout=1", "timeout="),
            ("writeback=0", "writeback= is for FUSE"),
            ("threads=2", "threads= is for FUSE"),
            (
                "userxattr,redirect_dir=on",
                "does not allow redirect_dir=on",
            ),
            ("userxattr,metacopy=on", "does not allow metacopy=on"),
        ] {
            chosen(&stack, &with(options), FUSE, why);
        }
        // Options that only the kernel's overlay has.
        if is_initial_namespace() {
            chosen(&stack, &with("index=on,nfs_export=on"), KERNEL, "all that");
            chosen(
                &stack,
                &with("metacopy=on"),
                FUSE,
                "only with redirect_dir=on",
            );
            let (lower, data) = (stack.lower(0, ""), stack.lower(1, ""));
            let data = format!("lowerdir={}::{}", lower.display(), data.display());
            chosen(&stack, &data, FUSE, "metacopy=on");
            let both = format!("{data},metacopy=on,redirect_dir=on");
            chosen(&stack, &both, KERNEL, "all that");
        } else {
            chosen(&stack, &with("index=on"), FUSE, "does not allow index=on");
        }
        let (one, other) = (stack.lower(0, ""), stack.lower(1, ""));
        let single = format!("lowerdir={}", one.display());
        chosen(&stack, &single, FUSE, "a single lower directory");
        let both = format!("{single}:{}", other.display());
        chosen(&stack, &both, KERNEL, "all that");
        // Only trying shows this: the kernel stacks overlays no deeper than two.
        let (mut below, mut above) = (Stack::new(2), Stack::new(1));
        below.mount_kernel();
        let twice = format!("{}:{}", below.merged("").display(), one.display());
        let line = format!("lowerdir={twice},backend=kernel");
        succeed(mount().args(["-o", &line]).arg(above.merged("")));
        above.mounted_by_other();
        let thrice = format!(
            "lowerdir={}:{}",
            above.merged("").display(),
            other.display()
        );
        chosen(&stack, &thrice, FUSE, "(");
        drop(above);
        let stack = Stack::new(1);
        let volatile = format!("{},volatile", stack.options());
        chosen(&stack, &volatile, KERNEL, "all that");
    });
}

#[test]
fn what_fuse_wrote_is_not_given_to_a_kernel_that_cannot_read_it() {
    let name = this_test!();
    inside(name, || {
        for (record, what) in [
            ("metacopy", "metacopy"),
            ("redirect", "renamed by a redirect"),
        ] {
            let stack = Stack::new(2);
            put(&stack.upper("d/f"), "");
            xattr(&stack.upper("d/f"), &format!("user.overlay.{record}"), b"x");
            let options = format!("{},userxattr", stack.options());
            chosen(&stack, &options, FUSE, what);
            let mut asked = mount();
            asked.args(["-o", &format!("{options},backend=kernel")]);
            let (_, line) = fail(asked.arg(stack.merged("")));
            assert!(
                line.contains("cannot serve") && line.contains("d/f"),
                "{line}"
            );
            assert!(!is_mounted(&stack.merged("")));
        }
        let stack = Stack::new(2);
        for i in 0..20_001 {
            fs::write(stack.upper(&i.to_string()), "").unwrap();
        }
        let options = format!("{},userxattr", stack.options());
        chosen(&stack, &options, FUSE, "more files than can be looked at");
        let asked = format!("{options},backend=kernel");
        chosen(&stack, &asked, KERNEL, "it was asked for");
    });
}

/// Mounts as root of a mount namespace whose /dev has no fuse.
fn without_fuse(options: &str, target: &Path, say: &str) -> Command {
    let script = "mount -t tmpfs none /dev && : >/dev/null && \"$0\" mount $3 -o \"$1\" \"$2\" && \
        grep -q \" $2 .* - overlay \" /proc/self/mountinfo && \"$0\" umount \"$2\"";
    let mut command = plyfs(["unshare", "sh", "-c", script, PLYFS, options]);
    command.arg(target).arg(say).env_remove("PLYFS_BACKEND");
    command
}

#[test]
fn without_fuse_the_kernel_serves_what_it_can() {
    inside(this_test!(), || {
        let stack = Stack::new(2);
        let with = |more: &str| format!("{},{more}", stack.options());
        let target = stack.merged("").canonicalize().unwrap();
        for options in ["", "threads=2"] {
            let said = told(&mut without_fuse(&with(options), &target, "--verbose"));
            assert!(
                said.contains("mounting with the kernel's overlay"),
                "{said}"
            );
            assert_eq!(
                said.contains("cannot open /dev/fuse"),
                !options.is_empty(),
                "{said}"
            );
        }
        let (_, line) = fail(&mut without_fuse(&with("squash_to_root"), &target, ""));
        for words in [
            "cannot open /dev/fuse",
            "the kernel's overlay cannot serve",
            "other owners",
        ] {
            assert!(line.contains(words), "{line}");
        }
        let (_, line) = fail(&mut without_fuse(&with("backend=fuse"), &target, ""));
        assert!(line.contains("cannot open /dev/fuse"), "{line}");
        assert!(!line.contains("kernel's overlay"), "{line}");
    });
}

#[test]
fn an_ordinary_user_gets_fuse_outside_of_a_namespace() {
    let name = this_test!();
    if let Some(why) = cannot_run_as_ordinary_user() {
        return skip(name, &why);
    }
    use std::os::unix::process::CommandExt;
    let stack = Stack::new(2);
    let mut command = mount();
    command.args(["-o", &stack.options()]).arg(stack.merged(""));
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(stack.path(""), Some(NOBODY), None).unwrap();
        for name in ["upper", "work", "merged"] {
            std::os::unix::fs::chown(stack.path(name), Some(NOBODY), None).unwrap();
        }
        command.uid(NOBODY).gid(NOBODY);
    }
    // The mount itself may succeed or fail: that depends on fusermount3.
    let output = command.output().unwrap();
    let said = text(&output.stderr);
    assert!(
        said.contains("mounting with FUSE: an ordinary user"),
        "{said}"
    );
    if output.status.success() {
        rustix::mount::unmount(stack.merged(""), rustix::mount::UnmountFlags::DETACH)
            .unwrap_or_else(|_| unmount(&stack.merged("")));
    }
    command.env("PLYFS_BACKEND", "kernel");
    let (_, line) = fail(&mut command);
    assert!(line.contains("an ordinary user may not"), "{line}");
}

#[test]
fn an_explicit_backend_never_falls_back() {
    inside(this_test!(), || {
        let stack = Stack::new(1);
        let target = stack.merged("");
        for (options, words) in [
            (
                "backend=kernel,squash_to_root",
                ["cannot serve", "show other owners"],
            ),
            (
                "backend=kernel,whiteouts=file",
                ["cannot serve", "that are files"],
            ),
            ("backend=fuse,verity=on", ["verity=on", "backend=fuse"]),
            // FUSE ignores nfs_export=on with a warning; that must not make it ignore verity=on.
            (
                "backend=fuse,nfs_export=on,verity=on",
                ["verity=on", "backend=fuse"],
            ),
            ("backend=fuse,context=x", ["context=x", "backend=fuse"]),
            (
                "squash_to_root,context=x",
                ["context=x", "show other owners"],
            ),
            ("backend=both", ["\"both\"", "auto, kernel or fuse"]),
        ] {
            let options = format!("{},{options}", stack.options());
            let mut command = plyfs(["mount", "-o", &options]);
            let (status, line) = fail(command.env_remove("PLYFS_BACKEND").arg(&target));
            assert_eq!(status, 1, "{line}");
            for word in words {
                assert!(line.contains(word), "{line}");
            }
            assert!(!is_mounted(&target), "{line}");
        }
        let mut command = plyfs(["mount", "-o", &stack.options()]);
        command.arg(&target).env("PLYFS_BACKEND", "neither");
        let (_, line) = fail(&mut command);
        assert!(line.contains("PLYFS_BACKEND takes auto"), "{line}");
    });
}

#[test]
fn five_hundred_layers_with_long_paths_are_mounted() {
    inside(this_test!(), || {
        let stack = Stack::new(0);
        let long = stack.path(&"long/".repeat(120));
        let mut options = Vec::new();
        for i in 0..500 {
            let dir = long.join(format!("layer-{i:03}"));
            put(&dir.join(format!("f{i}")), "x");
            options.push("-o".to_owned());
            options.push(format!("lowerdir+={}", dir.display()));
        }
        let (upper, work) = (stack.upper(""), stack.path("work"));
        options.push("-o".to_owned());
        options.push(format!(
            "upperdir={},workdir={}",
            upper.display(),
            work.display()
        ));
        options.push("--backend=kernel".to_owned());
        let at = stack.merged("");
        for kernel in [None, Some("by path"), Some("mount(2)")] {
            let mut command = match kernel {
                None => mount(),
                Some(kernel) => match older_kernel(kernel) {
                    Ok(command) => command,
                    Err(why) => {
                        return skip(this_test!(), &why);
                    }
                },
            };
            told(command.args(&options).arg(&at));
            assert_eq!(mount_type(&at), "overlay");
            assert_eq!(fs::read_dir(&at).unwrap().count(), 500, "{kernel:?}");
            fs::write(at.join("f0"), "y").unwrap();
            unmount(&at);
            assert_eq!(fs::read_to_string(stack.upper("f0")).unwrap(), "y");
            fs::remove_file(stack.upper("f0")).unwrap();
        }
    });
}

/// `plyfs mount` on a kernel that lacks some of the calls: a filter makes them fail as there.
fn older_kernel(lacks: &str) -> Result<Command, String> {
    if !cfg!(target_arch = "x86_64") {
        return Err("the filter that makes a kernel older is for another processor".to_owned());
    }
    // seccomp(2): load the number of the call, compare, and for fsconfig its command.
    let (call, command, errno) = match lacks {
        "by path" => (431, 5, 22),
        _ => (430, -1, 38),
    };
    let script = format!(
        "import ctypes, os, struct, sys\n\
         libc = ctypes.CDLL(None, use_errno=True)\n\
         def op(code, jt, jf, k): return struct.pack('HBBI', code, jt, jf, k)\n\
         fail = op(6, 0, 0, 0x50000 | {errno})\n\
         allow = op(6, 0, 0, 0x7fff0000)\n\
         ops = [op(0x20, 0, 0, 0), op(0x15, 0, 3 if {command} >= 0 else 1, {call})]\n\
         if {command} >= 0: ops += [op(0x20, 0, 0, 24), op(0x15, 0, 1, {command} & 0xff)]\n\
         ops += [fail, allow]\n\
         code = ctypes.create_string_buffer(b''.join(ops))\n\
         program = struct.pack('HxxxxxxQ', len(ops), ctypes.addressof(code))\n\
         assert libc.prctl(38, 1, 0, 0, 0) == 0\n\
         assert libc.prctl(22, 2, program, 0, 0) == 0, os.strerror(ctypes.get_errno())\n\
         os.execv(sys.argv[1], sys.argv[1:])\n"
    );
    let mut command = Command::new("python3");
    if let Err(error) = Command::new("python3").arg("--version").output() {
        return Err(format!("python3: {error}"));
    }
    command.args(["-c", &script, PLYFS, "--verbose", "mount"]);
    command.env_remove("PLYFS_BACKEND");
    Ok(command)
}

#[test]
fn directories_are_held_as_long_as_the_file_system_lives() {
    let name = this_test!();
    inside(name, || {
        let stack = Stack::new(2);
        let (at, copy) = (stack.merged(""), stack.path("copy"));
        fs::create_dir(&copy).unwrap();
        let options = format!("{},backend=kernel", stack.options());
        told(mount().args(["-o", &options]).arg(&at));
        rustix::mount::mount_bind(&at, &copy).unwrap();
        succeed(plyfs(["umount", "--lazy"]).arg(&at));
        let (_, line) = fail(plyfs(["mount", "-o", &stack.options()]).arg(&at));
        assert!(line.contains("in use"), "{line}");
        rustix::mount::unmount(&copy, rustix::mount::UnmountFlags::empty()).unwrap();
        // `umount --lazy` did not wait for the keeper of the mount, so try until it has ended.
        for attempt in 0.. {
            let output = plyfs(["mount", "-o", &stack.options()]).arg(&at).output();
            if output.unwrap().status.success() {
                break;
            }
            assert!(attempt < 100);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        unmount(&at);
    });
}

#[test]
fn a_signal_ends_a_mount_of_the_kernel() {
    inside(this_test!(), || {
        let stack = Stack::new(2);
        let options = format!("{},backend=kernel", stack.options());
        let mut keeper = mount()
            .args(["--foreground", "-o", &options])
            .arg(stack.merged(""))
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        while !is_mounted(&stack.merged("")) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let pid = rustix::process::Pid::from_child(&keeper);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(keeper.wait().unwrap().success());
        assert!(!is_mounted(&stack.merged("")));
    });
}

#[test]
fn a_mount_of_the_kernel_is_made_read_only_and_writable_again() {
    let name = this_test!();
    inside(name, || {
        let stack = Stack::new(2);
        let at = stack.merged("");
        let options = format!("{},backend=kernel,nodev,noexec", stack.options());
        told(mount().args(["-o", &options]).arg(&at));
        let remount = |options: &str| succeed(plyfs(["mount", "-o", options]).arg(&at));
        let write = || fs::write(at.join("f"), "text").map_err(|error| error.kind());
        let shown = mount_options(&at);
        for flag in ["nodev", "noexec", "noatime"] {
            assert!(shown.contains(flag), "{shown}");
        }
        remount("remount,ro");
        assert_eq!(write(), Err(std::io::ErrorKind::ReadOnlyFilesystem));
        remount("remount,rw");
        assert_eq!(write(), Ok(()));
        assert!(mount_options(&at).contains("nodev"));
        unmount(&at);
        told(mount().args(["-o", &format!("{options},ro")]).arg(&at));
        assert_eq!(write(), Err(std::io::ErrorKind::ReadOnlyFilesystem));
        unmount(&at);
    });
}

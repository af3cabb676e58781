//! Mounts that follow each other.

use super::*;

/// As set-uid helpers do it: they mount, and hand the connection on.
#[test]
fn a_connection_that_is_mounted_is_served() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "f"), "text");
        let program = link(&stack, "fuse-overlayfs");
        let mounter = "import ctypes, os, sys\n\
            fd = os.open('/dev/fuse', os.O_RDWR)\n\
            os.set_inheritable(fd, True)\n\
            data = f'fd={fd},rootmode=40000,user_id=0,group_id=0'.encode()\n\
            libc = ctypes.CDLL(None, use_errno=True)\n\
            result = libc.mount(b'x', sys.argv[1].encode(), b'fuse.x', 0, data)\n\
            assert result == 0, os.strerror(ctypes.get_errno())\n\
            os.execv(sys.argv[2], ['fuse-overlayfs', '-o', sys.argv[3], f'/dev/fd/{fd}'])\n";
        let mut command = Command::new("python3");
        command.args(["-c", mounter]).arg(stack.merged(""));
        command.arg(&program).arg(stack.options());
        match command.output() {
            Err(error) => {
                return skip(this_test!(), &error.to_string());
            }
            Ok(output) => assert!(output.status.success(), "{}", text(&output.stderr)),
        }
        stack.mounted_by_other();
        assert_eq!(fs::read_to_string(stack.merged("f")).unwrap(), "text");
        stack.unmount();
    });
}

/// Podman unmounts lazily, and mounts again at once, before the first daemon has let go: it failed
/// with "in use by another mount".
#[test]
fn a_mount_follows_one_that_was_taken_away_lazily() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        let program = link(&stack, "fuse-overlayfs");
        let mount = |stack: &Stack| {
            let mut command = Command::new(&program);
            command.args(["-o", &stack.options()]);
            succeed(command.arg(stack.merged("")));
        };
        mount(&stack);
        let held = fs::File::create(stack.merged("f")).unwrap();
        succeed(plyfs(["umount", "--lazy"]).arg(stack.merged("")));
        let holder = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            drop(held);
        });
        mount(&stack);
        holder.join().unwrap();
        stack.mounted_by_other();
        assert!(stack.merged("f").exists());
        stack.unmount();
    });
}

/// Signals are blocked before a mount is made, and were blocked while it was waited for.
#[test]
fn waiting_for_a_mount_that_goes_away_can_be_ended() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        stack.mount();
        let program = link(&stack, "fuse-overlayfs");
        let other = stack.merged("../other");
        fs::create_dir(&other).unwrap();
        // A shell that runs the tests in the background has them ignore the first.
        plyfs_sys::process::default_signals();
        for signal in [Signal::INT, Signal::TERM] {
            let mut command = Command::new(&program);
            command.args(["-o", &stack.options()]).arg(&other);
            let mut waiting = command.spawn().unwrap();
            std::thread::sleep(Duration::from_millis(100));
            assert!(waiting.try_wait().unwrap().is_none());
            kill_process(Pid::from_child(&waiting), signal).unwrap();
            let start = Instant::now();
            let status = waiting.wait().unwrap();
            assert!(start.elapsed() < Duration::from_secs(5));
            assert_eq!(status.signal(), Some(signal.as_raw()));
            assert!(!is_mounted(&other));
        }
        stack.unmount();
    });
}

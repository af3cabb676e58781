//! Callers that are killed while they wait for a copy-up.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::*;
use rustix::process::{Pid, Signal, kill_process};

/// How many bytes a second can be read of the lower layer.
const RATE: usize = 2 << 20;

/// A stack with a file of so many seconds below.
fn slow_stack(seconds: usize) -> Result<Stack, String> {
    let mut stack = Stack::new(1);
    let beside = stack.path("beside");
    fs::create_dir(&beside).unwrap();
    fs::write(beside.join("large"), vec![1; RATE * seconds]).unwrap();
    fs::write(beside.join("small"), "small").unwrap();
    let mut bindfs = Command::new("bindfs");
    bindfs.arg(format!("--read-rate={RATE}"));
    let output = bindfs.arg(&beside).arg(stack.lower(0, "")).output();
    let output = output.map_err(|error| format!("bindfs: {error}"))?;
    if !output.status.success() {
        return Err(format!("bindfs: {}", text(&output.stderr)));
    }
    stack.mount();
    Ok(stack)
}

fn drop_slow(stack: &mut Stack) {
    stack.unmount();
    let flags = rustix::mount::UnmountFlags::DETACH;
    rustix::mount::unmount(stack.lower(0, ""), flags).unwrap();
}

fn start(command: &mut Command) -> Child {
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    child
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_killed_caller_does_not_wait_for_a_copy() {
    let name = this_test!();
    inside(name, || {
        let mut stack = match slow_stack(30) {
            Ok(stack) => stack,
            Err(why) => return skip(name, &why),
        };
        let large = stack.merged("large");
        let chmod = || start(Command::new("chmod").arg("600").arg(&large));
        let (mut copies, mut waits) = (chmod(), chmod());
        let mut terminated = start(Command::new("truncate").args(["-s", "99M"]).arg(&large));
        for (child, signal) in [
            (&mut terminated, Signal::TERM),
            (&mut waits, Signal::KILL),
            (&mut copies, Signal::KILL),
        ] {
            let begun = Instant::now();
            send(child, signal);
            assert!(!child.wait().unwrap().success());
            let took = begun.elapsed();
            assert!(took < Duration::from_secs(5), "{signal:?} took {took:?}");
        }
        // No half copy is left, and the file is what it was.
        assert!(!stack.upper("large").exists());
        assert_eq!(fs::read_dir(stack.path("work/work")).unwrap().count(), 0);
        let meta = fs::metadata(&large).unwrap();
        assert_eq!(
            (meta.len(), meta.mode() & 0o777),
            ((RATE * 30) as u64, 0o644)
        );
        fs::write(stack.merged("small"), "changed").unwrap();
        drop_slow(&mut stack);
    });
}

#[test]
fn a_signal_that_is_handled_does_not_interrupt_a_copy() {
    let name = this_test!();
    inside(name, || {
        if Command::new("perl").arg("-v").output().is_err() {
            return skip(name, "there is no perl");
        }
        let mut stack = match slow_stack(3) {
            Ok(stack) => stack,
            Err(why) => return skip(name, &why),
        };
        let script = "$SIG{USR1} = sub {}; chmod 0600, $ARGV[0] or die $!";
        let large = stack.merged("large");
        let mut child = start(Command::new("perl").args(["-e", script]).arg(&large));
        send(&child, Signal::USR1);
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}");
        let copy = fs::metadata(stack.upper("large")).unwrap();
        assert_eq!(
            (copy.len(), copy.mode() & 0o777),
            ((RATE * 3) as u64, 0o600)
        );
        drop_slow(&mut stack);
    });
}

//! A process ends, and its child goes on. This program has one thread, which the usual harness has not.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and this one is its own harness"
)]

use std::fs::File;
use std::io::{Read, Write};

use plyfs_sys::process::{Fork, SignalQueue, daemonize, fork};
use rustix::io::Errno;
use rustix::process::{Signal, WaitOptions, getpgid, getpid, getppid, waitpid};

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    for _ in 0..20 {
        assert_eq!(report_of_a_daemon(), "all is well");
    }
    println!("test daemonize_goes_on_in_a_child ... ok");
}

/// Has a process call `daemonize`, and returns what its child reports.
fn report_of_a_daemon() -> String {
    let (listen, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    match fork().unwrap() {
        Fork::Child => {
            drop(listen);
            let report = check().map_or_else(str::to_owned, |()| "all is well".to_owned());
            File::from(tell).write_all(report.as_bytes()).unwrap();
            // Not the status of the process that called.
            std::process::exit(3)
        }
        Fork::Parent(caller) => {
            drop(tell);
            let (_, status) = waitpid(Some(caller), WaitOptions::empty())
                .unwrap()
                .unwrap();
            let mut report = String::new();
            File::from(listen).read_to_string(&mut report).unwrap();
            if report == "all is well" {
                assert_eq!(status.exit_status(), Some(0));
            }
            report
        }
    }
}

fn check() -> Result<(), &'static str> {
    let caller = getpid();
    let signals = SignalQueue::block(&[Signal::USR1]).unwrap();
    beside_a_thread()?;
    let caller_waits = daemonize().map_err(|_| "it cannot")?;
    is(
        getppid() == Some(caller),
        "the calling process did not wait",
    )?;
    drop(caller_waits);

    is(getpid() != caller, "it is the calling process")?;
    while getppid() == Some(caller) {
        std::thread::yield_now();
    }
    is(
        getpgid(None) == Ok(getpid()),
        "the process group is not its own",
    )?;
    rustix::process::kill_process(getpid(), Signal::USR1).unwrap();
    is(
        signals.pending() == Ok(Some(Signal::USR1)),
        "a blocked signal is not blocked in the child",
    )
}

/// With a second thread it fails, and the caller goes on.
fn beside_a_thread() -> Result<(), &'static str> {
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || told.recv());
    let result = daemonize();
    drop(tell);
    drop(thread.join());
    is(result.err() == Some(Errno::BUSY), "it left a thread behind")
}

fn is(holds: bool, otherwise: &'static str) -> Result<(), &'static str> {
    holds.then_some(()).ok_or(otherwise)
}

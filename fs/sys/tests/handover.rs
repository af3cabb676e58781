//! A process ends, and goes on in another one. This program has one thread, which those of the usual
//! harness have not.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and this one is its own harness"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use plyfs_sys::Result;
use plyfs_sys::handover::{by_fork, go_on_in_child};
use plyfs_sys::process::{Fork, SignalQueue, fork};
use rustix::process::{Signal, WaitOptions, getpgid, getpid, getppid, waitpid};

/// What the old process is called.
const NAME: &std::ffi::CStr = c"was-tested";

fn main() {
    for (name, way) in [
        ("with its memory", go_on_in_child as fn(_) -> Result<()>),
        ("by fork", by_fork),
    ] {
        for _ in 0..20 {
            let said = hear_from_one_that(way);
            assert_eq!(said, "all is well", "{name}");
        }
        println!("test a_process_goes_on_in_another_one ({name}) ... ok");
    }
}

/// Has a process go on in another one, and returns what that one says.
fn hear_from_one_that(goes_on: fn(&'static std::ffi::CStr) -> Result<()>) -> String {
    let (listen, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    match fork().unwrap() {
        Fork::Child => {
            drop(listen);
            let mut tell = File::from(tell);
            let said = match go_on(goes_on) {
                Ok(()) => "all is well".to_owned(),
                Err(error) => error,
            };
            tell.write_all(said.as_bytes()).unwrap();
            // Not the status that the old one ends with.
            std::process::exit(3)
        }
        Fork::Parent(old) => {
            drop(tell);
            let mut said = String::new();
            File::from(listen).read_to_string(&mut said).unwrap();
            // It has ended, but nobody has waited for it.
            let comm = std::fs::read_to_string(format!("/proc/{}/comm", old.as_raw_nonzero()));
            assert_eq!(comm.unwrap().trim_end(), NAME.to_str().unwrap());
            let (_, status) = waitpid(Some(old), WaitOptions::empty()).unwrap().unwrap();
            assert_eq!(status.exit_status(), Some(0));
            said
        }
    }
}

fn go_on(goes_on: fn(&'static std::ffi::CStr) -> Result<()>) -> std::result::Result<(), String> {
    let is = |holds: bool, what: &str| holds.then_some(()).ok_or(what.to_owned());
    let (old, outer) = (getpid(), getppid());
    // In memory, on the stack, and what the C library knows.
    let words: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let counter = Arc::new(AtomicU32::new(1));
    let signals = SignalQueue::block(&[Signal::USR1]).unwrap();
    let mask = blocked();
    goes_on(NAME).map_err(|errno| format!("it does not: {errno}"))?;

    is(getpid() != old, "it is the old process")?;
    is(blocked() == mask, "other signals are blocked")?;
    is(
        words
            .iter()
            .enumerate()
            .all(|(i, word)| *word == i.to_string()),
        "words were lost",
    )?;
    let theirs = counter.clone();
    // SAFETY: asks who this is.
    let this = unsafe { libc::pthread_self() };
    let thread = std::thread::spawn(move || {
        theirs.fetch_add(1, Ordering::SeqCst);
        // SAFETY: that thread lives on. The C library has to know it by its new number.
        unsafe { libc::pthread_kill(this, libc::SIGUSR1) }
    });
    is(
        thread.join().is_ok_and(|error| error == 0),
        "a thread could not signal this one",
    )?;
    is(
        counter.load(Ordering::SeqCst) == 2,
        "a thread counted elsewhere",
    )?;
    is(
        signals.pending() == Ok(Some(Signal::USR1)),
        "a signal went elsewhere",
    )?;
    // Until then its parent may be the old one.
    while getppid() == Some(old) {
        std::thread::yield_now();
    }
    is(
        getppid() != outer,
        "it is a child of who waits for the old one",
    )?;
    is(
        getpgid(None) == Ok(getpid()),
        "the process group is not its own",
    )?;
    is(
        goes_on_beside_a_thread() == Err(rustix::io::Errno::BUSY),
        "threads were left behind",
    )
}

fn goes_on_beside_a_thread() -> Result<()> {
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || told.recv());
    let result = go_on_in_child(NAME);
    drop(tell);
    drop(thread.join());
    result
}

fn blocked() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status
        .lines()
        .find(|line| line.starts_with("SigBlk"))
        .unwrap()
        .to_owned()
}

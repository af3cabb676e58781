//! A process ends, and goes on in another one. This program has one thread, which those of the usual
//! harness have not.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and this one is its own harness"
)]

use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use plyfs_sys::Result;
use plyfs_sys::handover::{by_fork, go_on_in_child};
use plyfs_sys::process::{Fork, SignalQueue, fork};
use rustix::process::{Signal, WaitOptions, getpgid, getpid, getppid, waitpid};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// What the old process is called.
const NAME: &CStr = c"was-tested";

/// A way to go on, and whether it takes the memory along.
#[derive(Clone, Copy)]
struct Way {
    goes_on: fn(&'static CStr) -> Result<()>,
    with_memory: bool,
}

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let with_memory = cfg!(all(target_arch = "x86_64", target_env = "gnu"));
    if !with_memory {
        println!("SKIPPED with_memory: it is done by fork on this machine");
    }
    let ways = [
        Way {
            goes_on: go_on_in_child,
            with_memory,
        },
        Way {
            goes_on: by_fork,
            with_memory: false,
        },
    ];
    for way in ways {
        for _ in 0..20 {
            assert_eq!(hear_from_one_that(way), "all is well");
        }
    }
    println!("test a_process_goes_on_in_another_one ... ok");
}

/// Has a process go on in another one, and returns what that one says.
fn hear_from_one_that(way: Way) -> String {
    let (listen, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    match fork().unwrap() {
        Fork::Child => {
            drop(listen);
            let mut tell = File::from(tell);
            let said = match go_on(way) {
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
            // It has ended, but its parent has not waited for it.
            let comm = std::fs::read_to_string(format!("/proc/{}/comm", old.as_raw_nonzero()));
            let (_, status) = waitpid(Some(old), WaitOptions::empty()).unwrap().unwrap();
            if said == "all is well" {
                assert_eq!(comm.unwrap().trim_end(), NAME.to_str().unwrap());
                assert_eq!(status.exit_status(), Some(0));
            }
            said
        }
    }
}

fn go_on(way: Way) -> std::result::Result<(), String> {
    let is = |holds: bool, what: &str| holds.then_some(()).ok_or(what.to_owned());
    let old = getpid();
    // In memory, on the stack, and what the C library knows.
    let words: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let counter = Arc::new(AtomicU32::new(1));
    let signals = SignalQueue::block(&[Signal::USR1]).unwrap();
    let before = (blocked(), alternate_stack());
    let page = page_that_no_copy_has();
    (way.goes_on)(NAME).map_err(|errno| format!("it does not: {errno}"))?;

    is(getpid() != old, "it is the old process")?;
    // SAFETY: the page stays where it is.
    let is_there = unsafe { page.read_volatile() } == 7;
    is(is_there == way.with_memory, "it went another way")?;
    is(
        (blocked(), alternate_stack()) == before,
        "signals are handled otherwise",
    )?;
    is(
        words
            .iter()
            .enumerate()
            .all(|(i, word)| *word == i.to_string()),
        "words were lost",
    )?;
    is(
        knows_its_processor(),
        "it is on another processor than it says",
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
    while getppid() == Some(old) {
        std::thread::yield_now();
    }
    is(
        getpgid(None) == Ok(getpid()),
        "the process group is not its own",
    )?;
    is(
        goes_on_beside_a_thread() == Err(rustix::io::Errno::BUSY),
        "threads were left behind",
    )
}

/// A page of memory that holds a 7, but not after fork(2).
fn page_that_no_copy_has() -> *mut u8 {
    const SIZE: usize = 4096;
    let (access, kind) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    // SAFETY: memory that nothing else knows of.
    unsafe {
        let page = libc::mmap(std::ptr::null_mut(), SIZE, access, kind, -1, 0);
        assert_ne!(page, libc::MAP_FAILED);
        assert_eq!(libc::madvise(page, SIZE, libc::MADV_WIPEONFORK), 0);
        let page: *mut u8 = page.cast();
        page.write_volatile(7);
        page
    }
}

/// Whether the C library says where this is, wherever it is put.
fn knows_its_processor() -> bool {
    let may = sched_getaffinity(None).unwrap();
    let all = (0..CpuSet::MAX_CPU).filter(|cpu| may.is_set(*cpu));
    let mut knows = true;
    for cpu in all {
        let mut only = CpuSet::new();
        only.set(cpu);
        sched_setaffinity(None, &only).unwrap();
        // SAFETY: asks for a number.
        knows &= usize::try_from(unsafe { libc::sched_getcpu() }) == Ok(cpu);
    }
    sched_setaffinity(None, &may).unwrap();
    knows
}

/// Where the alternate signal stack is, if there is one.
fn alternate_stack() -> (usize, usize, i32) {
    let mut stack = std::mem::MaybeUninit::<libc::stack_t>::zeroed();
    // SAFETY: there is room for the answer, and any bytes are one.
    let stack = unsafe {
        libc::sigaltstack(std::ptr::null(), stack.as_mut_ptr());
        stack.assume_init()
    };
    (stack.ss_sp.addr(), stack.ss_size, stack.ss_flags)
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

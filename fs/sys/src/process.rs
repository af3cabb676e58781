//! Fork, namespaces, and waiting for signals.

use std::ffi::{CString, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use rustix::thread::UnshareFlags;

use crate::Result;
pub use crate::inherited::{close_inherited, take_inherited};

/// Which side of a [`fork`] one is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The process that called, with the id of its child.
    Parent(Pid),
    /// The new process.
    Child,
}

/// Makes a copy of this process (fork(2)).
///
/// # Errors
/// `BUSY` if the process has more than one thread: of several threads only the caller would live
/// on in the child, and the locks of the others would stay held there. Otherwise those of fork(2).
pub fn fork() -> Result<Fork> {
    require_one_thread()?;
    // SAFETY: this process has one thread, so no lock or allocation is in an intermediate state.
    match unsafe { libc::fork() } {
        -1 => Err(last_error()),
        0 => Ok(Fork::Child),
        pid => Pid::from_raw(pid).map(Fork::Parent).ok_or(Errno::SRCH),
    }
}

/// Goes on in a child (fork(2)), and ends the calling process with status 0 when the child drops the descriptor that it
/// gets, or ends.
///
/// The child has a process group of its own before the caller ends: a signal for the group of a command that
/// has ended must not reach its daemon. The caller runs no function registered with atexit(3) and flushes nothing.
///
/// # Errors
/// Those of [`fork`] and pipe(2); the calling process then goes on.
pub fn daemonize() -> Result<OwnedFd> {
    let (ready, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    if let Fork::Parent(child) = fork()? {
        // Cannot fail: the child is new and has executed no other program.
        rustix::process::setpgid(Some(child), None).ok();
        drop(tell);
        // Nothing is written: the end of the pipe is what is waited for.
        while rustix::io::read(&ready, &mut [0; 1]) == Err(Errno::INTR) {}
        // SAFETY: ends this process without running code of the C library that the child would run again.
        unsafe { libc::_exit(0) }
    }
    Ok(tell)
}

/// Makes a copy of this process in new namespaces (clone3(2) without a stack of its own). Unlike
/// unshare(2) with a pid namespace, this leaves the caller free to start threads and other children.
///
/// The child has none of what the C library does at fork(2), such as handlers for it; it should execute
/// another program soon.
///
/// # Errors
/// As [`fork`] and [`unshare`].
pub fn fork_into(namespaces: UnshareFlags) -> Result<Fork> {
    require_one_thread()?;
    if !namespaces_only(namespaces) {
        return Err(Errno::INVAL);
    }
    // SAFETY: any bytes are a valid clone_args, and zeros ask for nothing.
    let mut arguments: libc::clone_args = unsafe { MaybeUninit::zeroed().assume_init() };
    arguments.flags = u64::from(namespaces.bits());
    arguments.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without CLONE_VM the child has a copy of this memory, as with fork(2), and this process has
    // one thread. The structure is passed with its size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut arguments,
            size_of::<libc::clone_args>(),
        )
    };
    match returned(result)? {
        0 => Ok(Fork::Child),
        pid => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            pid.map(Fork::Parent).ok_or(Errno::SRCH)
        }
    }
}

fn namespaces_only(flags: UnshareFlags) -> bool {
    let possible = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWCGROUP;
    possible.contains(flags)
}

/// Leaves namespaces for new ones (unshare(2)).
///
/// # Errors
/// `INVAL` for flags that are no namespaces, and for a user namespace if the process has more than
/// one thread; otherwise those of unshare(2).
pub fn unshare(namespaces: UnshareFlags) -> Result<()> {
    if !namespaces_only(namespaces) {
        return Err(Errno::INVAL);
    }
    // SAFETY: the flag that makes the call unsafe, CLONE_FILES, was just excluded.
    unsafe { rustix::thread::unshare_unsafe(namespaces) }
}

/// Fails if this process has several threads. Asking the kernel to part them is refused then, and does
/// nothing for a single one (unshare(2), CLONE_THREAD); unlike /proc this works everywhere.
///
/// # Errors
/// `BUSY` if there are more, and those of asking.
pub(crate) fn require_one_thread() -> Result<()> {
    // SAFETY: changes nothing for a process with one thread, and fails for others.
    match returned(unsafe { libc::unshare(libc::CLONE_THREAD) }.into()) {
        Ok(_) => Ok(()),
        Err(Errno::INVAL) => Err(Errno::BUSY),
        Err(errno) => Err(errno),
    }
}

/// A signal that was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Which one.
    pub signal: Signal,
    /// Whether a process sent it (kill(2)), and not the kernel: because of a key at the terminal, say,
    /// which every process there gets.
    pub from_process: bool,
}

/// A set of signals that are blocked, to be taken with [`SignalQueue::wait`] instead of a handler.
#[derive(Debug)]
pub struct SignalQueue {
    set: libc::sigset_t,
}

impl SignalQueue {
    /// Blocks the signals in the calling thread and in every thread it starts from now on
    /// (pthread_sigmask(3)).
    ///
    /// # Errors
    /// `INVAL` if a signal cannot be blocked.
    pub fn block(signals: &[Signal]) -> Result<Self> {
        let set = signal_set(signals)?;
        // SAFETY: `set` is initialised; the old mask is not asked for.
        let error = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
        ok_or(error)?;
        Ok(Self { set })
    }

    /// Waits for one of the signals (sigwaitinfo(2)).
    ///
    /// # Errors
    /// `INVAL` if the set holds no valid signal.
    pub fn wait(&self) -> Result<Received> {
        loop {
            if let Some(received) = self.take(None)? {
                return Ok(received);
            }
        }
    }

    /// Takes one of the signals that has come already (sigtimedwait(2)). Those that are to be
    /// ignored, as in what a shell runs in the background, are not told of.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn pending(&self) -> Result<Option<Signal>> {
        let at_once = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        while let Some(received) = self.take(Some(&at_once))? {
            if !is_ignored(received.signal) {
                return Ok(Some(received.signal));
            }
        }
        Ok(None)
    }

    /// One of the signals, if there was one before the time was over, or another signal came.
    fn take(&self, time: Option<&libc::timespec>) -> Result<Option<Received>> {
        let time = time.map_or(std::ptr::null(), std::ptr::from_ref);
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: the set is initialised, there is room for the information, and the time is one, or
        // null for no end.
        let number = unsafe { libc::sigtimedwait(&self.set, info.as_mut_ptr(), time) };
        if number > 0 {
            // SAFETY: any bytes are a valid siginfo_t, and these were zeroed and then filled.
            let code = unsafe { info.assume_init() }.si_code;
            let signal = Signal::from_named_raw(number).ok_or(Errno::INVAL)?;
            // What the kernel sends by itself has a positive code (sigaction(2)).
            return Ok(Some(Received {
                signal,
                from_process: code <= 0,
            }));
        }
        match last_error() {
            Errno::INTR | Errno::AGAIN => Ok(None),
            error => Err(error),
        }
    }

    /// A descriptor that is readable while one of the signals waits to be taken (signalfd(2)).
    ///
    /// # Errors
    /// Those of signalfd(2): `MFILE` or `NFILE` if there are too many open files.
    pub fn descriptor(&self) -> Result<OwnedFd> {
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: the set is initialised, and -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &self.set, flags) };
        match fd {
            -1 => Err(last_error()),
            // SAFETY: the descriptor is new, and nothing else owns it.
            fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        }
    }

    /// Lets the signals through again in the calling thread, as a program that is executed expects.
    ///
    /// # Errors
    /// `INVAL` if a signal cannot be unblocked.
    pub fn unblock(self) -> Result<()> {
        // SAFETY: as in `block`.
        ok_or(unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &self.set, std::ptr::null_mut()) })
    }
}

/// The signals that programs may give a meaning to (signal(7)), as the C library counts them.
pub fn real_time_signals() -> std::ops::RangeInclusive<i32> {
    libc::SIGRTMIN()..=libc::SIGRTMAX()
}

/// The signal of a number; `None` if there is none, or if the C library keeps it for itself. It is for sending.
pub fn signal(number: i32) -> Option<Signal> {
    let is_real_time = real_time_signals().contains(&number);
    let real_time = std::num::NonZeroI32::new(number).filter(|_| is_real_time);
    // SAFETY: the number is that of a signal, and none that the C library uses.
    let real_time = real_time.map(|number| unsafe { Signal::from_raw_nonzero_unchecked(number) });
    real_time.or_else(|| Signal::from_named_raw(number))
}

/// Becomes another program, with no signal blocked (execve(2)). Unlike execvp(3), and so
/// `std::process::Command`, this does not hand a file of unknown format to a shell.
///
/// Returns only why it could not: the errors of execve(2), and `INVAL` for a word with a NUL.
pub fn execute(path: &OsStr, arguments: &[String], environment: &[String]) -> Errno {
    // Pointers lead into these lists, so they stay.
    let words = |words: &[String]| -> Option<Vec<CString>> {
        words
            .iter()
            .map(|word| CString::new(word.as_bytes()).ok())
            .collect()
    };
    let path = CString::new(path.as_bytes()).ok();
    let (Some(path), Some(arguments), Some(environment)) =
        (path, words(arguments), words(environment))
    else {
        return Errno::INVAL;
    };
    let pointers = |words: &[CString]| -> Vec<*const libc::c_char> {
        let words = words.iter().map(|word| word.as_ptr());
        words.chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(&arguments), pointers(&environment));
    unblock_signals();
    // SAFETY: the lists end with null and are of strings that live until the end of this function.
    unsafe {
        libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr());
    }
    last_error()
}

/// Lets all signals through in the calling thread, as a program that is executed expects.
pub fn unblock_signals() {
    if let Ok(none) = signal_set(&[]) {
        // SAFETY: the set is initialised; the old mask is not asked for. Setting a mask does not fail.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &none, std::ptr::null_mut()) };
    }
}

/// Has a program start with no signal blocked, whatever this process holds back: what it executes inherits
/// its mask (signal(7)), and `Command` leaves that as it is.
pub fn without_blocked_signals(command: &mut Command) -> &mut Command {
    let unblock = || {
        unblock_signals();
        Ok(())
    };
    // SAFETY: what runs between fork(2) and execve(2) sets a mask (async-signal-safe, signal-safety(7)),
    // allocates nothing and takes no lock.
    unsafe { command.pre_exec(unblock) }
}

/// Lets every signal do what it does by default (signal(7)), for a program that is to be executed. One
/// that is ignored stays so through execve(2), and a shell lets no script handle it then: nohup(1) leaves
/// SIGHUP so, and shells the interrupts of what they run in the background.
pub fn default_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: sets a default, which is no code of this program. What cannot be set (SIGKILL, those
        // of the C library) has its default already.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Lets the end of a child be reported as it is by default. Where SIGCHLD is ignored, as some programs leave it to
/// what they execute, wait(2) finds no child that has ended (signal(7)).
pub fn report_children() {
    // SAFETY: sets a default, which is no code of this program.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Makes writing beyond the limit of file sizes fail with `FBIG` instead of ending this process (setrlimit(2)).
pub fn ignore_file_size_signal() {
    // SAFETY: ignoring is no code of this program.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Whether a signal is ignored. An ignored signal that is also blocked stays pending (sigaction(2)).
pub fn is_ignored(signal: Signal) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks what is done, and there is room for the answer.
    let asked = unsafe { libc::sigaction(signal.as_raw(), std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: any bytes are a valid sigaction, and these were zeroed.
    asked == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

fn signal_set(signals: &[Signal]) -> Result<libc::sigset_t> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set it is given.
    let mut set: libc::sigset_t = unsafe {
        if libc::sigemptyset(set.as_mut_ptr()) != 0 {
            return Err(last_error());
        }
        set.assume_init()
    };
    for signal in signals {
        // SAFETY: `set` is initialised.
        if unsafe { libc::sigaddset(&mut set, signal.as_raw()) } != 0 {
            return Err(last_error());
        }
    }
    Ok(set)
}

/// The result of a `pthread_*` call, which returns its error number.
fn ok_or(error: libc::c_int) -> Result<()> {
    match error {
        0 => Ok(()),
        number => Err(Errno::from_raw_os_error(number)),
    }
}

/// The result of syscall(2), which returns -1 for an error.
pub(crate) fn returned(result: libc::c_long) -> Result<usize> {
    usize::try_from(result).map_err(|_| last_error())
}

pub(crate) fn last_error() -> Errno {
    errno_of(&std::io::Error::last_os_error())
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_not_forked() {
        // The test harness itself runs this in a thread of its own.
        assert_eq!(fork(), Err(Errno::BUSY));
    }

    /// To this thread, since the others of the harness do not block it.
    fn send(signal: Signal) {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        // SAFETY: tgkill reads its three numbers.
        let sent = unsafe { libc::syscall(libc::SYS_tgkill, pid, thread, signal.as_raw()) };
        assert_eq!(sent, 0);
    }

    #[test]
    fn a_blocked_signal_is_taken_by_waiting() {
        let queue = SignalQueue::block(&[Signal::USR1]).unwrap();
        assert_eq!(queue.pending(), Ok(None));
        send(Signal::USR1);
        let received = queue.wait().unwrap();
        assert_eq!(received.signal, Signal::USR1);
        assert!(received.from_process);
        queue.unblock().unwrap();
    }

    #[test]
    fn a_signal_that_is_ignored_is_not_told_of() {
        let queue = SignalQueue::block(&[Signal::USR2]).unwrap();
        for (disposition, told) in [(libc::SIG_IGN, None), (libc::SIG_DFL, Some(Signal::USR2))] {
            // SAFETY: neither is code of this program.
            unsafe { libc::signal(libc::SIGUSR2, disposition) };
            send(Signal::USR2);
            assert_eq!(queue.pending(), Ok(told));
        }
        queue.unblock().unwrap();
    }
}

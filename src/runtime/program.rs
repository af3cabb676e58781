//! The last step: from a process of this program to the image's own program.
//!
//! No descriptor of the machine is open any more but standard input, output and error, and the pipe and the
//! socket of an order, which lead to no file. Paths are the container's.

use std::env;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{LinuxSeccomp, PosixRlimit, PosixRlimitType, Process};
use plyfs_sys::process::execute;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};

use super::bond::Bond;
use super::console::Console;
use super::init::{self, Role};
use super::report::Report;
use super::root::open_here;
use super::{filter, identity};
use crate::error::{CANNOT_RUN, CliError, Context, NOT_FOUND, Result, reason};

/// What a process becomes.
pub(super) struct Program<'a> {
    pub(super) process: &'a Process,
    pub(super) seccomp: Option<&'a LinuxSeccomp>,
    pub(super) console: Option<Console>,
    pub(super) bond: &'a Bond,
    /// Whether this process stays as the first one, with the program as its child.
    pub(super) init: bool,
}

impl Program<'_> {
    /// Becomes the program, or reports why it could not, and ends.
    pub(super) fn execute(mut self, report: Report) -> ! {
        let prepared = self.prepare().and_then(|()| {
            if self.init {
                init::split()
            } else {
                Ok(Role::Program)
            }
        });
        let failure = match prepared {
            Ok(Role::First(first)) => {
                // The caller waits until no process has it any more.
                drop(report);
                std::process::exit(first.attend().into());
            }
            Ok(Role::Program) => self.become_program(),
            Err(failure) => failure,
        };
        report.end(&failure)
    }

    /// Everything that init shares with the program.
    fn prepare(&self) -> Result {
        let process = self.process;
        let umask = process.user().umask().unwrap_or(0o022);
        enter(process.cwd())?;
        rustix::process::umask(Mode::from_raw_mode(umask));
        for limit in process.rlimits().iter().flatten() {
            set_limit(limit)?;
        }
        if process.no_new_privileges() == Some(true) {
            rustix::thread::set_no_new_privs(true).context("give up new privileges")?;
        }
        // Without no_new_privs a filter needs capabilities. The filter lets what follows pass.
        if let Some(seccomp) = self.seccomp {
            filter::install(seccomp)?;
        }
        identity::take(process, self.bond)
    }

    /// Returns only why it could not.
    fn become_program(&mut self) -> CliError {
        let ready = session(self.console.take()).and_then(|()| find(self.process));
        match ready {
            Ok(program) => {
                let words = self.process.args().as_deref().unwrap_or_default();
                let environment = self.process.env().as_deref().unwrap_or_default();
                plyfs_sys::process::default_signals();
                let errno = execute(program.as_os_str(), words, environment);
                not_executed(self.process, errno)
            }
            Err(failure) => failure,
        }
    }
}

/// A session of its own, so that a signal to a process group stays in the container, and no terminal of the
/// caller is its terminal.
fn session(console: Option<Console>) -> Result {
    match rustix::process::setsid() {
        // This process leads one already.
        Ok(_) | Err(Errno::PERM) => {}
        Err(errno) => return Err(errno).context("start a session"),
    }
    match console {
        Some(console) => console.take(),
        None => Ok(()),
    }
}

/// Changes to the working directory. If it is not there it is made, as Podman does.
///
/// Links of /proc that lead to files rather than to names are not followed, and what was come to must have a
/// path in the container: the working directory stays when the root changes (CVE-2024-21626).
fn enter(directory: &Path) -> Result {
    let shown = directory.display();
    let action = format!("change to {shown} in the container");
    let found = match open_here(directory, OFlags::PATH | OFlags::DIRECTORY) {
        Err(Errno::NOENT) => make(directory)?,
        Err(Errno::LOOP) => {
            return Err(CliError::new(format_args!(
                "cannot {action}: links of /proc to open files are not followed"
            )));
        }
        found => found.context(&action)?,
    };
    rustix::process::fchdir(&found).context(&action)?;
    let path = rustix::process::getcwd(Vec::new()).context(&action)?;
    match path.to_bytes().first() {
        Some(b'/') => Ok(()),
        _ => Err(CliError::new(format_args!(
            "cannot {action}: it is outside of the container"
        ))),
    }
}

/// Makes a directory with those above it.
fn make(directory: &Path) -> Result<OwnedFd> {
    let action = format!("make {} in the container", directory.display());
    let mut dir = open_here(Path::new("/"), OFlags::PATH | OFlags::DIRECTORY).context(&action)?;
    let mut walked = PathBuf::from("/");
    for part in directory.components() {
        if part == Component::RootDir {
            continue;
        }
        walked.push(part);
        dir = match open_here(&walked, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => {
                let mode = Mode::from_raw_mode(0o755);
                rustix::fs::mkdirat(&dir, part.as_os_str(), mode).context(&action)?;
                open_here(&walked, OFlags::PATH | OFlags::DIRECTORY).context(&action)?
            }
            found => found.context(&action)?,
        };
    }
    Ok(dir)
}

fn set_limit(limit: &PosixRlimit) -> Result {
    let (name, resource) = match limit.typ() {
        PosixRlimitType::RlimitCpu => ("cpu", Resource::Cpu),
        PosixRlimitType::RlimitFsize => ("fsize", Resource::Fsize),
        PosixRlimitType::RlimitData => ("data", Resource::Data),
        PosixRlimitType::RlimitStack => ("stack", Resource::Stack),
        PosixRlimitType::RlimitCore => ("core", Resource::Core),
        PosixRlimitType::RlimitRss => ("rss", Resource::Rss),
        PosixRlimitType::RlimitNproc => ("nproc", Resource::Nproc),
        PosixRlimitType::RlimitNofile => ("nofile", Resource::Nofile),
        PosixRlimitType::RlimitMemlock => ("memlock", Resource::Memlock),
        PosixRlimitType::RlimitAs => ("as", Resource::As),
        PosixRlimitType::RlimitLocks => ("locks", Resource::Locks),
        PosixRlimitType::RlimitSigpending => ("sigpending", Resource::Sigpending),
        PosixRlimitType::RlimitMsgqueue => ("msgqueue", Resource::Msgqueue),
        PosixRlimitType::RlimitNice => ("nice", Resource::Nice),
        PosixRlimitType::RlimitRtprio => ("rtprio", Resource::Rtprio),
        PosixRlimitType::RlimitRttime => ("rttime", Resource::Rttime),
    };
    let value = |value: u64| (value != u64::MAX).then_some(value);
    let wanted = Rlimit {
        current: value(limit.soft()),
        maximum: value(limit.hard()),
    };
    match rustix::process::setrlimit(resource, wanted) {
        Err(Errno::PERM) => Err(CliError::new(format_args!(
            "cannot set the limit {name}: it is above the hard limit that this process has (ulimit -H)"
        ))),
        set => set.context(format_args!("set the limit {name}")),
    }
}

/// The path of the program, when ids and root are those it will have.
fn find(process: &Process) -> Result<PathBuf> {
    let environment = process.env().as_deref().unwrap_or_default();
    let path = environment
        .iter()
        .rev()
        .find_map(|pair| pair.strip_prefix("PATH="));
    let path = path.unwrap_or(crate::oci::defaults::PATH);
    search(OsStr::new(name_of(process)), OsStr::new(path))
}

fn name_of(process: &Process) -> &str {
    let arguments = process.args().as_deref().unwrap_or_default();
    arguments.first().map_or("", String::as_str)
}

/// Why a program that is there could not be executed.
fn not_executed(process: &Process, errno: Errno) -> CliError {
    let name = name_of(process);
    match errno {
        Errno::NOENT => CliError::new(format_args!(
            "cannot run {name} in the container: what it needs to be started (the interpreter of a \
             script, the loader of a program) is not in the image"
        ))
        .with_status(NOT_FOUND),
        Errno::NOEXEC => CliError::new(format_args!(
            "cannot run {name} in the container: it is neither a program for this machine nor a script that \
             begins with #!"
        ))
        .with_status(CANNOT_RUN),
        _ => CliError::new(format_args!(
            "cannot run {name} in the container: {}",
            reason(&errno)
        ))
        .with_status(CANNOT_RUN),
    }
}

/// The path of a program, as a shell finds it.
fn search(program: &OsStr, path: &OsStr) -> Result<PathBuf> {
    let missing = || {
        let message = format!("the container has no program {}", program.display());
        CliError::new(message).with_status(NOT_FOUND)
    };
    if program.is_empty() {
        return Err(missing());
    }
    let in_way = |errno| cannot_look(program, errno);
    if program.as_bytes().contains(&b'/') {
        return match check(Path::new(program)).map_err(in_way)? {
            Found::Program => Ok(program.into()),
            Found::Other => Err(cannot_run(program)),
            Found::Nothing => Err(missing()),
        };
    }
    let mut other = false;
    for directory in env::split_paths(path) {
        let is_empty = directory.as_os_str().is_empty();
        let directory = if is_empty { Path::new(".") } else { &directory };
        let candidate = directory.join(program);
        match check(&candidate).map_err(in_way)? {
            Found::Program => return Ok(candidate),
            Found::Other => other = true,
            Found::Nothing => {}
        }
    }
    Err(if other {
        cannot_run(program)
    } else {
        missing()
    })
}

enum Found {
    Program,
    /// Something that cannot be run.
    Other,
    Nothing,
}

/// What a path leads to. `/proc/self/exe` is this program and no program of the container
/// (CVE-2019-5736).
///
/// # Errors
/// `MFILE`, `NFILE` and `NOMEM`, which are not about the path.
fn check(path: &Path) -> Result<Found, Errno> {
    let found = match open_here(path, OFlags::PATH) {
        Ok(found) => found,
        Err(Errno::LOOP) => return Ok(Found::Other),
        Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => return Err(errno),
        Err(_) => return Ok(Found::Nothing),
    };
    let stat = rustix::fs::fstat(&found);
    let is_file = stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file());
    let access = rustix::fs::accessat(
        rustix::fs::CWD,
        path,
        rustix::fs::Access::EXEC_OK,
        AtFlags::EACCESS,
    );
    Ok(if is_file && access.is_ok() {
        Found::Program
    } else {
        Found::Other
    })
}

fn cannot_look(program: &OsStr, errno: Errno) -> CliError {
    let remedy = match errno {
        Errno::MFILE => "; raise the limit (--ulimit nofile)",
        _ => "",
    };
    CliError::new(format_args!(
        "cannot look for {} in the container: {}{remedy}",
        program.display(),
        reason(&errno)
    ))
    .with_status(CANNOT_RUN)
}

fn cannot_run(program: &OsStr) -> CliError {
    let message = format!("{} is no program that can be run", program.display());
    CliError::new(message).with_status(CANNOT_RUN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_as_a_shell_finds_them() {
        let found = search(OsStr::new("sh"), OsStr::new("/nowhere:/bin")).unwrap();
        assert_eq!(found, Path::new("/bin/sh"));
        let status = |program: &str| {
            search(OsStr::new(program), OsStr::new("/etc"))
                .unwrap_err()
                .status()
        };
        assert_eq!(status("no-such-program"), NOT_FOUND);
        assert_eq!(status("passwd"), CANNOT_RUN);
        assert_eq!(status("/etc"), CANNOT_RUN);
        assert_eq!(status(""), NOT_FOUND);
    }

    #[test]
    fn the_runtime_itself_is_no_program_of_the_container() {
        for path in [
            "/proc/self/exe",
            "/proc/thread-self/exe",
            "/proc/self/root/bin/sh",
        ] {
            let found = search(OsStr::new(path), OsStr::new("/bin"));
            assert_eq!(found.unwrap_err().status(), CANNOT_RUN, "{path}");
        }
    }
}

//! The first process of a container: from a fork to the image's own program.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Access;
use rustix::io::Errno;
use rustix::process::{Gid, Signal, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::user::{self, Identity};
use crate::failure::{Doing, Failure, Outcome, reason};

/// Exit status of a program that is there but cannot be run, and of one that is not there.
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Where programs are searched for if the image does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a container keeps of root's power over the machine's resources: Podman's default.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SYS_CHROOT);

/// What ends a container's first process with the process that attends to it: without that one,
/// nobody would wait for it.
pub(crate) struct Bond {
    /// Of a pipe the other end of which only the parent has.
    parent: OwnedFd,
}

impl Bond {
    /// A bond for a process to be started, and the end that the parent keeps.
    pub(crate) fn new() -> Outcome<(Self, OwnedFd)> {
        let flags = rustix::pipe::PipeFlags::CLOEXEC;
        let (parent, end) = rustix::pipe::pipe_with(flags).doing("make a pipe")?;
        Ok((Self { parent }, end))
    }

    /// Has this process killed when its parent ends.
    pub(crate) fn tie(&self) -> Outcome {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .doing("bind the container to its parent")?;
        // The parent may have ended before, and the number of a process that has another pid
        // namespace cannot tell.
        let mut fds = [PollFd::new(&self.parent, PollFlags::empty())];
        match poll(&mut fds, Some(&Timespec::default())).doing("look for the parent")? {
            0 => Ok(()),
            _ => Err(Failure::new(
                "the process that started the container is gone",
            )),
        }
    }
}

/// A program to run in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// The program and its arguments; never empty.
    pub(crate) arguments: Vec<OsString>,
    /// `NAME=VALUE`, later ones before earlier ones of the same name.
    pub(crate) environment: Vec<OsString>,
    pub(crate) directory: PathBuf,
    /// `User` of the image's configuration, or what replaces it.
    pub(crate) user: String,
    pub(crate) hostname: String,
}

impl Program {
    /// Becomes the program. The present root is the container's. Returns only why it could not.
    pub(crate) fn execute(&self, bond: &Bond) -> Failure {
        match self.prepare(bond) {
            Ok(mut command) => {
                plyfs_sys::process::default_signals();
                self.not_executed(&command.exec())
            }
            Err(failure) => failure,
        }
    }

    /// Why a program that is there could not be executed.
    fn not_executed(&self, error: &io::Error) -> Failure {
        let name = self.name().display();
        if error.kind() == io::ErrorKind::NotFound {
            return Failure::new(format_args!(
                "cannot run {name} in the container: what it needs to be started (the interpreter of a \
                 script, the loader of a program) is not in the image"
            ))
            .with_status(NOT_FOUND);
        }
        let why = reason(error);
        Failure::new(format_args!("cannot run {name} in the container: {why}"))
            .with_status(CANNOT_RUN)
    }

    fn name(&self) -> &OsStr {
        self.arguments.first().map_or(OsStr::new(""), |name| name)
    }

    fn prepare(&self, bond: &Bond) -> Outcome<Command> {
        let identity = user::look_up(&self.user)?;
        let environment = self.environment(&identity);
        self.enter_directory()?;
        take_identity(&identity)?;
        // Another user id has undone it (prctl(2), PR_SET_PDEATHSIG).
        bond.tie()?;
        let path = find(&environment, "PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        let program = search(self.name(), &path)?;
        let mut command = Command::new(program);
        command
            .arg0(self.name())
            .args(self.arguments.iter().skip(1))
            .env_clear();
        for pair in &environment {
            let (name, value) = split_pair(pair);
            command.env(name, value);
        }
        Ok(command)
    }

    /// The environment: what a container always has, then what the image and the user say.
    fn environment(&self, identity: &Identity) -> Vec<OsString> {
        let mut all: Vec<OsString> = vec![
            format!("PATH={DEFAULT_PATH}").into(),
            format!("HOME={}", identity.home).into(),
            format!("HOSTNAME={}", self.hostname).into(),
            "container=plyfs".into(),
        ];
        if let Some(term) = std::env::var_os("TERM") {
            let mut pair = OsString::from("TERM=");
            pair.push(term);
            all.push(pair);
        }
        all.extend(self.environment.iter().cloned());
        all
    }

    fn enter_directory(&self) -> Outcome {
        let directory = &self.directory;
        match rustix::process::chdir(directory) {
            Err(Errno::NOENT) => {
                // As Podman does: the image may name one that it does not have.
                let doing = format!("make {} in the container", directory.display());
                std::fs::create_dir_all(directory).doing(doing)?;
                rustix::process::chdir(directory)
            }
            other => other,
        }
        .doing(format_args!(
            "change to {} in the container",
            directory.display()
        ))
    }
}

/// Gives up the ids and powers of the namespace's root.
fn take_identity(identity: &Identity) -> Outcome {
    drop_bounding_set()?;
    let Identity { uid, gid, .. } = *identity;
    let groups: Vec<Gid> = identity
        .groups
        .iter()
        .map(|gid| Gid::from_raw(*gid))
        .collect();
    match rustix::thread::set_thread_groups(&groups) {
        // A namespace with a single id has no other groups to take, nor to leave.
        Err(Errno::PERM) => {}
        Err(Errno::INVAL) => return Err(no_id("a group", gid)),
        other => other.doing("set supplementary groups")?,
    }
    let group = Gid::from_raw(gid);
    match rustix::thread::set_thread_res_gid(group, group, group) {
        Err(Errno::INVAL) => return Err(no_id("group", gid)),
        other => other.doing("set the group")?,
    }
    let user = Uid::from_raw(uid);
    match rustix::thread::set_thread_res_uid(user, user, user) {
        Err(Errno::INVAL) => return Err(no_id("user", uid)),
        other => other.doing("set the user")?,
    }
    // Nothing is to be passed on but what root has by being root.
    let mut sets = rustix::thread::capabilities(None).doing("read capabilities")?;
    sets = CapabilitySets {
        effective: sets.effective & KEPT,
        permitted: sets.permitted & KEPT,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).doing("set capabilities")
}

fn no_id(kind: &str, id: u32) -> Failure {
    Failure::new(format_args!(
        "the container is to run with {kind} id {id}, which has no place in this user namespace; \
         have subordinate ids set up (subuid(5), subgid(5), package uidmap), or give --user 0"
    ))
}

fn drop_bounding_set() -> Outcome {
    for capability in CapabilitySet::all().difference(KEPT).iter() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // A capability this kernel does not have.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(error) => return Err(error).doing("drop capabilities"),
        }
    }
    Ok(())
}

/// The path of a program, as a shell finds it.
fn search(program: &OsStr, path: &OsStr) -> Outcome<PathBuf> {
    let missing = || {
        let message = format!("the container has no program {}", program.display());
        Failure::new(message).with_status(NOT_FOUND)
    };
    if program.is_empty() {
        return Err(missing());
    }
    if program.as_bytes().contains(&b'/') {
        return match check(Path::new(program)) {
            Found::Program => Ok(program.into()),
            Found::Other => Err(cannot_run(program)),
            Found::Nothing => Err(missing()),
        };
    }
    let mut other = false;
    for directory in path.as_bytes().split(|byte| *byte == b':') {
        let directory = match directory {
            b"" => Path::new("."),
            directory => Path::new(OsStr::from_bytes(directory)),
        };
        let candidate = directory.join(program);
        match check(&candidate) {
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

fn check(path: &Path) -> Found {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok() => {
            Found::Program
        }
        Ok(_) => Found::Other,
        Err(_) => Found::Nothing,
    }
}

fn cannot_run(program: &OsStr) -> Failure {
    let message = format!("{} is no program that can be run", program.display());
    Failure::new(message).with_status(CANNOT_RUN)
}

fn split_pair(pair: &OsStr) -> (&OsStr, &OsStr) {
    let bytes = pair.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (
            OsStr::from_bytes(&bytes[..at]),
            OsStr::from_bytes(&bytes[at + 1..]),
        ),
        None => (pair, OsStr::new("")),
    }
}

/// The value of a variable; the last one of a name holds.
fn find(environment: &[OsString], wanted: &str) -> Option<OsString> {
    environment.iter().rev().find_map(|pair| {
        let (name, value) = split_pair(pair);
        (name == wanted).then(|| value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_name_holds() {
        let environment = ["PATH=/a", "X=1=2", "PATH=/b"].map(OsString::from);
        assert_eq!(find(&environment, "PATH"), Some("/b".into()));
        assert_eq!(find(&environment, "X"), Some("1=2".into()));
        assert_eq!(find(&environment, "Y"), None);
    }

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
}

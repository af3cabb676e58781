//! A terminal at which plyfs is called.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pty::OpenptFlags;

use super::cell::*;
use crate::support::*;

/// A terminal whose session is that of a program, as a shell's, and what was typed and printed there.
pub struct Terminal {
    pub master: File,
    pub slave: OwnedFd,
}

impl Terminal {
    pub fn open() -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).unwrap();
        rustix::pty::grantpt(&master).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).unwrap();
        Self {
            master: File::from(master),
            slave,
        }
    }

    /// A command whose standard input and output are the terminal, in a session of which it is the terminal.
    pub fn command(&self, cell: &Cell, command: &Command) -> Command {
        let mut caller = cell.probe();
        caller.arg("with-terminal").arg(command.get_program());
        caller.args(command.get_args());
        let end = || Stdio::from(self.slave.try_clone().unwrap());
        caller.stdin(end()).stdout(end()).stderr(end());
        caller
    }

    /// What is printed until a text comes.
    pub fn printed_until(&mut self, wanted: &str) -> String {
        let mut all = String::new();
        let start = Instant::now();
        while !all.contains(wanted) {
            let left = LONG.saturating_sub(start.elapsed());
            let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
            let ready = poll(&mut fds, Some(&left.try_into().unwrap())).unwrap();
            assert!(ready > 0, "{all}");
            let mut buffer = [0; 4096];
            let length = self.master.read(&mut buffer).unwrap();
            all.push_str(&text(&buffer[..length]));
        }
        all
    }
}

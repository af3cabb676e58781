//! A container that runs while a test does something with it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take that does not depend on a clock.
const LONG: Duration = Duration::from_secs(20);

/// A `plyfs run` whose standard input is open until this is dropped.
pub struct Background {
    pub child: Child,
    output: BufReader<ChildStdout>,
    /// A word that all its processes have among their arguments.
    mark: String,
}

impl Background {
    pub fn start(command: &mut Command, mark: &str) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            output,
            mark: mark.to_owned(),
        }
    }

    /// Expects this line next.
    #[track_caller]
    pub fn wait_for_line(&mut self, wanted: &str) {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), wanted);
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits until it has ended.
    pub fn end(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < LONG, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal to all its processes. Some may have ended by what the first of them did.
    pub fn signal_all(&self, signal: Signal) {
        let pids = self
            .processes()
            .into_iter()
            .filter_map(|pid| pid.try_into().ok());
        for pid in pids.filter_map(Pid::from_raw) {
            match kill_process(pid, signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => panic!("cannot send {signal:?} to {pid:?}: {errno}"),
            }
        }
    }

    /// Waits until no process with the mark lives.
    pub fn assert_all_gone(&self) {
        let start = Instant::now();
        while !self.processes().is_empty() {
            assert!(start.elapsed() < LONG, "{:?} live on", self.processes());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// All processes with the mark that are alive.
    pub fn processes(&self) -> Vec<u32> {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let has_mark = |pid: &u32| {
            fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|arguments| super::text(&arguments).contains(&self.mark))
        };
        pids.filter(has_mark).collect()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Gone already unless the test has failed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

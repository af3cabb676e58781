//! A process that does what one actor of a program does, on one side.
//!
//! It is this test program, started once more. Operations come over a socket as lines, and every
//! one is answered with a line; a line between the parts of an answer is a unit separator.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::act::Session;
use super::mounts::MERGED;
use super::program::{ACTORS, Actor, Op};
use super::text::Text;

/// Says that a process is a worker.
pub const WORKER: &str = "PLYFS_DIFF_WORKER";

/// How long an operation may take. Afterwards it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// The end of the worker that a test holds.
pub struct Worker {
    child: Child,
    input: BufReader<UnixStream>,
    output: BufWriter<UnixStream>,
}

impl Worker {
    /// Starts this program again, to run the test `entry`, which is to call [`serve`].
    pub fn start(entry: &str) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", entry, "--nocapture", "--test-threads=1"])
            .env(WORKER, "1")
            .stdin(OwnedFd::from(theirs))
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            input: BufReader::new(ours.try_clone().unwrap()),
            output: BufWriter::new(ours),
        }
    }

    /// Sends a line that will be answered.
    pub fn send(&mut self, line: &str) {
        self.output.write_all(line.as_bytes()).unwrap();
        self.output.write_all(b"\n").unwrap();
    }

    pub fn flush(&mut self) {
        self.output.flush().unwrap();
    }

    /// The next answer; an error if none comes.
    pub fn receive(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.input.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        line.pop();
        Ok(line)
    }

    /// Kills it, and waits until it is gone.
    pub fn kill(&mut self) -> std::io::Result<()> {
        self.child.kill()?;
        let start = Instant::now();
        while self.child.try_wait()?.is_none() {
            if start.elapsed() > PATIENCE {
                return Err(std::io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        Ok(())
    }

    pub fn ask(&mut self, line: &str) -> std::io::Result<String> {
        self.send(line);
        self.flush();
        self.receive()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It has no state worth keeping, and may hang.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Serves the test on the other end of standard input.
pub fn serve() {
    let stream = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let stream = UnixStream::from(stream);
    let mut input = BufReader::new(stream.try_clone().unwrap());
    let mut output = BufWriter::new(stream);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let outside = rustix::fs::open("/", flags, Mode::empty()).unwrap();
    let mut session = Session::default();
    let mut line = String::new();
    loop {
        line.clear();
        if input.read_line(&mut line).unwrap() == 0 {
            return;
        }
        let answer = answer(&outside, &mut session, line.trim_end());
        output.write_all(answer.as_bytes()).unwrap();
        output.write_all(b"\n").unwrap();
        if input.buffer().is_empty() {
            output.flush().unwrap();
        }
    }
}

fn answer(outside: &OwnedFd, session: &mut Session, line: &str) -> String {
    if let Some(rest) = line.strip_prefix("begin ") {
        // The number of an actor, whether there are other ids than 0, and the cell.
        let mut words = rest.splitn(3, ' ');
        let number: usize = words.next().unwrap().parse().unwrap();
        let ids = words.next() == Some("ids");
        *session = Session::default();
        become_root();
        enter(outside, words.next().unwrap());
        become_actor(ACTORS[number], ids);
        *session = Session::new(MERGED);
        return "ok".to_owned();
    }
    if let Some(path) = line.strip_prefix("look ") {
        return session.look(path);
    }
    match line {
        // Lets go of the mount.
        "release" => {
            session.release();
            return "ok".to_owned();
        }
        // Goes to the new mount.
        "enter" => {
            session.enter();
            return "ok".to_owned();
        }
        // Makes durable what this actor holds open.
        "settle" => {
            session.settle();
            return "ok".to_owned();
        }
        _ => {}
    }
    match Op::read(line) {
        Some(op) => session.act(&op),
        None => format!("not understood: {line}"),
    }
}

fn become_root() {
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    set_thread_res_uid(uid, uid, uid).unwrap();
    set_thread_res_gid(gid, gid, gid).unwrap();
    rustix::process::umask(Mode::from_raw_mode(0o022));
}

/// Leaves the cell of the last program for that of the next. Nothing is done outside of a cell: the
/// programs are random, and their actors may be root.
fn enter(outside: &OwnedFd, cell: &str) {
    rustix::process::fchdir(outside).unwrap();
    rustix::process::chroot(".").unwrap();
    rustix::process::chroot(cell).unwrap();
    rustix::process::chdir("/").unwrap();
}

/// Takes the ids of an actor. The saved ids stay those of root, so that the next can be taken.
fn become_actor(actor: Actor, ids: bool) {
    if !ids {
        return;
    }
    let (root_uid, root_gid) = (Uid::from_raw(0), Gid::from_raw(0));
    let (uid, gid) = (Uid::from_raw(actor.uid), Gid::from_raw(actor.gid));
    set_thread_groups(&[Gid::from_raw(actor.group)]).unwrap();
    set_thread_res_gid(gid, gid, root_gid).unwrap();
    set_thread_res_uid(uid, uid, root_uid).unwrap();
}

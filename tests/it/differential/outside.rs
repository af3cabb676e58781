//! A user namespace for the test, and a helper outside of it that sets what only the machine's root may:
//! capabilities that belong to none of the users inside.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::text::{escape, unescape};
use crate::support::text;

/// Says that a helper answers on standard input.
const HELPED: &str = "PLYFS_DIFF_HELPED";

/// The users and groups inside: those of the machine, but for the one that foreign capabilities belong to.
const MAP: &str = "0 0 65536";

const CAPABILITY: &str = "security.capability";

pub fn is_helped() -> bool {
    std::env::var_os(HELPED).is_some()
}

/// Runs a test of this program in a user namespace, and returns what it wrote on standard error.
pub fn run_helped(test: &str) -> String {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let wait = "echo >&0; read -r go; exec unshare -m --propagation private \"$@\"";
    let child = Command::new("unshare")
        .args(["-U", "sh", "-c", wait, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(HELPED, "1")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let helper = std::thread::spawn(move || help(ours, pid));
    let output = child.wait_with_output().unwrap();
    helper.join().unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "inside the user namespace:\n{stdout}\n{stderr}"
    );
    stderr
}

/// Maps the users of a process that waits for it, and sets capabilities for it until it ends.
fn help(stream: UnixStream, pid: u32) {
    let mut output = stream.try_clone().unwrap();
    let mut lines = BufReader::new(stream).lines();
    // It is in its namespace.
    if lines.next().is_none() {
        return;
    }
    for map in ["uid_map", "gid_map"] {
        std::fs::write(format!("/proc/{pid}/{map}"), MAP).unwrap();
    }
    output.write_all(b"\n").unwrap();
    for line in lines.map_while(Result::ok) {
        let answer = match set_for(pid, &line) {
            Ok(()) => 0,
            Err(error) => error.raw_os_error(),
        };
        // It may have ended meanwhile.
        if output.write_all(format!("{answer}\n").as_bytes()).is_err() {
            return;
        }
    }
}

fn set_for(pid: u32, line: &str) -> Result<(), Errno> {
    let words = line
        .split_once(' ')
        .map(|(p, v)| (unescape(p), unescape(v)));
    let Some((Some(path), Some(value))) = words else {
        return Err(Errno::INVAL);
    };
    let path = [format!("/proc/{pid}/root").as_bytes(), &path].concat();
    rustix::fs::lsetxattr(path.as_slice(), CAPABILITY, &value, XattrFlags::empty())
}

/// Has the helper set a capability, if there is one.
pub fn set_capability(path: &Path, value: &[u8]) -> Result<(), Errno> {
    static HELPER: OnceLock<Mutex<BufReader<UnixStream>>> = OnceLock::new();
    if !is_helped() {
        return Err(Errno::PERM);
    }
    let helper = HELPER.get_or_init(|| {
        let stream = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
        Mutex::new(BufReader::new(UnixStream::from(stream)))
    });
    let mut helper = helper.lock().unwrap();
    let line = format!(
        "{} {}\n",
        escape(path.as_os_str().as_bytes()),
        escape(value)
    );
    helper.get_mut().write_all(line.as_bytes()).unwrap();
    let mut answer = String::new();
    helper.read_line(&mut answer).unwrap();
    match answer.trim_end().parse().unwrap() {
        0 => Ok(()),
        number => Err(Errno::from_raw_os_error(number)),
    }
}

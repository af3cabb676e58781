//! `plyfs demo`.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::*;

/// A temporary directory in which everybody may make files.
fn open_dir() -> tempfile::TempDir {
    let tmp = tempfile::tempdir().unwrap();
    fs::set_permissions(tmp.path(), fs::Permissions::from_mode(0o777)).unwrap();
    tmp
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// Runs the demo, which must show every step and leave nothing.
fn shows_everything(mut demo: Command) {
    let tmp = open_dir();
    let start = Instant::now();
    let output = demo.env("TMPDIR", tmp.path()).output().unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    assert!(start.elapsed() < Duration::from_secs(60));
    let mut rest = said.as_str();
    for step in [
        "1. An image",
        "2. Imported as demo:latest",
        "3. Mounted on",
        "4. Reading",
        "Welcome to the top layer.",
        "upper: (nothing)",
        "5. Copy-up",
        "10.0.0.1 db",
        "upper: etc/hosts",
        "6. New files",
        "srv/www/index.html (6 bytes)",
        "7. Whiteout",
        "usr/share/doc/readme (whiteout)",
        "8. The layers themselves",
        "9. Unmounted",
        "nothing is left of it",
        "plyfs import",
    ] {
        let at = rest.find(step);
        assert!(at.is_some(), "no {step:?}, or not in its place:\n{said}");
        rest = &rest[at.unwrap()..];
    }
    assert_nothing_left(tmp.path());
}

fn assert_nothing_left(tmp: &Path) {
    assert_eq!(fs::read_dir(tmp).unwrap().count(), 0);
    assert!(!mounts().contains(tmp.to_str().unwrap()), "{}", mounts());
}

#[test]
fn the_demo_shows_everything_and_leaves_nothing() {
    if let Some(why) = cannot_mount() {
        return skip(this_test!(), &why);
    }
    shows_everything(plyfs(["demo"]));
}

#[test]
fn the_demo_works_where_mounting_is_allowed_already() {
    if let Some(why) = cannot_mount() {
        return skip(this_test!(), &why);
    }
    shows_everything(plyfs(["unshare", PLYFS, "demo"]));
}

/// An ordinary user has a single id in a namespace, and records take the place of owners.
#[test]
fn the_demo_works_without_subordinate_ids() {
    let test = this_test!();
    if let Some(why) = cannot_mount().or_else(cannot_run_as_ordinary_user) {
        return skip(test, &why);
    }
    if !rustix::process::geteuid().is_root() {
        return skip(test, "only root can become a user without subordinate ids");
    }
    let mut demo = plyfs(["demo"]);
    demo.uid(NOBODY).gid(NOBODY);
    shows_everything(demo);
}

#[test]
fn the_demo_goes_on_when_its_output_is_closed() {
    if let Some(why) = cannot_mount() {
        return skip(this_test!(), &why);
    }
    let tmp = open_dir();
    let mut demo = plyfs(["demo"]);
    let demo = demo.env("TMPDIR", tmp.path()).stdout(Stdio::piped());
    let mut child = demo.stderr(Stdio::piped()).spawn().unwrap();
    let mut start = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut start).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    assert_nothing_left(tmp.path());
}

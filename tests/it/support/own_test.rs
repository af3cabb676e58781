//! The running test: its name, its start in a process of its own, and why it cannot run here. The tests of `fs` and
//! `store` include this file too.

use std::io::Write;
use std::process::Command;

/// The full name of the test around it, as `--exact` takes it: `mounts::a_test`.
macro_rules! this_test {
    () => {{
        fn here() {}
        $crate::support::own_test::name_of(here)
    }};
}

/// The full name of a test, from the test itself or from a function inside it.
pub fn name_of<F>(_: F) -> &'static str {
    let path = std::any::type_name::<F>();
    let (_binary, path) = path.split_once("::").unwrap();
    let path = path.strip_suffix("::here").unwrap_or(path);
    path.split("::{{closure}}").next().unwrap()
}

/// Reports that a test cannot run here. Writes to standard error itself, since the harness captures `eprintln!`.
pub fn skip(test: &str, why: &str) {
    let line = format!("SKIPPED {test}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// Runs a test again in a process of its own, which must pass, and passes its reports on. `command` is this program
/// or a command that starts it.
pub fn run_again(command: &mut Command, test: &str) {
    let output = command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{test} in a process of its own:\n{stdout}\n{stderr}"
    );
    let reports = |line: &&str| line.starts_with("SKIPPED") || line.starts_with("REPORT");
    for line in stderr.lines().filter(reports) {
        let line = format!("{line}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
}

//! Signals and ends.

use super::*;

#[test]
fn signals_are_passed_on() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::INT, "INT"),
        (Signal::HUP, "HUP"),
    ] {
        // Bash reads on when a signal comes just before it waits for input, but not for a process.
        let text = format!("trap 'exit 7' {name}; sleep 1000 & echo ready; while :; do wait; done");
        let mut running = self::running(&world, &[], &text);
        running.wait_for_line("ready");
        kill_process(running.pid(), signal).unwrap();
        assert_eq!(running.end().code(), Some(7), "{name}");
    }
    assert_nothing_left(&world);
}

/// While a process waits for signals, no mask of /proc shows them.
#[test]
fn init_passes_a_signal_on_to_a_handler() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let text = "trap 'exit 7' TERM; sleep 1000 & echo ready; while :; do wait; done";
    let mut running = self::running(&world, &["--init"], text);
    running.wait_for_line("ready");
    kill_process(running.pid(), Signal::TERM).unwrap();
    assert_eq!(running.end().code(), Some(7));
}

#[test]
fn what_a_program_left_running_ends_with_it() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let text = "bash -c 'while :; do read -t 60 <>/dev/ptmx; done' & echo ready; read";
    let mut running = self::running(&world, &[], text);
    running.wait_for_line("ready");
    drop(running.child.stdin.take());
    assert!(!running.end().success());
    running.assert_all_gone();
    assert_nothing_left(&world);
}

/// Root in the container, and another user: a change of ids undoes what binds a process to its
/// parent.
#[test]
fn a_killed_run_leaves_nothing_running() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let mut users = vec!["root"];
    match has_ids() {
        true => users.push("joe"),
        false => skip(
            &format!("{test} (as another user)"),
            "this user has no subordinate ids",
        ),
    }
    for user in users {
        let text = "bash -c 'while :; do read -t 60 <>/dev/ptmx; done' & echo ready; read";
        let mut running = self::running(&world, &["--user", user], text);
        running.wait_for_line("ready");
        assert!(running.processes().len() >= 3, "{:?}", running.processes());
        // It waits for input that does not come, so that it does not end by itself.
        let input = running.child.stdin.take();
        running.child.kill().unwrap();
        running.child.wait().unwrap();
        running.assert_all_gone();
        drop(input);
        // The next one cleans up. A process that is ending has no arguments any more, but may still
        // hold its locks.
        let start = Instant::now();
        while !world.names("staging").is_empty() && start.elapsed() < LONG {
            said_nothing(&world, &[], "true");
        }
        assert_nothing_left(&world);
    }
}

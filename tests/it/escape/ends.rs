//! A container ends with its caller, and holds up neither that nor what enters it.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::cell::*;
use super::terminal::Terminal;
use crate::support::*;

/// Waits for a child that must end by itself.
#[track_caller]
fn ended(child: &mut Child) -> Option<i32> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if start.elapsed() > LONG {
            child.kill().unwrap();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The program undoes what has the kernel kill it with its parent (prctl(2), `PR_SET_PDEATHSIG`).
#[test]
fn a_program_that_outlives_its_parent_ends_with_the_caller() {
    each_plain(this_test!(), |cell| {
        for options in [&[][..], &["--init"]] {
            let mut running = cell.start(options, &["probe", "linger"]);
            running.wait_for("clear ok");
            running.signal(Signal::KILL);
            running.end();
            cell.assert_nothing_happened();
        }
        let running = cell.idle(&[]);
        let mut exec = cell.world.plyfs(["exec", "c", "probe", "linger"]);
        let mut entered = Running::start(&mut exec);
        entered.wait_for("clear ok");
        let before = processes_in(cell, "linger");
        entered.signal(Signal::KILL);
        entered.end();
        let start = Instant::now();
        while processes_in(cell, "linger") >= before {
            assert!(start.elapsed() < LONG, "it lives on");
            std::thread::sleep(Duration::from_millis(5));
        }
        running.stop();
    });
}

/// How many processes of the container `c` have a word among their arguments.
fn processes_in(cell: &Cell, word: &str) -> usize {
    let script = "for file in /proc/[0-9]*/cmdline; do IFS= read -r -d '' line <$file; \
                  while IFS= read -r -d '' line; do echo \"$line\"; done <$file; done 2>/dev/null";
    let said = cell.exec(&[], &["bash", "-c", script]);
    said.out.lines().filter(|line| *line == word).count()
}

/// The first process stops each process that enters before that becomes its program.
#[test]
fn exec_can_be_interrupted_while_the_container_stops_it() {
    each_plain(this_test!(), |cell| {
        let running = cell.idle(&[]);
        let stopper = Running::start(&mut cell.world.plyfs(["exec", "c", "probe", "stop-others"]));
        let start = Instant::now();
        let mut held_up = 0;
        while held_up < 3 {
            assert!(start.elapsed() < LONG, "no process is stopped");
            let mut exec = cell.world.plyfs(["exec", "c", "probe", "readlink", "/"]);
            let mut exec = exec.stdin(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(200));
            if exec.try_wait().unwrap().is_some() {
                // It was fast enough.
                continue;
            }
            held_up += 1;
            kill_process(Pid::from_child(&exec), Signal::INT).unwrap();
            assert_eq!(ended(&mut exec), Some(130));
        }
        stopper.end();
        running.stop();
    });
}

/// A process of `exec` is waited for outside, also while the command that started it is stopped: the kernel ends
/// a pid namespace only when all its processes are.
#[test]
fn a_stopped_exec_does_not_hold_up_the_end_of_the_container() {
    each_plain(this_test!(), |cell| {
        let running = cell.idle(&[]);
        let mut exec = cell.world.plyfs(["exec", "c", "probe", "pause"]);
        let mut entered = Running::start(&mut exec);
        entered.wait_for("ready");
        entered.signal(Signal::STOP);
        let start = Instant::now();
        succeed(&mut cell.world.plyfs(["stop", "c"]));
        assert!(start.elapsed() < Duration::from_secs(5), "it was held up");
        assert_eq!(running.end(), Some(143));
        entered.signal(Signal::CONT);
        assert_eq!(entered.end(), Some(137));
    });
}

/// What a process leaves behind, and others that open its terminal, do not hold up the end of `exec`.
#[test]
fn exec_ends_though_its_terminal_is_held_open() {
    each_plain(this_test!(), |cell| {
        let mut running = cell.start(&[], &["probe", "hold-terminals"]);
        running.wait_for("ready");
        let start = Instant::now();
        let words = ["bash", "-c", "echo printed"];
        let mut said = cell.exec(&["-t"], &words);
        // It is known to `exec` a little later.
        while said.err.contains("only about to start") {
            assert!(start.elapsed() < LONG, "exec does not find the container");
            said = cell.exec(&["-t"], &words);
        }
        assert_eq!(said.ok().trim_end(), "printed");
        let words = ["bash", "-c", "probe pause & echo printed"];
        assert!(cell.exec(&["-t"], &words).ok().contains("printed"));
        running.stop();
    });
}

/// A process that is traced is waited for by what traces it, which may never do so (ptrace(2)).
#[test]
fn exec_ends_though_the_container_traces_its_process() {
    each_plain(this_test!(), |cell| {
        let running = cell.idle(&[]);
        let mut tracer =
            Running::start(&mut cell.world.plyfs(["exec", "c", "probe", "trace-others"]));
        tracer.wait_for("ready");
        for _ in 0..3 {
            // It lives long enough to be seen. What it printed ends, too.
            let said = cell.exec(&[], &["bash", "-c", "echo printed; read -t 1 <>/dev/ptmx"]);
            assert_eq!(said.out, "printed\n");
        }
        tracer.stop();
        running.stop();
    });
}

/// A process that made namespaces for itself may do in them what the container may not.
#[test]
fn exec_does_not_follow_the_first_process_into_its_own_namespaces() {
    each_plain(this_test!(), |cell| {
        let options = ["--security-opt", "seccomp=unconfined"];
        let mut running = cell.start(&options, &["probe", "leave"]);
        running.wait_for("ready");
        let start = Instant::now();
        let mut said = cell.exec(&[], &["bash", "-c", "echo in"]);
        while said.err.contains("only about to start") {
            assert!(start.elapsed() < LONG, "exec does not find the container");
            said = cell.exec(&[], &["bash", "-c", "echo in"]);
        }
        let line = said.refused();
        assert!(line.contains("left the namespaces"), "{line}");
        running.stop();
    });
}

/// The caller's terminal cannot be set from an orphaned process group in the background (termios(3), EIO).
#[test]
fn a_failure_after_the_start_leaves_nothing_running() {
    each_plain(this_test!(), |cell| {
        let mut terminal = Terminal::open();
        let run = cell.command("box", &["-t"], &["probe", "pause"]);
        let mut shell = std::process::Command::new("bash");
        let script = "( \"$@\" <&3 3<&- 2>&1 & ) 3<&0; read -r line; exit 0";
        shell.args(["-mc", script, "bash"]);
        shell.arg(run.get_program()).args(run.get_args());
        let mut child = terminal.command(cell, &shell).spawn().unwrap();
        terminal.printed_until("cannot set the terminal");
        let start = Instant::now();
        while listed(cell) > 0 {
            assert!(start.elapsed() < LONG, "the container lives on");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::io::Write::write_all(&mut terminal.master, b"\n").unwrap();
        ended(&mut child);
    });
}

/// How many containers run.
fn listed(cell: &Cell) -> usize {
    let listed = succeed(&mut cell.world.plyfs(["ps", "--json"]));
    let listed: Vec<serde_json::Value> = serde_json::from_str(&listed).unwrap();
    listed.len()
}

//! Signals, sessions and terminals.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use super::cell::*;
use super::terminal::Terminal;
use crate::support::*;

#[test]
fn a_signal_to_all_does_not_reach_the_caller() {
    each_plain(this_test!(), |cell| {
        let running = cell.idle(&[]);
        for target in ["0", "-1"] {
            // In a group of its own, since it would reach this program.
            let script =
                "sleep 60 & job=$!; \"$@\"; echo \"ended\"; kill -0 $job && echo alive; kill $job";
            let kill = format!("kill -KILL -- {target}; kill -TERM -- {target}; exit 5");
            let run = cell.command("box", &[], &["bash", "-c", &kill]);
            let init = cell.command("box", &["--init"], &["bash", "-c", &kill]);
            let mut exec = cell.world.plyfs(["exec", "c", "bash", "-c"]);
            exec.arg(&kill);
            for command in [run, init, exec] {
                let mut caller = Command::new("bash");
                std::os::unix::process::CommandExt::process_group(&mut caller, 0);
                caller.args(["-c", script, "bash"]).stdin(Stdio::null());
                let said = finish(caller.arg(command.get_program()).args(command.get_args()));
                assert_eq!(said.out, "ended\nalive\n", "{target}: {said:?}");
            }
        }
        running.stop();
    });
}

/// CVE-2017-5226 and CVE-2023-28100 of other programs: TIOCSTI and TIOCLINUX type into
/// the shell that called plyfs.
#[test]
fn nothing_is_typed_into_the_caller_s_terminal() {
    each_plain(this_test!(), |cell| {
        let running = cell.idle(&[]);
        let unfiltered = ["--tty=false", "--security-opt", "seccomp=unconfined"];
        let words = ["bash", "-c", "probe type; echo \"\"done"];
        let mut exec = cell.world.plyfs(["exec", "--tty=false", "c"]);
        exec.args(words);
        for command in [
            cell.command("box", &["--tty=false"], &words),
            cell.command("box", &["--tty=false", "--init"], &words),
            cell.command("box", &unfiltered, &words),
            exec,
        ] {
            let mut terminal = Terminal::open();
            let mut child = terminal.command(cell, &command).spawn().unwrap();
            let printed = terminal.printed_until("done");
            for line in printed
                .lines()
                .filter(|line| !line.is_empty() && *line != "done")
            {
                assert!(!line.trim_end().ends_with(" ok"), "{command:?}: {printed}");
            }
            assert!(child.wait().unwrap().success());
            // A shell would read what was typed.
            assert_eq!(rustix::io::ioctl_fionread(&terminal.slave).unwrap(), 0);
        }
        running.stop();
    });
}

/// A terminal of its own.
#[test]
fn a_container_has_a_terminal_of_its_own() {
    each_plain(this_test!(), |cell| {
        let running = cell.idle(&[]);
        let words = ["probe", "tty"];
        assert_eq!(cell.run(&["-t"], &words).ok().trim_end(), "/dev/pts/0");
        assert_eq!(
            cell.run(&["--init", "-it"], &words).ok().trim_end(),
            "/dev/pts/0"
        );
        assert_eq!(cell.exec(&["-t"], &words).ok().trim_end(), "/dev/pts/0");
        assert_eq!(cell.run(&[], &words).ok(), "not a tty\n");
        running.stop();
        // What the caller's terminal is called means nothing inside.
        let mut terminal = Terminal::open();
        let command = cell.command("box", &["-i"], &words);
        let mut child = terminal.command(cell, &command).spawn().unwrap();
        assert!(terminal.printed_until("\n").starts_with("/dev/pts/0"));
        assert!(child.wait().unwrap().success());
    });
}

/// A program that is process 1, and has no handler.
#[test]
fn a_program_without_handlers_is_ended_by_signals() {
    each_plain(this_test!(), |cell| {
        for (signal, number) in [
            (Signal::HUP, 1),
            (Signal::INT, 2),
            (Signal::QUIT, 3),
            (Signal::TERM, 15),
        ] {
            for options in [&[][..], &["--init"]] {
                let running = cell.idle(options);
                running.signal(signal);
                assert_eq!(running.end(), Some(128 + number), "{options:?}");
            }
        }
    });
}

/// The same by a key at the terminal.
#[test]
fn a_program_without_handlers_is_ended_by_ctrl_c() {
    each_plain(this_test!(), |cell| {
        for options in [&["--tty=false"][..], &["--init", "-t"]] {
            let mut terminal = Terminal::open();
            let command = cell.command("box", options, &["probe", "pause"]);
            let mut child = terminal.command(cell, &command).spawn().unwrap();
            terminal.printed_until("ready");
            terminal.master.write_all(b"\x03").unwrap();
            let start = Instant::now();
            while child.try_wait().unwrap().is_none() {
                if start.elapsed() >= LONG {
                    child.kill().unwrap();
                    panic!("{options:?}: it does not end");
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            assert_eq!(child.wait().unwrap().code(), Some(130), "{options:?}");
        }
    });
}

#[test]
fn ps_shows_a_running_container_without_a_name() {
    each_plain(this_test!(), |cell| {
        let mut running = Running::start(&mut cell.command("box", &[], &["probe", "pause"]));
        running.wait_for("ready");
        let listed = succeed(&mut cell.world.plyfs(["ps", "--json"]));
        let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!(listed[0]["in_use"], true);
        assert_eq!(listed[0]["image"], "box:test");
        running.stop();
    });
}

/// A container whose first process has moved to namespaces of its own, where it can mount what it likes, does
/// not hold up `exec`, nor lead it outside.
#[test]
fn exec_enters_no_trap_of_the_first_process() {
    each_plain(this_test!(), |cell| {
        let mut running = cell.start(&[], &["probe", "leave"]);
        let mut line = String::new();
        std::io::BufRead::read_line(&mut running.output, &mut line).unwrap();
        assert_eq!(line, "ready\n");
        for options in [
            &[][..],
            &["-u", "0"],
            &["-u", "joe"],
            &["-t", "-u", "root"],
            &["-w", "/proc/self/fd"],
        ] {
            let outside = cell.outside().display().to_string();
            let said = cell.exec(
                options,
                &["bash", "-c", "[[ -e $0/canary ]] && echo out", &outside],
            );
            assert!(!said.out.contains("out"), "{options:?}: {said:?}");
        }
        running.stop();
    });
}

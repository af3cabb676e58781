//! Exit statuses.

use super::*;

#[test]
fn the_exit_status_is_passed_on() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let before = world.snapshot();
    for (text, status) in [
        ("exit 0", 0),
        ("exit 3", 3),
        ("exit 255", 255),
        ("bash -c 'kill -TERM $$'; exit $?", 143),
        ("bash -c 'kill -KILL $$'; exit $?", 137),
    ] {
        let output = script(&world, &[], text).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{text}");
        if status < 128 {
            // A command has its own say.
            assert_eq!(crate::support::text(&output.stderr), "");
        }
    }
    assert_nothing_left(&world);
    tree::assert_same(&before, &world.snapshot());
}

#[test]
fn a_program_ended_by_a_signal_gives_128_and_its_number() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let mut running = self::running(&world, &[], "echo ready; read");
    running.wait_for_line("ready");
    kill_process(first_process(&running), Signal::KILL).unwrap();
    assert_eq!(running.end().code(), Some(137));
    assert_nothing_left(&world);
}

/// 125, 126 and 127 are as Podman has them.
#[test]
fn what_cannot_be_run_has_a_status_of_its_own() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let before = world.snapshot();
    for (arguments, status, words) in [
        (vec!["box:test", "nothing"], 127, ["no program", "nothing"]),
        (
            vec!["box:test", "/bin/nothing"],
            127,
            ["no program", "/bin/nothing"],
        ),
        (vec!["box:test", ""], 127, ["no program", ""]),
        (vec!["box:test", "orphan"], 127, ["orphan", "interpreter"]),
        (
            vec!["box:test", "shapeless"],
            126,
            ["shapeless", "begins with #!"],
        ),
        (
            vec!["box:test", "/etc/text"],
            126,
            ["/etc/text", "can be run"],
        ),
        (vec!["box:test", "/etc"], 126, ["/etc", "can be run"]),
        (
            vec!["--user", "ann", "box:test", "bash"],
            125,
            ["\"ann\"", "/etc/passwd"],
        ),
        (
            vec!["--user", "joe:x", "box:test", "bash"],
            125,
            ["\"x\"", "/etc/group"],
        ),
        (
            vec!["--workdir", "/etc/text", "box:test", "bash"],
            125,
            ["/etc/text", "Not a directory"],
        ),
        (vec!["box:test"], 125, ["box:test", "names no command"]),
        (
            vec!["--keep", "box:test"],
            125,
            ["box:test", "names no command"],
        ),
        (
            vec!["--container", "new", "box:test"],
            125,
            ["box:test", "names no command"],
        ),
        (
            vec!["--container", "a b", "box:test", "bash"],
            125,
            ["\"a b\"", "letters"],
        ),
    ] {
        let mut command = world.plyfs(["run"]);
        command.args(&arguments);
        let (actual, line) = fail(&mut command);
        assert_eq!(actual, status, "{arguments:?}: {line}");
        for word in words {
            assert!(line.contains(word), "{arguments:?}: {line}");
        }
    }
    // Also no container that no command would show.
    assert_nothing_left(&world);
    tree::assert_same(&before, &world.snapshot());
}

//! The process that is run: environment, directory, user.

use super::*;

#[test]
fn the_environment_is_the_image_s() {
    let config = Config {
        env: vec![
            "PATH=/bin:/opt/bin".into(),
            "FROM=image".into(),
            "A=b=c".into(),
        ],
        ..Config::default()
    };
    let Some(world) = world_with(this_test!(), config) else {
        return;
    };
    let environment = |options: &[&str]| {
        let text = "while IFS= read -r -d '' pair; do echo \"$pair\"; done </proc/self/environ";
        let mut command = script(&world, options, text);
        let command = command.env("OUTSIDE", "secret").env("TERM", "dumb");
        let mut lines: Vec<String> = succeed(command).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let with = |options: &[&str], more: &[&str]| {
        let mut expected = vec!["A=b=c", "HOME=/root", "HOSTNAME=box", "PATH=/bin:/opt/bin"];
        expected.extend(["FROM=image", "container=plyfs"]);
        for pair in more {
            let name = &pair[..=pair.find('=').unwrap()];
            expected.retain(|other| !other.starts_with(name));
            expected.push(pair);
        }
        expected.sort();
        let mut all = vec!["--container", "box"];
        all.extend(options);
        assert_eq!(environment(&all), expected, "{options:?}");
    };
    with(&[], &[]);
    with(
        &["-e", "FROM=option", "-e", "NEW=1", "-e", "NEW=2"],
        &["FROM=option", "NEW=2"],
    );
    with(&["-e", "OUTSIDE", "-e", "UNSET"], &["OUTSIDE=secret"]);
    with(&["-e", "HOME=/tmp"], &["HOME=/tmp"]);
}

#[test]
fn programs_start_with_signals_as_they_are_by_default() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    // As a program is that nohup(1) started, or a shell in the background.
    let command = script(&world, &[], "echo \"$(</proc/self/status)\"");
    let mut ignoring = Command::new("sh");
    ignoring.args(["-c", "trap '' HUP INT; exec \"$@\"", "sh"]);
    ignoring.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        ignoring.env(name, value.unwrap_or_default());
    }
    let status = succeed(&mut ignoring);
    let set = |field: &str| {
        let line = status.lines().find(|line| line.starts_with(field));
        let value = line.unwrap().split_whitespace().last().unwrap();
        u64::from_str_radix(value, 16).unwrap()
    };
    // Which the runtime of Rust ignores, which are waited for, and which were ignored before.
    for signal in [
        Signal::PIPE,
        Signal::TERM,
        Signal::CHILD,
        Signal::WINCH,
        Signal::HUP,
        Signal::INT,
    ] {
        let bit = 1 << (signal.as_raw() - 1);
        assert_eq!(set("SigIgn") & bit, 0, "{signal:?} is ignored");
        assert_eq!(set("SigBlk") & bit, 0, "{signal:?} is blocked");
    }
}

#[test]
fn the_working_directory_is_made_if_need_be() {
    let config = Config {
        working_dir: "/srv/app".into(),
        ..Config::default()
    };
    let Some(world) = world_with(this_test!(), config) else {
        return;
    };
    for (options, directory) in [
        (vec![], "/srv/app"),
        (vec!["--workdir", "/etc"], "/etc"),
        (vec!["-w", "made/here"], "/made/here"),
    ] {
        let said = said(&world, &options, "echo \"$PWD\"; [[ -d . ]]");
        assert_eq!(said.trim_end(), directory, "{options:?}");
    }
    let (status, line) = fail(&mut script(&world, &["--ro"], "true"));
    assert_eq!(status, 125);
    assert!(
        line.contains("/srv/app") && line.contains("Read-only"),
        "{line}"
    );
}

#[test]
fn entrypoint_and_command_are_put_together() {
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|&word| word.to_owned())
            .collect::<Vec<_>>()
    };
    let config = Config {
        entrypoint: words(&["bash", "-c", "printf '<%s>' \"$0\" \"$@\""]),
        cmd: words(&["a b", "c"]),
        ..Config::default()
    };
    let Some(world) = world_with(this_test!(), config) else {
        return;
    };
    for (arguments, said) in [
        (vec!["box:test"], "<a b><c>"),
        (vec!["box:test", "x", "-y", "--ro"], "<x><-y><--ro>"),
        (
            vec!["--entrypoint", "", "box:test", "bash", "-c", "echo -n x"],
            "x",
        ),
        (
            vec!["--entrypoint", "bash", "box:test", "-c", "echo -n y"],
            "y",
        ),
    ] {
        let mut command = world.plyfs(["run"]);
        assert_eq!(succeed(command.args(&arguments)), said, "{arguments:?}");
    }
    // An entrypoint of one's own makes nothing of the image's command, nor does an empty one.
    let mut command = world.plyfs(["run", "--entrypoint", "", "box:test"]);
    assert!(fail(&mut command).1.contains("names no command"));
}

#[test]
fn the_user_is_looked_up_in_the_image() {
    let test = this_test!();
    let config = Config {
        user: "joe".into(),
        ..Config::default()
    };
    let Some(world) = world_with(test, config) else {
        return;
    };
    let ids = |options: &[&str]| {
        let status = "mapfile -t lines </proc/self/status; printf '%s\\n' \"${lines[@]}\"";
        let text = format!("echo \"HOME: $HOME\"; {status}");
        let said = said(&world, options, &text);
        let field = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(name));
            let values: Vec<&str> = line.unwrap().split_whitespace().collect();
            values.join(" ")
        };
        let identity = [
            field("Uid:"),
            field("Gid:"),
            field("Groups:"),
            field("HOME:"),
        ];
        (identity.join(", "), field("CapEff:"))
    };
    let none = "0000000000000000";
    if !has_ids() {
        let (status, line) = fail(&mut script(&world, &[], "true"));
        assert_eq!(status, 125);
        assert!(line.contains("1001") && line.contains("subuid"), "{line}");
        return skip(test, "this user has no subordinate ids for another user");
    }
    for (options, identity) in [
        (
            vec![],
            "1000 1000 1000 1000, 1001 1001 1001 1001, 29 50 1001, /home/joe",
        ),
        (
            vec!["-u", "1000"],
            "1000 1000 1000 1000, 1001 1001 1001 1001, 29 50 1001, /home/joe",
        ),
        (
            vec!["-u", "joe:staff"],
            "1000 1000 1000 1000, 50 50 50 50, 50, /home/joe",
        ),
        (vec!["-u", "7:8"], "7 7 7 7, 8 8 8 8, 8, /"),
        (vec!["-u", "7"], "7 7 7 7, 0 0 0 0, 0, /"),
    ] {
        let (found, capabilities) = ids(&options);
        assert_eq!(found, identity, "{options:?}");
        assert_eq!(capabilities, none, "{options:?}");
    }
    let (found, capabilities) = ids(&["--user", "root"]);
    assert_eq!(found, "0 0 0 0, 0 0 0 0, 0, /root");
    assert_ne!(capabilities, none);
    // Permissions hold for others than root, and what is made belongs to its maker.
    let text = "[[ ! -r /root/. && ! -w /etc ]] && echo mine >/tmp/f && [[ -O /tmp/f ]]";
    said_nothing(&world, &[], text);
    assert_nothing_left(&world);
}

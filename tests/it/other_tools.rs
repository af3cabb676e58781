//! Habits of people who know Podman and Docker: what does the same here, and what is said where nothing does.

use std::fs;
use std::process::{Command, Stdio};

use crate::support::running::Background;
use crate::support::shell::script;
use crate::support::world::World;
use crate::support::*;
use plyfs_store::Compression;
use plyfs_store::fixture::{Entry, ImageBuilder, Layer};

/// A store with the images `box:test` and `bottle:test`, which are one.
fn world() -> World {
    let world = World::new();
    let layer = Layer::new([Entry::dir("."), Entry::file("f", "x")]);
    let image = ImageBuilder::new().layer(layer, Compression::None);
    world.with_image("box", &image);
    world.with_image("bottle", &image);
    world
}

/// What a command says that must fail with this status.
#[track_caller]
fn said(world: &World, arguments: &[&str], status: i32) -> String {
    let (found, line) = fail(&mut world.plyfs(arguments));
    assert_eq!(found, status, "{arguments:?}: {line}");
    line
}

/// The names of the images.
fn names(world: &World) -> Vec<String> {
    let table = succeed(&mut world.plyfs(["images"]));
    let first = |line: &str| line.split(' ').next().unwrap().to_owned();
    table.lines().skip(1).map(first).collect()
}

#[test]
fn commands_of_podman_are_answered_with_what_does_the_same() {
    let world = World::new();
    for (words, instead) in [
        (&["logs", "web"][..], "\"plyfs run\""),
        (
            &["cp", "web:/f", "."],
            "\"plyfs mount --container NAME DIR\"",
        ),
        (&["sign", "debian"], "\"skopeo copy\""),
        (&["build", "."], "Buildah"),
        (&["top", "web"], "\"plyfs exec NAME ps\""),
        (&["search", "debian"], "\"plyfs pull\""),
        (&["image", "ls"], "\"plyfs images\""),
        (&["image"], "command 'image': "),
        (&["container", "--help"], "command 'container': "),
        (&["builder", "prune"], "Buildah"),
        (&["image", "rm", "x"], "\"plyfs rmi\""),
        (&["container", "ls", "-a"], "\"plyfs ps\""),
        (&["container", "rm", "x"], "\"plyfs rm\""),
        (&["system", "df"], "\"plyfs df -v\""),
        (&["image", "tag", "x", "y"], "\"plyfs tag\""),
        (&["delete", "x"], "\"plyfs rm\""),
        (&["list"], "\"plyfs images\""),
        (&["load"], "\"plyfs import docker-archive:FILE\""),
    ] {
        let line = said(&world, words, 2);
        assert!(line.contains(instead), "{words:?}: {line}");
        assert!(!line.contains("similar"), "{words:?}: {line}");
    }
    let line = said(&world, &["image", "ls"], 2);
    assert!(line.contains("there is no command 'image ls'"), "{line}");
}

#[test]
fn options_of_podman_that_are_missing_are_explained() {
    let world = World::new();
    for (words, status, why) in [
        (&["run", "-d", "x"][..], 125, "in the foreground"),
        (&["run", "-itd", "x"], 125, "in the foreground"),
        (&["run", "-p", "80:80", "x"], 125, "--network none"),
        (&["run", "--privileged", "x"], 125, "the boundary"),
        (&["run", "-m", "1g", "x"], 125, "--ulimit"),
        (&["run", "--memory=1g", "x"], 125, "--ulimit"),
        (
            &["bundle", "--device", "/dev/fuse", "x", "y"],
            2,
            "the boundary",
        ),
        (&["save", "-o", "x.tar", "x"], 2, "docker-archive:FILE"),
        (&["prune", "-f"], 2, "nothing is asked"),
        (&["stop", "-a"], 2, "\"plyfs ps -q\""),
        (&["inspect", "-f", "x", "y"], 2, "JSON"),
        (&["exec", "-d", "x", "y"], 125, "foreground"),
    ] {
        let line = said(&world, words, status);
        assert!(line.contains(why), "{words:?}: {line}");
        assert!(!line.contains("as a value"), "{words:?}: {line}");
        assert!(
            words[0] != "run" || line.contains("docs/containers.md"),
            "{line}"
        );
    }
    // What other tools do not have either is not explained.
    let line = said(&world, &["run", "--no-such", "x"], 125);
    assert!(line.contains("unexpected argument '--no-such'"), "{line}");
    assert!(!line.contains("as a value"), "{line}");
}

#[test]
fn every_option_of_podman_run_is_taken_or_explained() {
    let name = this_test!();
    let help = Command::new("podman").args(["run", "--help"]).output();
    let help = match help {
        Ok(help) => text(&help.stdout),
        Err(error) => return skip(name, &format!("podman: {error}")),
    };
    let world = World::new();
    let mut count = 0;
    for line in help.lines().map(str::trim_start) {
        let words = line.split([' ', ',']).take_while(|word| !word.is_empty());
        let short = words.clone().next().filter(|word| word.starts_with('-'));
        let long = line.split(' ').find(|word| word.starts_with("--"));
        for option in short
            .into_iter()
            .chain(long)
            .filter(|_| line.starts_with('-'))
        {
            let output = world.plyfs(["run", option, "x"]).output().unwrap();
            let said = text(&output.stderr);
            assert!(!said.contains("unexpected argument"), "{option}: {said}");
            count += 1;
        }
    }
    assert!(count > 100, "{count}: {help}");
}

#[test]
fn lists_of_names_are_for_scripts() {
    let world = world();
    let digest = succeed(&mut world.plyfs(["images", "-q"]));
    assert_eq!(digest.trim_end().len(), 12, "{digest}");
    succeed(world.plyfs(["inspect"]).arg(digest.trim_end()));
    assert_eq!(succeed(&mut world.plyfs(["ps", "-aq"])), "");
    let store = plyfs_store::Store::open(world.store("")).unwrap();
    let image = store.image("box:test").unwrap();
    for name in ["one", "two"] {
        let name = name.parse().unwrap();
        let ownership = plyfs_store::Ownership::Override;
        store
            .create_container(Some(&name), &image, ownership)
            .unwrap();
    }
    assert_eq!(succeed(&mut world.plyfs(["ps", "-a", "-q"])), "one\ntwo\n");
    // plyfs rm takes no mount of an image.
    if cannot_mount().is_none() {
        let at = world.path("mnt");
        fs::create_dir(&at).unwrap();
        succeed(world.plyfs(["mount", "--ro", "box:test"]).arg(&at));
        let names = succeed(&mut world.plyfs(["ps", "-q"]));
        succeed(world.plyfs(["umount"]).arg(&at));
        assert_eq!(names, "");
    }
    // As in Podman, those that are in use alone.
    let lock = store.container(&"one".parse().unwrap()).unwrap();
    let lock = lock.lock().unwrap();
    assert_eq!(succeed(&mut world.plyfs(["ps", "-q"])), "one\n");
    drop(lock);
    assert_eq!(succeed(&mut world.plyfs(["ps", "-q"])), "");
    let help = succeed(&mut plyfs(["--help"]));
    assert!(help.contains("\n  version "), "{help}");
    let all = succeed(&mut world.plyfs(["ps", "-a"]));
    assert_eq!(all, succeed(&mut world.plyfs(["ps"])));
    assert_eq!(
        succeed(&mut plyfs(["version"])),
        succeed(&mut plyfs(["--version"]))
    );
}

#[test]
fn an_image_gets_more_names() {
    let world = world();
    succeed(&mut world.plyfs(["tag", "box:test", "app", "docker.io/library/app:1"]));
    let expected = [
        "app:latest",
        "bottle:test",
        "box:test",
        "docker.io/library/app:1",
    ];
    assert_eq!(names(&world), expected);
    // A short name is looked up in its long form.
    succeed(&mut world.plyfs(["history", "app:1"]));
    // A name moves, by the grammar of references, and what has it loses it.
    let layer = Layer::new([Entry::dir("."), Entry::file("g", "y")]);
    let other = ImageBuilder::new().layer(layer, Compression::None);
    world.with_image("other", &other);
    let digest = |name: &str| {
        let json = succeed(&mut world.plyfs(["inspect", name]));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        json["digest"].clone()
    };
    succeed(&mut world.plyfs(["tag", "other:test", "app:latest"]));
    assert_eq!(digest("app"), digest("other:test"));
    assert_eq!(names(&world).len(), 5);
    for (words, why) in [
        (["tag", "box:test", "My App"], "cannot be the name"),
        (["tag", "nosuch", "app"], "there is no image \"nosuch\""),
    ] {
        let line = said(&world, &words, 1);
        assert!(line.contains(why), "{line}");
    }
    assert_eq!(digest("app"), digest("other:test"));
    // One name goes, and the image stays.
    succeed(&mut world.plyfs(["rmi", "app"]));
    succeed(&mut world.plyfs(["inspect", "other:test"]));
    assert_eq!(succeed(&mut world.plyfs(["fsck"])).lines().count(), 1);
}

#[test]
fn removing_by_force_what_is_not_there_is_no_failure() {
    let world = world();
    for command in ["rm", "rmi"] {
        assert_eq!(
            succeed(&mut world.plyfs([command, "--force", "nosuch"])),
            ""
        );
        let line = said(&world, &[command, "nosuch"], 1);
        assert!(line.contains("\"nosuch\""), "{line}");
    }
    // The others are still removed.
    let removed = succeed(&mut world.plyfs(["rmi", "-f", "nosuch", "box:test"]));
    assert_eq!(removed, "box:test\n");
}

#[test]
fn two_mounts_at_one_place_are_refused() {
    let world = world();
    for mounts in [
        ["-v", "/tmp:/x", "-v", "/var:/x/"],
        ["-v", "/tmp:/x", "--tmpfs", "/x"],
        ["--mount", "type=tmpfs,dst=/x", "-v", "/tmp:/x"],
    ] {
        for (command, more, status) in [("run", &["true"][..], 125), ("bundle", &["b"], 2)] {
            let mut words = vec![command];
            words.extend(mounts);
            words.push("box:test");
            words.extend(more);
            let line = said(&world, &words, status);
            assert!(line.contains("the place /x "), "{line}");
        }
    }
    // As in Podman, one mount that is given twice is one; here the program is missing.
    let twice = ["run", "-v", "/tmp:/x", "-v", "/tmp:/x", "box:test", "true"];
    if cannot_mount().is_none() {
        said(&world, &twice, 127);
    }
}

#[test]
fn h_of_run_is_the_host_name() {
    let help = succeed(&mut plyfs(["run", "--help"]));
    assert!(help.contains("-h, --hostname <NAME>"), "{help}");
    let Some(world) = crate::support::shell::world(this_test!()) else {
        return;
    };
    let named = succeed(&mut script(&world, &["-h", "harbour"], "hostname"));
    assert_eq!(named, "harbour\n");
}

#[test]
fn a_container_goes_on_though_its_image_has_lost_its_name() {
    let name = this_test!();
    let Some(world) = crate::support::shell::world(name) else {
        return;
    };
    let mut run = world.plyfs(["run", "--container", "work", "box:test", "echo", "on"]);
    assert_eq!(succeed(&mut run), "on\n");
    succeed(&mut world.plyfs(["rmi", "--force", "box:test"]));
    assert_eq!(succeed(&mut run), "on\n");
    // A word that was never its image begins the command.
    let mut run = world.plyfs(["run", "--container", "work", "echo", "word"]);
    assert_eq!(succeed(&mut run), "word\n");
    // One that looks like an image is said to be none; a program that is not there is nothing but that.
    for word in ["box:2", "box"] {
        let line = said(&world, &["run", "--container", "work", word], 127);
        assert!(
            line.contains("no image")
                && line.ends_with("the container work needs none: leave it away"),
            "{line}"
        );
    }
    let line = said(&world, &["run", "--container", "work", "nosuch"], 127);
    assert!(line.ends_with("no program nosuch"), "{line}");
}

#[test]
fn a_temporary_container_is_named_and_not_taken_for_a_kept_one() {
    let name = this_test!();
    let Some(world) = crate::support::shell::world(name) else {
        return;
    };
    let line = said(&world, &["exec", "wbe", "true"], 125);
    assert!(line.contains("none runs"), "{line}");
    let mut run = script(&world, &["--name", "web"], "echo ready; read line");
    let mut running = Background::start(run.stderr(Stdio::null()), "read line");
    running.wait_for_line("ready");
    let line = said(&world, &["exec", "wbe", "true"], 125);
    assert!(line.contains("those that run are web"), "{line}");
    let place = world.path("place");
    fs::create_dir(&place).unwrap();
    for words in [
        &["commit", "web", "new:1"][..],
        &["diff", "web"],
        &["inspect", "web"],
        &["mount", "--container", "web", place.to_str().unwrap()],
        &[
            "mount",
            "--container",
            "web",
            "box:test",
            place.to_str().unwrap(),
        ],
        &["run", "--container", "web", "box:test", "true"],
        &["run", "--container", "web", "true"],
    ] {
        let status = if words[0] == "run" { 125 } else { 1 };
        let line = said(&world, words, status);
        assert!(
            line.contains("\"web\" is temporary") && line.contains("--keep"),
            "{line}"
        );
    }
    succeed(&mut world.plyfs(["stop", "web"]));
    running.end();
}

/// As with `podman run --user 7 -w /tmp`; with `--userns=keep-id` the user has no account in most images.
#[test]
fn a_user_without_an_account_is_at_home_where_the_command_starts() {
    let name = this_test!();
    let Some(world) = crate::support::shell::world(name) else {
        return;
    };
    let home = |options: &[&str]| succeed(&mut script(&world, options, "echo $HOME"));
    assert_eq!(home(&["-w", "/tmp"]), "/root\n");
    let user = world
        .plyfs(["run", "-u", "7", "box:test", "true"])
        .output()
        .unwrap();
    if !user.status.success() {
        return skip(name, "this user has no subordinate ids for another user");
    }
    assert_eq!(home(&["-u", "7"]), "/\n");
    assert_eq!(home(&["-u", "7", "-w", "/tmp"]), "/tmp\n");
    assert_eq!(
        home(&["-u", "7", "-w", "/tmp", "-e", "HOME=/etc"]),
        "/etc\n"
    );
    if !rustix::process::geteuid().is_root() {
        assert_eq!(home(&["--userns=keep-id", "-w", "/tmp"]), "/tmp\n");
    }
}

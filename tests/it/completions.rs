//! Completions of names, by the shells themselves.

use std::path::PathBuf;
use std::process::Command;

use crate::support::world::World;
use crate::support::*;
use plyfs_store::Compression;
use plyfs_store::fixture::{Entry, ImageBuilder, Layer};

/// A store with `box:test` and `bottle:test`, and a container of the first; and scripts for completion.
fn world() -> (World, PathBuf) {
    let world = World::new();
    let layer = Layer::new([Entry::dir("."), Entry::file("f", "x")]);
    let image = ImageBuilder::new().layer(layer, Compression::None);
    world.with_image("box", &image);
    world.with_image("bottle", &image);
    let scripts = world.path("scripts");
    succeed(plyfs(["generate", "completions"]).arg(&scripts));
    (world, scripts)
}

/// A shell whose `plyfs` is the one that is tested, in this store.
fn shell(world: &World, program: &str) -> Command {
    let bin = world.path("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let link = bin.join("plyfs");
    if !link.exists() {
        std::os::unix::fs::symlink(PLYFS, link).unwrap();
    }
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new(program);
    command
        .env("PLYFS_STORE", world.store(""))
        .env("PATH", format!("{}:{path}", bin.display()));
    command
}

#[test]
fn bash_completes_names_of_images() {
    let name = this_test!();
    if let Err(error) = Command::new("bash").arg("--version").output() {
        return skip(name, &format!("bash: {error}"));
    }
    let (world, scripts) = world();
    let script = "source \"$1/plyfs.bash\"\n\
        COMP_LINE=$2 COMP_POINT=${#2}\n\
        shift 2\n\
        COMP_WORDS=(\"$@\") COMP_CWORD=$(($# - 1))\n\
        _plyfs_with_names plyfs \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"\n\
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    let complete = |words: &[&str], line: &str| {
        let mut bash = shell(&world, "bash");
        bash.args(["-c", script, "bash"]).arg(&scripts).arg(line);
        let said = succeed(bash.args(words));
        let mut words: Vec<String> = said.lines().map(str::to_owned).collect();
        words.sort();
        words
    };
    let names = complete(&["plyfs", "rmi", "bo"], "plyfs rmi bo");
    assert_eq!(names, ["bottle:test", "box:test"]);
    // The colon is a word of its own to bash.
    let names = complete(&["plyfs", "run", "box", ":", "te"], "plyfs run box:te");
    assert_eq!(names, ["test"]);
    // Options and commands are completed as before.
    let names = complete(&["plyfs", "images", "--js"], "plyfs images --js");
    assert_eq!(names, ["--json"]);
    let names = complete(&["plyfs", "impo"], "plyfs impo");
    assert_eq!(names, ["import"]);
    // Values of options, and nothing else.
    for (option, values) in [
        ("--network", &["host", "none"][..]),
        ("--userns", &["host", "keep-id"]),
        ("--backend", &["auto", "fuse", "kernel"]),
    ] {
        let line = format!("plyfs run {option} ");
        assert_eq!(complete(&["plyfs", "run", option, ""], &line), values);
        // The equals sign is a word of its own to bash.
        let line = format!("plyfs run {option}=");
        assert_eq!(complete(&["plyfs", "run", option, "="], &line), values);
        let start = &values[0][..1];
        let line = format!("plyfs run {option}={start}");
        assert_eq!(
            complete(&["plyfs", "run", option, "=", start], &line),
            values[..1]
        );
    }
    // An option without a value is no reason to leave names away, and a store before the command no command.
    let line = "plyfs --store x run --rm bo";
    let names = complete(&["plyfs", "--store", "x", "run", "--rm", "bo"], line);
    assert_eq!(names, ["bottle:test", "box:test"]);
    // Sources: the prefix, then a path behind it.
    let dir = world.path("");
    std::fs::write(dir.join("bottles.tar"), "").unwrap();
    let path = |name: &str| dir.join(name).display().to_string();
    let here = path("bo");
    for (source, found) in [
        ("oci", &["bottle", "box"][..]),
        ("oci-archive", &["bottle", "bottles.tar", "box"]),
        ("docker-archive", &["bottle", "bottles.tar", "box"]),
    ] {
        let found: Vec<String> = found.iter().map(|name| path(name)).collect();
        let line = format!("plyfs import {source}:{here}");
        assert_eq!(
            complete(&["plyfs", "import", source, ":", &here], &line),
            found
        );
    }
    let names = complete(&["plyfs", "import", "o"], "plyfs import o");
    assert_eq!(names, ["oci-archive:", "oci:"]);
}

#[test]
fn fish_completes_names_of_images() {
    let name = this_test!();
    if let Err(error) = Command::new("fish").arg("--version").output() {
        return skip(name, &format!("fish: {error}"));
    }
    let (world, scripts) = world();
    let script = "source $argv[1]/plyfs.fish; complete -C 'plyfs rmi bo'";
    let mut fish = shell(&world, "fish");
    let said = succeed(
        fish.env("HOME", world.path(""))
            .args(["--no-config", "-c", script])
            .arg(scripts),
    );
    let mut names: Vec<&str> = said.split_whitespace().collect();
    names.sort_unstable();
    assert_eq!(names, ["bottle:test", "box:test"]);
}

#[test]
fn zsh_understands_its_script() {
    let name = this_test!();
    if let Err(error) = Command::new("zsh").arg("--version").output() {
        return skip(name, &format!("zsh: {error}"));
    }
    let (world, scripts) = world();
    succeed(shell(&world, "zsh").arg("-n").arg(scripts.join("_plyfs")));
    let script = std::fs::read_to_string(scripts.join("_plyfs")).unwrap();
    // An image that is to be made has no name yet.
    assert!(script.contains("':image -- The image:_plyfs_images'"));
    assert!(script.contains("':image -- The name of the new image:_default'"));
    let list = "eval \"$(sed -n '/^_plyfs_images()/,/^}/p' \"$1\" | sed 's/compadd -a names/print -l $names/')\"\n\
        _plyfs_images";
    let mut zsh = shell(&world, "zsh");
    let said = succeed(zsh.args(["-fc", list, "zsh"]).arg(scripts.join("_plyfs")));
    assert_eq!(said, "bottle:test\nbox:test\n");
}

//! `make install`: what lies where, and that it works from there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::*;

/// The commands that need no page with all sections that a reader of man-pages(7) expects.
const WITHOUT_SECTIONS: [&str; 2] = ["demo", "version"];
const SECTIONS: [&str; 5] = [
    "EXIT STATUS",
    "ENVIRONMENT",
    "FILES",
    "EXAMPLES",
    "SEE ALSO",
];

fn make(target: &str, dest: &Path) -> Command {
    let mut command = Command::new("make");
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.args(["-s", target, "PREFIX=/usr", &format!("BIN={PLYFS}")]);
    command.arg(format!("DESTDIR={}", dest.display()));
    command
}

/// The paths of all files that are not directories.
fn files(root: &Path) -> BTreeSet<PathBuf> {
    let all = tree::facts(root).into_iter();
    let files = all.filter(|(_, facts)| facts.kind != "directory");
    files.map(|(path, _)| text(&path).into()).collect()
}

#[test]
fn everything_is_installed_and_taken_away_again() {
    let name = this_test!();
    if let Err(error) = Command::new("make").arg("--version").output() {
        return skip(name, &format!("make: {error}"));
    }
    let tmp = tempfile::tempdir().unwrap();
    let dest = tmp.path().join("package");
    succeed(&mut make("install", &dest));
    let at = |path: &str| dest.join("usr").join(path);
    for link in [
        "bin/fuse-overlayfs",
        "sbin/mount.plyfs",
        "sbin/mount.fuse.plyfs",
    ] {
        // Wherever the package is unpacked, and not here.
        assert!(fs::read_link(at(link)).unwrap().is_relative());
        assert_eq!(at(link).canonicalize().unwrap(), at("bin/plyfs"));
    }
    let said = succeed(Command::new(at("bin/fuse-overlayfs")).arg("--version"));
    assert!(said.starts_with("fuse-overlayfs: version 1."), "{said}");
    let (_, said) = fail(Command::new(at("sbin/mount.plyfs")).arg("only-one"));
    assert!(said.contains("a source and a directory"), "{said}");

    // A page for each command that the help names.
    let help = succeed(&mut plyfs(["--help"]));
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    let commands = commands.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let commands: Vec<&str> = commands
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.len() > 15, "{commands:?}");
    for command in commands.iter().filter(|command| **command != "help") {
        let page = at(&format!("share/man/man1/plyfs-{command}.1"));
        let page = fs::read_to_string(page).unwrap();
        assert!(page.contains("DESCRIPTION"), "{page}");
        if !WITHOUT_SECTIONS.contains(command) {
            let titles = page.lines().filter_map(|line| line.strip_prefix(".SH "));
            let titles: Vec<&str> = titles.map(|title| title.trim_matches('"')).collect();
            assert!(titles.ends_with(&SECTIONS), "{command}: {titles:?}");
        }
        for shell in [
            "bash-completion/completions/plyfs",
            "zsh/site-functions/_plyfs",
            "fish/vendor_completions.d/plyfs.fish",
        ] {
            let completions = fs::read_to_string(at("share").join(shell)).unwrap();
            assert!(completions.contains(command), "{shell}: {command}");
        }
    }
    let bash = at("share/bash-completion/completions/plyfs");
    if let Ok(output) = Command::new("bash").arg("-n").arg(bash).output() {
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let documents = at("share/doc/plyfs");
    for page in ["containers", "podman", "buildah", "docker", "containerd"] {
        assert!(documents.join(page).with_extension("md").exists(), "{page}");
    }

    // `make uninstall` does not remove the file of another package.
    let other = at("bin/fuse-overlayfs");
    fs::remove_file(&other).unwrap();
    fs::write(&other, "another").unwrap();
    succeed(&mut make("uninstall", &dest));
    let left: Vec<PathBuf> = files(&dest).into_iter().collect();
    assert_eq!(left, [Path::new("usr/bin/fuse-overlayfs")]);
}

#[test]
fn an_apparmor_profile_of_the_installed_program_is_there_where_it_is_asked_for() {
    let name = this_test!();
    if let Err(error) = Command::new("make").arg("--version").output() {
        return skip(name, &format!("make: {error}"));
    }
    let tmp = tempfile::tempdir().unwrap();
    let profile = tmp.path().join("etc/apparmor.d/plyfs");
    succeed(make("install", tmp.path()).arg("APPARMORDIR=/etc/apparmor.d"));
    let said = fs::read_to_string(&profile).unwrap();
    assert!(
        said.contains("profile plyfs /usr/bin/plyfs flags=(unconfined)"),
        "{said}"
    );
    succeed(make("uninstall", tmp.path()).arg("APPARMORDIR=/etc/apparmor.d"));
    assert!(!profile.exists());
    succeed(make("install", tmp.path()).arg("APPARMORDIR="));
    assert!(!profile.exists());
}

#[test]
fn links_can_be_left_out() {
    if let Err(error) = Command::new("make").arg("--version").output() {
        return skip(this_test!(), &format!("make: {error}"));
    }
    let tmp = tempfile::tempdir().unwrap();
    succeed(make("install", tmp.path()).arg("LINKS="));
    assert!(tmp.path().join("usr/bin/plyfs").exists());
    assert!(!tmp.path().join("usr/bin/fuse-overlayfs").exists());
    let missing = make("install", tmp.path())
        .arg("BIN=/no/such/plyfs")
        .output();
    assert_eq!(missing.unwrap().status.code(), Some(2));
}

#[test]
fn manual_pages_are_sound() {
    let tmp = tempfile::tempdir().unwrap();
    succeed(plyfs(["generate", "man"]).arg(tmp.path()));
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/man/mount.plyfs.8");
    let pages = fs::read_dir(tmp.path()).unwrap();
    let pages = pages.map(|entry| entry.unwrap().path()).chain([own]);
    for page in pages {
        let mut groff = Command::new("groff");
        let output = match groff.args(["-man", "-ww", "-z"]).arg(&page).output() {
            Ok(output) => output,
            Err(error) => return skip(this_test!(), &format!("groff: {error}")),
        };
        let said = text(&output.stderr);
        assert!(
            output.status.success() && said.is_empty(),
            "{}: {said}",
            page.display()
        );
    }
}

//! `npm install` of packages that lie beside the project, as archives: no network is needed.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use super::super::layers::fill;
use super::real::must;
use super::{Place, Watch};

/// Packages of a project.
const PACKAGES: usize = 100;
/// Files in a package, besides its own `package.json`.
const FILES: usize = 20;

/// Why there is no npm here.
pub fn find() -> Result<(), String> {
    must(Command::new("npm").arg("--version")).map_err(|error| error.to_string())
}

/// Writes a project that depends on all packages, each an archive as `npm pack` makes it.
pub fn write_project(dir: &Path) -> io::Result<()> {
    let mut needed = serde_json::Map::new();
    fs::create_dir(dir.join("packages"))?;
    for number in 0..PACKAGES {
        let name = format!("package{number}");
        // All names in such an archive begin so.
        let content = dir.join("package");
        write_package(&content, &name, number)?;
        let archive = format!("packages/{name}.tgz");
        must(
            Command::new("tar")
                .arg("-C")
                .arg(dir)
                .arg("-czf")
                .args([dir.join(&archive).as_os_str(), "package".as_ref()]),
        )?;
        fs::remove_dir_all(content)?;
        needed.insert(name, format!("file:{archive}").into());
    }
    let project = serde_json::json!({
        "name": "project", "version": "1.0.0", "private": true, "dependencies": needed,
    });
    fs::write(dir.join("package.json"), project.to_string())?;
    // As projects have it. Without, npm spends most of its time on finding out what it says.
    let own = dir.join("own");
    must(npm(dir, &own).arg("--package-lock-only"))?;
    fs::remove_dir_all(own)
}

fn write_package(dir: &Path, name: &str, number: usize) -> io::Result<()> {
    for part in ["lib", "lib/inner", "bin"] {
        fs::create_dir_all(dir.join(part))?;
    }
    for f in 0..FILES {
        let inner = if f.is_multiple_of(3) {
            "lib/inner"
        } else {
            "lib"
        };
        let mut file = fs::File::create(dir.join(format!("{inner}/file{f}.js")))?;
        fill(&mut file, 500 + (number * 131 + f * 977) % 9000)?;
    }
    let mut package =
        serde_json::json!({ "name": name, "version": "1.0.0", "main": "lib/file1.js" });
    // Some have commands, which npm links to.
    if number.is_multiple_of(5) {
        fs::write(dir.join("bin/run.js"), "#!/usr/bin/env node\n")?;
        package["bin"] = "bin/run.js".into();
    }
    fs::write(dir.join("package.json"), package.to_string())
}

/// Installs a project, with a directory for what npm keeps for itself.
fn npm(project: &Path, own: &Path) -> Command {
    let mut npm = Command::new("npm");
    npm.args(["install", "--offline", "--no-audit", "--no-fund"])
        .current_dir(project)
        .env("HOME", own)
        .env("npm_config_cache", own.join("cache"))
        .env("npm_config_logs_max", "0")
        .env("npm_config_update_notifier", "false")
        // What a user has configured is not to be measured. Neither exists; npm refuses one name for both.
        .env("npm_config_userconfig", own.join("npmrc"))
        .env("npm_config_globalconfig", own.join("npmrc-global"));
    npm
}

pub fn install(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let own = place.beside.join("npm");
    // No sample is to find what another has left.
    match fs::remove_dir_all(&own) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut npm = npm(place.merged(), &own);
    watch.time(1, || must(&mut npm))
}

//! Programs as people run them. Each sample is one run, whole processes included.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::layers::fill;
use super::{Place, Watch};

/// Runs a command that must succeed, without its output.
pub fn must(command: &mut Command) -> io::Result<()> {
    said(command)?.map_err(|said| io::Error::other(format!("{command:?}: {said}")))
}

/// Runs a command without its output. If it fails, there is what it says of that.
pub fn said(command: &mut Command) -> io::Result<Result<(), String>> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| io::Error::other(format!("{:?}: {error}", command.get_program())))?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    Ok(Err(String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn git() -> Command {
    let mut git = Command::new("git");
    // What a user has configured is not to be measured.
    git.env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", "/");
    for (name, value) in [("NAME", "bench"), ("EMAIL", "bench@localhost")] {
        git.env(format!("GIT_AUTHOR_{name}"), value);
        git.env(format!("GIT_COMMITTER_{name}"), value);
    }
    git.args(["-c", "safe.directory=*", "-c", "gc.auto=0"]);
    git
}

/// Makes something beside the mount once, complete or not at all.
fn once(
    place: &Place<'_>,
    name: &str,
    make: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<PathBuf> {
    let path = place.beside.join(name);
    if !path.exists() {
        let unfinished = place.beside.join(format!("{name}.part"));
        make(&unfinished)?;
        fs::rename(&unfinished, &path)?;
    }
    Ok(path)
}

/// A source tree: files of a few KiB in directories.
fn sources(dir: &Path) -> io::Result<()> {
    for d in 0..30 {
        let inner = dir.join(format!("dir{}/sub{d}", d % 5));
        fs::create_dir_all(&inner)?;
        for f in 0..20 {
            let mut file = fs::File::create(inner.join(format!("file{f}.txt")))?;
            fill(&mut file, 1000 + (d * 131 + f * 977) % 9000)?;
        }
    }
    Ok(())
}

fn repository(place: &Place<'_>) -> io::Result<PathBuf> {
    once(place, "repository", |dir| {
        sources(dir)?;
        must(git().args(["init", "-q"]).arg(dir))?;
        must(git().arg("-C").arg(dir).args(["add", "."]))?;
        must(git().arg("-C").arg(dir).args(["commit", "-qm", "first"]))
    })
}

fn clone(place: &Place<'_>) -> io::Result<Command> {
    let mut git = git();
    // Hard links cannot be made from elsewhere.
    git.args(["clone", "-q", "--no-hardlinks"])
        .arg(repository(place)?)
        .arg(place.merged().join("clone"));
    Ok(git)
}

pub fn git_clone(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let mut clone = clone(place)?;
    watch.time(1, || must(&mut clone))
}

pub fn git_status(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    must(&mut clone(place)?)?;
    let mut status = git();
    status
        .arg("-C")
        .arg(place.merged().join("clone"))
        .arg("status");
    watch.time(1, || must(&mut status))
}

pub fn tar_extract(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let tree = once(place, "sources", sources)?;
    let archive = once(place, "sources.tar", |path| {
        must(
            Command::new("tar")
                .arg("-C")
                .arg(&tree)
                .arg("-cf")
                .arg(path)
                .arg("."),
        )
    })?;
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(place.room()?).arg("-xf").arg(archive);
    watch.time(1, || must(&mut tar))
}

/// Writes a C project whose files include the same headers.
pub fn write_project(dir: &Path) -> io::Result<()> {
    for i in 0..20 {
        let mut header = fs::File::create(dir.join(format!("h{i}.h")))?;
        writeln!(header, "#ifndef H{i}\n#define H{i}")?;
        for f in 0..20 {
            writeln!(header, "int f{i}_{f}(int);")?;
        }
        writeln!(header, "#endif")?;
        let mut source = fs::File::create(dir.join(format!("s{i}.c")))?;
        writeln!(source, "#include <stdio.h>\n#include <string.h>")?;
        for h in 0..20 {
            writeln!(source, "#include \"h{h}.h\"")?;
        }
        for f in 0..20 {
            writeln!(source, "int f{i}_{f}(int x) {{ return x * {f} + {i}; }}")?;
        }
    }
    fs::write(
        dir.join("main.c"),
        "#include \"h3.h\"\nint main(void) { return f3_0(1) - 3; }\n",
    )?;
    let build =
        "set -e\nfor i in *.c; do cc -c -o \"${i%.c}.o\" \"$i\"; done\ncc -o all *.o\n./all\n";
    fs::write(dir.join("build.sh"), build)
}

pub fn compile(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let mut build = Command::new("sh");
    build.arg("build.sh").current_dir(place.merged());
    watch.time(1, || must(&mut build))
}

/// The interpreter, and the directory of its library, `PREFIX/lib/pythonX.Y`.
fn interpreter() -> io::Result<(PathBuf, PathBuf)> {
    let system = Path::new("/usr/bin/python3");
    let program = if system.exists() {
        system
    } else {
        Path::new("python3")
    };
    let ask = "import sys, os; print(sys.executable); print(os.path.dirname(os.__file__))";
    let output = Command::new(program).args(["-c", ask]).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let mut lines = said.lines().map(PathBuf::from);
    lines
        .next()
        .zip(lines.next())
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Copies the interpreter's library into a layer.
pub fn copy_python(dir: &Path) -> io::Result<()> {
    let (_, library) = interpreter()?;
    let name = library.file_name().ok_or(io::ErrorKind::NotFound)?;
    let target = dir.join("lib");
    fs::create_dir(&target)?;
    must(
        Command::new("cp")
            .arg("-r")
            .arg(&library)
            .arg(target.join(name)),
    )?;
    // So that no sample finds what another has compiled, nor compiles it itself.
    let (program, _) = interpreter()?;
    let compiled = Command::new(program)
        .args(["-m", "compileall", "-q"])
        .arg(target)
        .output()?;
    drop(compiled);
    Ok(())
}

pub fn python(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let (program, _) = interpreter()?;
    let mut python = Command::new(program);
    python
        .args([
            "-S",
            "-c",
            "import asyncio, json, http.client, xml.dom.minidom, sqlite3, unittest",
        ])
        .env("PYTHONHOME", place.merged())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    watch.time(1, || must(&mut python))
}

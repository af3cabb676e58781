//! Progress and interrupts.

use super::*;

#[test]
fn progress_is_shown_on_a_terminal_only() {
    let test = this_test!();
    let world = World::new();
    let source = world.layout("image", &image("text", Compression::Gzip));
    // `quiet` reads standard error from a pipe.
    assert_eq!(quiet(&mut world.import(&source)), "image:test\n");
    let layer = &world.names("layers/sha256")[0][..12];
    let inner = format!(
        "{PLYFS} --store {} import --ownership override {source}",
        world.path("terminal").display()
    );
    let output = Command::new("script")
        .args(["-qec", &inner, "/dev/null"])
        .stdin(std::process::Stdio::null())
        .output();
    match output {
        Ok(output) => {
            let said = text(&output.stdout);
            assert!(said.contains(layer) && said.contains("done"), "{said}");
        }
        Err(error) => skip(test, &format!("script(1) cannot be run: {error}")),
    }
    assert_eq!(names(&world.path("terminal/staging")), [""; 0]);
}

/// An archive that comes through a pipe, or has to be decompressed, is copied first.
#[test]
fn an_import_is_interrupted_while_its_archive_is_copied() {
    let world = World::new();
    world.with_image("image", &image("text", Compression::Gzip));
    let before = world.snapshot();
    let pipe = world.path("pipe");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, 0o600.into(), 0).unwrap();
    let source = format!("docker-archive:{}", pipe.display());
    let child = world
        .import(&source)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut writer = fs::File::options().write(true).open(&pipe).unwrap();
    writer.write_all(&[b'x'; 1 << 20]).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    // Write more until the import has ended and closed the pipe.
    while writer.write_all(&[b'x'; 1 << 16]).is_ok() {}
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(
        text(&output.stderr),
        "plyfs: interrupted; the next import goes on from here\n"
    );
    tree::assert_same(&before, &world.snapshot());
}

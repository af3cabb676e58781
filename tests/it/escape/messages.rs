//! What plyfs itself says of a hostile image.

use plyfs_store::fixture::{Config, Entry, Layer};

use super::cell::*;

/// Ends a line, sets the title of a terminal, and changes its colours: by ESC and by the control sequence
/// introducer of one character (U+009B).
const HOSTILE: &str = "x\x1b]0;TITLE\x07\u{9b}31m\r\nplyfs: a line of the image";

/// A message stays one line, and no part of it is a command for the terminal.
#[track_caller]
fn assert_harmless(said: &Said) {
    let line = said.err.strip_suffix('\n');
    let line = line.unwrap_or_else(|| panic!("no message: {said:?}"));
    assert!(line.starts_with("plyfs: "), "{said:?}");
    assert!(!line.contains(char::is_control), "{said:?}");
}

/// Names in an image do not command the caller's terminal, and forge no message.
#[test]
fn messages_about_an_image_do_not_command_the_terminal() {
    let test = this_test!();
    let images = |_: &_| {
        let config = Config::default;
        let layer = || Layer::new([Entry::symlink("etc/passwd", "/proc/self/exe")]);
        vec![
            (
                "entrypoint",
                layer(),
                Config {
                    entrypoint: vec![format!("/bin/{HOSTILE}")],
                    ..config()
                },
            ),
            (
                "directory",
                layer(),
                Config {
                    working_dir: format!("/proc/self/exe/{HOSTILE}"),
                    ..config()
                },
            ),
            (
                "user",
                layer(),
                Config {
                    user: HOSTILE.to_owned(),
                    ..config()
                },
            ),
            plain(),
        ]
    };
    each(test, images, |cell| {
        for image in ["entrypoint", "directory", "user"] {
            let said = finish(&mut cell.command(image, &[], &[]));
            assert_ne!(said.status, 0, "{said:?}");
            assert_harmless(&said);
        }
        let running = cell.idle(&[]);
        for options in [&[][..], &["-w", HOSTILE], &["-u", HOSTILE]] {
            let said = cell.exec(options, &[HOSTILE]);
            assert_ne!(said.status, 0, "{said:?}");
            assert_harmless(&said);
        }
        running.stop();
    });
}

/// The same of what is logged: here that a link of the image leads where nothing can be mounted.
#[test]
fn log_lines_about_an_image_do_not_command_the_terminal() {
    let test = this_test!();
    let images = |_: &_| {
        let hostile = format!("/dev/{HOSTILE}");
        let layer = Layer::new([Entry::symlink("etc/hosts", hostile)]);
        vec![("box", layer, Config::default())]
    };
    each(test, images, |cell| {
        let said = cell.run(&[], &["bash", "-c", ":"]);
        assert_eq!(said.status, 0, "{said:?}");
        assert!(said.err.contains("31m"), "{said:?}");
        assert_harmless(&said);
    });
}

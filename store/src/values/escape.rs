//! Names from images, made safe to show.
//!
//! A file name may hold anything but `/` and NUL: escape sequences that rewrite a terminal, or
//! characters that turn the direction of text. Whatever came from an image passes through here on
//! its way into an error message.

use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// How much of a name is shown, in bytes of the name.
const SHOWN: usize = 300;

/// Bytes from outside, displayed on one line without control characters.
///
/// Printable characters stay as they are; control, format and unassigned characters and bytes that
/// are not UTF-8 are written as escapes, as is the backslash. What is very long is cut.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(&'a [u8]);

/// Shows bytes from outside; see [`Escaped`].
pub fn escaped<B: AsRef<[u8]> + ?Sized>(bytes: &B) -> Escaped<'_> {
    Escaped(bytes.as_ref())
}

/// Shows a path.
pub(crate) fn escaped_path(path: &Path) -> Escaped<'_> {
    Escaped(path.as_os_str().as_bytes())
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, cut) = match self.0.get(..SHOWN) {
            Some(start) if start.len() < self.0.len() => (start, true),
            _ => (self.0, false),
        };
        for chunk in shown.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '"' | '\'' => f.write_char(character)?,
                    other => write!(f, "{}", other.escape_debug())?,
                }
            }
            // A character that was cut in two is not the name's fault.
            if cut && chunk.invalid().as_ptr_range().end == shown.as_ptr_range().end {
                break;
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        if cut { f.write_str("...") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_a_terminal_that_could_command_it() {
        for (name, shown) in [
            (&b"etc/passwd"[..], "etc/passwd"),
            ("gr\u{fc}n \u{1f600}".as_bytes(), "gr\u{fc}n \u{1f600}"),
            (b"a\x1b[2Jb", "a\\u{1b}[2Jb"),
            (b"two\nlines\r", "two\\nlines\\r"),
            ("\u{202e}gpj".as_bytes(), "\\u{202e}gpj"),
            ("\u{9b}31m".as_bytes(), "\\u{9b}31m"),
            (b"\xff\xfe", "\\xff\\xfe"),
            (b"back\\slash", "back\\\\slash"),
            (b"it's \"q\"", "it's \"q\""),
        ] {
            assert_eq!(escaped(name).to_string(), shown);
        }
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let name = "\u{fc}".repeat(500);
        let shown = escaped(&name).to_string();
        assert_eq!(shown, "\u{fc}".repeat(150) + "...");
        let odd = format!("x{name}");
        assert_eq!(
            escaped(&odd).to_string(),
            format!("x{}...", "\u{fc}".repeat(149))
        );
    }
}

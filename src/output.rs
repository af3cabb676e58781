//! What people and programs read: tables, sizes, JSON.

use std::fmt;
use std::io::Write;

use serde::Serialize;

use crate::failure::{Doing, Outcome};

/// Prints rows under a header, in columns as wide as what is in them. Control characters are escaped.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> Outcome {
    let cells = |row: &[String; N]| row.each_ref().map(|cell| plain(cell));
    let rows: Vec<[String; N]> = rows.iter().map(cells).collect();
    let mut widths = header.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let header = header.map(str::to_owned);
    let mut out = String::new();
    for row in std::iter::once(&header).chain(&rows) {
        let cells = row.iter().zip(widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        out.push_str(line.join("  ").trim_end());
        out.push('\n');
    }
    write(&out)
}

/// Prints a value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Outcome {
    let text = serde_json::to_string_pretty(value).doing("write JSON")?;
    write(&(text + "\n"))
}

/// Prints text. A reader that has gone away is no failure.
pub(crate) fn write(text: &str) -> Outcome {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.doing("write to standard output"),
    }
}

/// Writes a message to standard error, as one line: names in it may be those of an image, which must not
/// command the terminal nor forge a line. An error of writing has no reader.
pub(crate) fn complain(what: &dyn fmt::Display) {
    let line = plain(&what.to_string());
    drop(writeln!(std::io::stderr().lock(), "plyfs: {line}"));
}

/// A text with its control characters (U+0000 to U+001F, U+007F to U+009F) escaped, which could command a
/// terminal or end the line.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

/// A time (RFC 3339) for people: to the second.
pub(crate) fn time(text: &str) -> String {
    text.chars().take("2006-01-02T15:04:05".len()).collect()
}

/// A size in bytes for people: three digits and a unit.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match value {
        _ if unit == 0 => 0,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        for (text, escaped) in [
            ("J\u{fc}rgen's file", "J\u{fc}rgen's file"),
            ("\x1b[31m", "\\u{1b}[31m"),
            ("a\r\nplyfs: b", "a\\r\\nplyfs: b"),
            (
                "\u{7f}\u{80}\u{9b}\u{9f}\u{a0}",
                "\\u{7f}\\u{80}\\u{9b}\\u{9f}\u{a0}",
            ),
        ] {
            assert_eq!(plain(text), escaped);
            assert_eq!(plain(escaped), escaped);
        }
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (9_994, "9.99 kB"),
            (9_996, "10.0 kB"),
            (123_456, "123 kB"),
            (999_600, "1.00 MB"),
            (746_000_000, "746 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }
}

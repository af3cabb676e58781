//! What people and programs read: tables, sizes, JSON.

use std::fmt;
use std::io::Write;

use plyfs_store::Timestamp;
use serde::Serialize;

use crate::error::{Context, Result};

/// Prints rows under a header, in columns as wide as their widest cell. Control characters are escaped.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> Result {
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
pub(crate) fn json(value: &impl Serialize) -> Result {
    let text = serde_json::to_string_pretty(value).context("write JSON")?;
    write(&(escape_json(&text) + "\n"))
}

/// Escapes the control characters that JSON allows to stand as they are: U+007F and, since many
/// terminals obey them, U+0080 to U+009F. In JSON they occur in strings alone.
fn escape_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\u{7f}'..='\u{9f}' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            other => out.push(other),
        }
    }
    out
}

/// Prints text. A reader that has gone away is no failure.
pub(crate) fn write(text: &str) -> Result {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("write to standard output"),
    }
}

/// Prints one line on standard error. Messages hold names and paths that come from images, so they
/// are escaped here, once for all. An error of writing has no reader.
pub(crate) fn complain(what: &dyn fmt::Display) {
    let line = plain(&what.to_string());
    drop(writeln!(std::io::stderr().lock(), "plyfs: {line}"));
}

/// A text as it is, but for characters that could command a terminal, end the line or turn the
/// direction of what follows.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || turns_text(character) {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

/// Whether a character sets the direction of text (Unicode Standard Annex #9, "Explicit Directional
/// Formatting Characters").
fn turns_text(character: char) -> bool {
    matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// A time (RFC 3339) for people: to the minute, and how long ago that is.
pub(crate) fn time(text: &str) -> String {
    time_at(text, Timestamp::now().seconds)
}

fn time_at(text: &str, now: i64) -> String {
    let Some(then) = Timestamp::from_rfc3339(text) else {
        return text.chars().take("2006-01-02T15:04:05".len()).collect();
    };
    let minute: String = text.chars().take("2006-01-02T15:04".len()).collect();
    let minute = minute.replace('T', " ");
    match now - then.seconds {
        // Reproducible images are said to be made in 1970, and clocks differ.
        age if age < 0 || then.seconds == 0 => minute,
        age => format!("{minute} ({})", age_of(age)),
    }
}

/// So many seconds for people.
fn age_of(age: i64) -> String {
    const UNITS: [(i64, &str); 6] = [
        (365 * 86_400, "year"),
        (30 * 86_400, "month"),
        (7 * 86_400, "week"),
        (86_400, "day"),
        (3600, "hour"),
        (60, "minute"),
    ];
    let unit = UNITS.into_iter().find(|(seconds, _)| age >= *seconds);
    let Some((seconds, name)) = unit else {
        return "just now".to_owned();
    };
    let count = age / seconds;
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {name}{plural} ago")
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
    fn times_have_an_age() {
        let now = Timestamp::from_rfc3339("2024-03-01T00:00:00Z")
            .unwrap()
            .seconds;
        assert_eq!(now, 1_709_251_200);
        for (text, shown) in [
            ("2024-02-29T23:59:30Z", "2024-02-29 23:59 (just now)"),
            (
                "2024-02-29T23:30:00.123456789Z",
                "2024-02-29 23:30 (30 minutes ago)",
            ),
            (
                "2024-03-01T00:30:00+01:00",
                "2024-03-01 00:30 (30 minutes ago)",
            ),
            ("2024-02-28T12:00:00Z", "2024-02-28 12:00 (1 day ago)"),
            ("2024-01-31T00:00:00Z", "2024-01-31 00:00 (1 month ago)"),
            ("2021-03-01T00:00:00Z", "2021-03-01 00:00 (3 years ago)"),
            ("2024-03-02T00:00:00Z", "2024-03-02 00:00"),
            ("1970-01-01T00:00:00Z", "1970-01-01 00:00"),
            ("no time at all, and long", "no time at all, and"),
            ("", ""),
        ] {
            assert_eq!(time_at(text, now), shown);
        }
    }

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
    fn text_from_outside_commands_no_terminal() {
        let text = "a\u{1b}[2J\u{9b}31m\u{80}\u{9f}\u{202e}\n\u{fc}\\ \"q\"";
        assert_eq!(
            plain(text),
            "a\\u{1b}[2J\\u{9b}31m\\u{80}\\u{9f}\\u{202e}\\n\u{fc}\\ \"q\""
        );
    }

    #[test]
    fn json_holds_no_control_characters() {
        let text = "a\u{1b}\u{7f}\u{80}\u{9b}31m\u{9f}\u{a0}\u{fc}";
        let json = escape_json(&serde_json::to_string(text).unwrap());
        assert_eq!(
            json,
            "\"a\\u001b\\u007f\\u0080\\u009b31m\\u009f\u{a0}\u{fc}\""
        );
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
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

//! Text from registries, made safe to show.

use std::fmt::{self, Write as _};

/// How many characters of foreign text a message shows.
const SHOWN: usize = 200;

/// Foreign text on one line, without control characters, cut when long.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, char) in self.0.chars().enumerate() {
            if position == SHOWN {
                return f.write_str("...");
            }
            match char {
                '"' | '\'' => f.write_char(char)?,
                other => write!(f, "{}", other.escape_debug())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_long_text_is_cut() {
        assert_eq!(Shown("a\n\u{1b}[1mb").to_string(), "a\\n\\u{1b}[1mb");
        assert_eq!(Shown(&"x".repeat(500)).to_string().len(), SHOWN + 3);
    }
}

//! The record `protattr`: which files are protected from changes (chattr(1)).
//!
//! The kernel's overlay keeps the flags "immutable" and "append only" of an upper file in this record
//! and not on the file itself, where they would keep it from renaming the file and from writing its own
//! records (`ovl_set_protattr` of the kernel). The value is a letter for each.

const APPEND_ONLY: u8 = b'a';
const IMMUTABLE: u8 = b'i';

/// What may not be done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Protection {
    /// It cannot be changed, removed, renamed or linked to, nor can names in it.
    pub immutable: bool,
    /// Data and names can be added to it, and nothing else.
    pub append_only: bool,
}

impl Protection {
    /// Reads the value of a record. `None` for what the kernel does not understand either: an empty
    /// value, or one with other letters.
    pub fn parse(value: &[u8]) -> Option<Self> {
        if value.is_empty() {
            return None;
        }
        let mut protection = Self::default();
        for letter in value {
            match *letter {
                APPEND_ONLY => protection.append_only = true,
                IMMUTABLE => protection.immutable = true,
                _ => return None,
            }
        }
        Some(protection)
    }

    /// The value of a record, in the order of the kernel. Empty without protection, for which there is no
    /// record.
    pub fn value(self) -> Vec<u8> {
        let letters = [(self.append_only, APPEND_ONLY), (self.immutable, IMMUTABLE)];
        let set = letters.into_iter().filter(|(is_set, _)| *is_set);
        set.map(|(_, letter)| letter).collect()
    }

    /// Whether there is any.
    pub fn any(self) -> bool {
        self.immutable || self.append_only
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_kernel() {
        for (immutable, append_only, value) in [
            (true, false, &b"i"[..]),
            (false, true, b"a"),
            (true, true, b"ai"),
        ] {
            let protection = Protection {
                immutable,
                append_only,
            };
            assert_eq!(protection.value(), value);
            assert_eq!(Protection::parse(value), Some(protection));
            assert!(protection.any());
        }
        assert!(!Protection::default().any());
        assert!(Protection::default().value().is_empty());
    }

    #[test]
    fn what_the_kernel_ignores_protects_nothing() {
        for value in [&b""[..], b"x", b"ix", b"i\0"] {
            assert_eq!(Protection::parse(value), None, "{value:?}");
        }
        assert!(Protection::parse(b"ia").is_some_and(|both| both.immutable && both.append_only));
    }
}

//! Whiteouts and opaque markers.
//!
//! On disk a removed name is a character device with device number 0/0; in an OCI layer archive it
//! is an empty file called `.wh.NAME`. An opaque directory, one that hides everything of the same
//! name in the layers below, carries the `overlay.opaque` attribute on disk and an entry
//! `.wh..wh..opq` in an archive.

/// What the names of archive whiteouts begin with.
pub const PREFIX: &[u8] = b".wh.";

/// The archive entry that makes its directory opaque.
pub const OPAQUE: &[u8] = b".wh..wh..opq";

/// Names that begin so are the union file system's own business in AUFS, where the format comes
/// from; but for [`OPAQUE`] they say nothing about the tree and are passed over.
pub const META_PREFIX: &[u8] = b".wh..wh.";

/// What a name means inside an OCI layer archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveName<'a> {
    /// An ordinary entry.
    Plain,
    /// The name of this much of the rest is removed from the layers below.
    Whiteout(&'a [u8]),
    /// The directory that holds this entry is opaque.
    Opaque,
    /// AUFS housekeeping (`.wh..wh.plnk` and the like), to be passed over.
    Meta,
    /// `.wh.` followed by nothing, `.` or `..`: it can name no file.
    Malformed,
}

impl<'a> ArchiveName<'a> {
    /// Reads the last component of an archive entry's path.
    pub fn parse(name: &'a [u8]) -> Self {
        match name.strip_prefix(PREFIX) {
            None => Self::Plain,
            Some(_) if name == OPAQUE => Self::Opaque,
            Some(_) if name.starts_with(META_PREFIX) => Self::Meta,
            Some(b"" | b"." | b"..") => Self::Malformed,
            Some(hidden) => Self::Whiteout(hidden),
        }
    }
}

/// Whether a file with this `st_mode` type and device number is a whiteout on disk.
pub fn is_whiteout(mode: u32, major: u32, minor: u32) -> bool {
    const S_IFMT: u32 = 0o170_000;
    const S_IFCHR: u32 = 0o020_000;
    mode & S_IFMT == S_IFCHR && major == 0 && minor == 0
}

/// Whether this value of an `overlay.opaque` attribute makes its directory opaque.
///
/// The kernel also knows `x`, which says only that the directory may hold whiteouts in the form of
/// extended attributes.
pub fn is_opaque_value(value: &[u8]) -> bool {
    value == b"y"
}

/// Whether this value of an `overlay.opaque` attribute says that empty regular files in the directory
/// may be whiteouts by the attribute `overlay.whiteout`.
pub fn may_hold_attribute_whiteouts(value: &[u8]) -> bool {
    value == b"x"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_names_are_told_apart() {
        use ArchiveName::*;
        for (name, meaning) in [
            (&b"q"[..], Plain),
            (b".wh", Plain),
            (b".whq", Plain),
            (b".wh.q", Whiteout(b"q")),
            (b".wh..hidden", Whiteout(b".hidden")),
            (b".wh..wh..opq", Opaque),
            (b".wh..wh.plnk", Meta),
            (b".wh..wh.aufs", Meta),
            (b".wh.", Malformed),
            (b".wh..", Malformed),
            (b".wh...", Malformed),
            (b".wh....", Whiteout(b"...")),
        ] {
            assert_eq!(ArchiveName::parse(name), meaning, "{name:?}");
        }
    }

    #[test]
    fn only_a_character_device_zero_is_a_whiteout() {
        assert!(is_whiteout(0o020_000, 0, 0));
        assert!(is_whiteout(0o020_644, 0, 0));
        assert!(!is_whiteout(0o060_000, 0, 0));
        assert!(!is_whiteout(0o020_000, 1, 3));
        assert!(!is_whiteout(0o100_644, 0, 0));
    }
}

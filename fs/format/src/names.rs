//! Names of extended attributes that belong to the overlay.
//!
//! The kernel's overlay keeps its records under `trusted.overlay.`, which only the superuser of the
//! initial user namespace may write, or under `user.overlay.` when it is mounted with `userxattr`.
//! fuse-overlayfs adds a prefix of its own. What a mount keeps under the prefix of its own
//! [`Namespace`] is hidden from its users; what they store there themselves, because they mount an
//! overlay on top of this one, is escaped: `trusted.overlay.opaque` becomes
//! `trusted.overlay.overlay.opaque`, and so on for more of them.

use std::borrow::Cow;
use std::ffi::CStr;

/// Prefix of the records of a kernel overlay mounted by the superuser.
pub const TRUSTED_PREFIX: &str = "trusted.overlay.";
/// Prefix of the records of a kernel overlay mounted with `userxattr`.
pub const USER_PREFIX: &str = "user.overlay.";
/// Prefix of the records of fuse-overlayfs.
pub const FUSE_OVERLAYFS_PREFIX: &str = "user.fuseoverlayfs.";
/// Where `override_stat` and its companions are.
pub const CONTAINERS_OVERRIDE_PREFIX: &str = "user.containers.override_";
/// Prefix of the `override_stat` records that only the superuser of the machine writes.
pub const PRIVILEGED_OVERRIDE_PREFIX: &str = "security.fuseoverlayfs.";

/// The attribute namespace a mounter may write its records to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Namespace {
    /// `trusted.overlay.*`: needs CAP_SYS_ADMIN in the initial user namespace.
    Trusted,
    /// `user.overlay.*`: what the kernel reads when mounted with `userxattr`.
    User,
}

/// What the kernel's overlay keeps in an attribute
/// (`Documentation/filesystems/overlayfs.rst`, `fs/overlayfs/overlayfs.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Record {
    /// On a directory: `y`, it hides those of its name below; `x`, it may hold files that are
    /// whiteouts by attribute.
    Opaque,
    /// On a directory or a metacopy file that was renamed: where to go on in the layers below.
    Redirect,
    /// On a regular file that was copied up without its data.
    Metacopy,
    /// On what was copied up: the file handle of the lower file.
    Origin,
    /// On a directory that may hold what has an origin: `y`.
    Impure,
    /// On a file in the index: the difference of its link counts.
    Nlink,
    /// On the index: the file handle of the root of the upper layer.
    Upper,
    /// On an empty regular file: it is a whiteout.
    Whiteout,
    /// On a regular file or directory: what may not be done to it ([`protattr`](crate::protattr)).
    Protattr,
}

/// What follows the prefix of an attribute that belongs to an overlay above this one.
const ESCAPE: &[u8] = b"overlay.";

impl Namespace {
    /// What the names of records begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Trusted => TRUSTED_PREFIX,
            Self::User => USER_PREFIX,
        }
    }

    /// The name that users know a stored attribute by; `None` for a record, which is not for them.
    pub fn shown(self, stored: &[u8]) -> Option<Cow<'_, [u8]>> {
        let prefix = self.prefix().as_bytes();
        match stored.strip_prefix(prefix) {
            None => Some(Cow::Borrowed(stored)),
            Some(rest) => {
                let rest = rest.strip_prefix(ESCAPE)?;
                Some(Cow::Owned([prefix, rest].concat()))
            }
        }
    }

    /// The name that an attribute of users is stored under; the inverse of [`shown`](Self::shown).
    pub fn stored(self, shown: &[u8]) -> Cow<'_, [u8]> {
        let prefix = self.prefix().as_bytes();
        match shown.strip_prefix(prefix) {
            None => Cow::Borrowed(shown),
            Some(rest) => Cow::Owned([prefix, ESCAPE, rest].concat()),
        }
    }

    /// The attribute that makes a directory opaque.
    pub fn opaque(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.opaque",
            Self::User => "user.overlay.opaque",
        }
    }

    /// The attribute on an upper directory and its work directory that says that plyfs has let the
    /// kernel's overlay serve them. The kernel keeps it from users of an overlay in this namespace.
    pub fn served_by_kernel(self) -> &'static CStr {
        match self {
            Self::Trusted => c"trusted.overlay.plyfs.kernel",
            Self::User => c"user.overlay.plyfs.kernel",
        }
    }

    /// The attribute of a record.
    pub fn name(self, record: Record) -> &'static CStr {
        match (self, record) {
            (Self::Trusted, Record::Opaque) => c"trusted.overlay.opaque",
            (Self::Trusted, Record::Redirect) => c"trusted.overlay.redirect",
            (Self::Trusted, Record::Metacopy) => c"trusted.overlay.metacopy",
            (Self::Trusted, Record::Origin) => c"trusted.overlay.origin",
            (Self::Trusted, Record::Impure) => c"trusted.overlay.impure",
            (Self::Trusted, Record::Nlink) => c"trusted.overlay.nlink",
            (Self::Trusted, Record::Upper) => c"trusted.overlay.upper",
            (Self::Trusted, Record::Whiteout) => c"trusted.overlay.whiteout",
            (Self::Trusted, Record::Protattr) => c"trusted.overlay.protattr",
            (Self::User, Record::Opaque) => c"user.overlay.opaque",
            (Self::User, Record::Redirect) => c"user.overlay.redirect",
            (Self::User, Record::Metacopy) => c"user.overlay.metacopy",
            (Self::User, Record::Origin) => c"user.overlay.origin",
            (Self::User, Record::Impure) => c"user.overlay.impure",
            (Self::User, Record::Nlink) => c"user.overlay.nlink",
            (Self::User, Record::Upper) => c"user.overlay.upper",
            (Self::User, Record::Whiteout) => c"user.overlay.whiteout",
            (Self::User, Record::Protattr) => c"user.overlay.protattr",
        }
    }
}

/// Every attribute that makes a directory opaque, of every overlay that writes one.
pub const OPAQUE_NAMES: [&str; 3] = [
    "trusted.overlay.opaque",
    "user.overlay.opaque",
    "user.fuseoverlayfs.opaque",
];

/// Whether the attribute holds what an overlay believes about a file in some mode: the `override_stat`
/// records of every form, and all that fuse-overlayfs keeps for itself.
///
/// Users of a mount neither see nor write one in any mode. A mount that does not believe them may be
/// followed by one that does.
pub fn is_override_record(name: &[u8]) -> bool {
    [
        CONTAINERS_OVERRIDE_PREFIX,
        FUSE_OVERLAYFS_PREFIX,
        PRIVILEGED_OVERRIDE_PREFIX,
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix.as_bytes()))
}

/// Whether the attribute is the [mark](Namespace::served_by_kernel) of a directory that the kernel's
/// overlay has served.
pub fn is_served_by_kernel(name: &[u8]) -> bool {
    [Namespace::Trusted, Namespace::User]
        .iter()
        .any(|namespace| name == namespace.served_by_kernel().to_bytes())
}

/// Whether the attribute is a record of an overlay, to be kept from the users of a mount.
///
/// The `override_stat` records of `user.containers.*` and `security.*` are not among these: see
/// [`is_override_record`].
pub fn is_overlay_record(name: &[u8]) -> bool {
    [TRUSTED_PREFIX, USER_PREFIX, FUSE_OVERLAYFS_PREFIX]
        .iter()
        .any(|prefix| name.starts_with(prefix.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_recognised_by_prefix() {
        assert!(is_overlay_record(b"trusted.overlay.opaque"));
        assert!(is_overlay_record(b"user.overlay.origin"));
        assert!(is_overlay_record(b"user.fuseoverlayfs.opaque"));
        assert!(!is_overlay_record(b"user.overlayfoo"));
        assert!(!is_overlay_record(b"trusted.overlay"));
        assert!(!is_overlay_record(b"user.containers.override_stat"));
        assert!(!is_overlay_record(b"security.capability"));
    }

    #[test]
    fn records_of_every_mode_are_recognised() {
        for name in [
            "user.containers.override_stat",
            "user.containers.override_security.capability",
            "user.fuseoverlayfs.override_stat",
            "user.fuseoverlayfs.opaque",
            "security.fuseoverlayfs.override_stat",
        ] {
            assert!(is_override_record(name.as_bytes()), "{name}");
        }
        for name in ["user.containers.note", "user.fuseoverlayfs", "security.x"] {
            assert!(!is_override_record(name.as_bytes()), "{name}");
        }
        assert!(is_served_by_kernel(b"trusted.overlay.plyfs.kernel"));
        assert!(is_served_by_kernel(b"user.overlay.plyfs.kernel"));
        assert!(!is_served_by_kernel(b"user.overlay.overlay.plyfs.kernel"));
    }

    #[test]
    fn records_of_an_overlay_above_are_escaped() {
        for namespace in [Namespace::Trusted, Namespace::User] {
            let name = namespace.opaque().as_bytes();
            assert_eq!(namespace.shown(name), None);
            let stored = namespace.stored(name).into_owned();
            assert_eq!(
                stored,
                [namespace.prefix().as_bytes(), b"overlay.opaque"].concat()
            );
            assert_eq!(namespace.shown(&stored).unwrap(), name);
            let twice = namespace.stored(&stored).into_owned();
            assert_eq!(namespace.shown(&twice).unwrap(), stored);
            assert_eq!(namespace.shown(b"user.note").unwrap(), &b"user.note"[..]);
            assert_eq!(namespace.stored(b"user.note"), &b"user.note"[..]);
        }
    }

    #[test]
    fn opaque_is_written_under_a_name_that_is_read() {
        for namespace in [Namespace::Trusted, Namespace::User] {
            assert!(OPAQUE_NAMES.contains(&namespace.opaque()));
        }
    }
}

//! How extended attributes are named in a layer, and how users of the mount see them.

use std::borrow::Cow;
use std::ffi::CString;

use plyfs_format::names::{self, Namespace, OPAQUE_NAMES};
use plyfs_format::override_stat::SECURITY_PREFIX;

use crate::config::XattrTrust;
use crate::config::override_stat_mode::OverrideStatMode;

/// How the attributes of a layer are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Naming {
    /// Which of its files carry `override_stat` records.
    pub(crate) records: OverrideStatMode,
    /// Which of its records of overlays count.
    pub(crate) marks: XattrTrust,
    /// The namespace of the mount.
    pub(crate) namespace: Namespace,
}

impl Naming {
    /// The name users of the mount know a stored attribute by; `None` if it is not for them.
    pub(crate) fn shown(self, stored: &[u8]) -> Option<Cow<'_, [u8]>> {
        if self.records.rename_security()
            && let Some(rest) = stored.strip_prefix(SECURITY_PREFIX.as_bytes())
        {
            let shown = [SECURITY, rest].concat();
            return (!names::is_override_record(&shown)).then_some(Cow::Owned(shown));
        }
        if names::is_override_record(stored) || self.is_mark(stored) {
            return None;
        }
        self.namespace.shown(stored)
    }

    /// Whether a stored attribute is a mark of another namespace that counts nevertheless. Those of the
    /// mount's own are recognised by their prefix.
    fn is_mark(self, stored: &[u8]) -> bool {
        names::is_served_by_kernel(stored)
            || self.marks == XattrTrust::Any
                && OPAQUE_NAMES.iter().any(|name| name.as_bytes() == stored)
    }

    /// The name an attribute is stored under, the inverse of [`shown`](Self::shown); `None` if users of
    /// the mount cannot have an attribute of that name.
    pub(crate) fn stored(self, shown: &[u8]) -> Option<CString> {
        if names::is_override_record(shown) {
            return None;
        }
        let stored = match shown.strip_prefix(SECURITY) {
            Some(rest) if self.records.rename_security() => {
                Cow::Owned([SECURITY_PREFIX.as_bytes(), rest].concat())
            }
            _ => self.namespace.stored(shown),
        };
        if self.is_mark(&stored) {
            return None;
        }
        CString::new(stored).ok()
    }
}

const SECURITY: &[u8] = b"security.";

#[cfg(test)]
mod tests {
    use super::*;

    fn naming(records: OverrideStatMode) -> Naming {
        Naming {
            records,
            marks: XattrTrust::Own,
            namespace: Namespace::Trusted,
        }
    }

    fn shown(name: &str, records: OverrideStatMode) -> Option<String> {
        let name = naming(records).shown(name.as_bytes())?.into_owned();
        Some(String::from_utf8(name).unwrap())
    }

    #[test]
    fn records_are_not_shown_and_security_is_under_its_own_name() {
        assert_eq!(shown("user.a", OverrideStatMode::None).unwrap(), "user.a");
        assert_eq!(
            shown("trusted.overlay.opaque", OverrideStatMode::None),
            None
        );
        let others = "user.overlay.origin";
        assert_eq!(shown(others, OverrideStatMode::All).unwrap(), others);
        let capability = "user.containers.override_security.capability";
        assert_eq!(
            shown(capability, OverrideStatMode::All).unwrap(),
            "security.capability"
        );
        assert_eq!(shown(capability, OverrideStatMode::None), None);
        let any = Naming {
            marks: XattrTrust::Any,
            ..naming(OverrideStatMode::None)
        };
        assert_eq!(any.shown(b"user.overlay.opaque"), None);
    }

    #[test]
    fn what_is_shown_is_stored_where_it_is_found_again() {
        for records in [
            OverrideStatMode::None,
            OverrideStatMode::Devices,
            OverrideStatMode::All,
        ] {
            for name in [
                "user.a",
                "security.capability",
                "trusted.x",
                "trusted.overlay.redirect",
                "user.overlay.redirect",
                "system.posix_acl_access",
            ] {
                let stored = naming(records).stored(name.as_bytes()).unwrap();
                assert_eq!(shown(stored.to_str().unwrap(), records).unwrap(), name);
            }
        }
    }

    const EVERY: [OverrideStatMode; 6] = [
        OverrideStatMode::None,
        OverrideStatMode::Untrusted,
        OverrideStatMode::Devices,
        OverrideStatMode::All,
        OverrideStatMode::Older,
        OverrideStatMode::Privileged,
    ];

    #[test]
    fn records_of_every_mode_are_hidden_and_refused_in_every_mode() {
        for records in EVERY {
            for name in [
                "user.containers.override_stat",
                "user.containers.override_note",
                "user.fuseoverlayfs.override_stat",
                "user.fuseoverlayfs.opaque",
                "security.fuseoverlayfs.override_stat",
            ] {
                assert_eq!(shown(name, records), None, "{records:?} {name}");
                let stored = naming(records).stored(name.as_bytes());
                assert_eq!(stored, None, "{records:?} {name}");
            }
            // What the superuser's records are called where `security.*` has another name.
            let renamed = "user.containers.override_security.fuseoverlayfs.override_stat";
            assert_eq!(shown(renamed, records), None, "{records:?}");
        }
    }

    #[test]
    fn markers_that_count_are_refused() {
        let other = "user.overlay.opaque";
        let any = Naming {
            marks: XattrTrust::Any,
            ..naming(OverrideStatMode::None)
        };
        assert_eq!(any.stored(other.as_bytes()), None);
        // The mount's own are those of an overlay above, and escaped.
        assert!(any.stored(b"trusted.overlay.opaque").is_some());
        assert!(
            naming(OverrideStatMode::None)
                .stored(other.as_bytes())
                .is_some()
        );
        for mark in ["user.overlay.plyfs.kernel", "trusted.overlay.plyfs.kernel"] {
            assert_eq!(shown(mark, OverrideStatMode::None), None);
        }
        let mark = naming(OverrideStatMode::None).stored(b"user.overlay.plyfs.kernel");
        assert_eq!(mark, None);
    }
}

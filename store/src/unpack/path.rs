//! The path of an entry, made safe.
//!
//! Tools write `etc/passwd`, `./etc/passwd` and `/etc/passwd` for one and the same; all are taken as
//! paths below the root of the layer. `..` takes back the component before it, whatever that is, as
//! in other tools (`path.Clean` of Go); what leads out of the layer so is refused.

use plyfs_format::whiteout::ArchiveName;

use super::fault::Result;
use crate::error::EntryFault;
use crate::values::limits;

/// A path below the root of a layer: components joined by single slashes, none of them empty, `.`
/// or `..`; empty for the root itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntryPath {
    path: Vec<u8>,
    /// Where the last component begins.
    name: usize,
}

impl EntryPath {
    pub(super) fn parse(raw: &[u8]) -> Result<Self> {
        if raw.is_empty() {
            return Err(EntryFault::EmptyName);
        }
        let mut path = Vec::with_capacity(raw.len());
        // Where each component begins.
        let mut starts = Vec::new();
        for component in raw.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => {
                    let start: usize = starts.pop().ok_or(EntryFault::ParentReference)?;
                    path.truncate(start.saturating_sub(1));
                    continue;
                }
                long if long.len() > limits::NAME_BYTES => return Err(EntryFault::NameTooLong),
                _ => {}
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            starts.push(path.len());
            path.extend_from_slice(component);
        }
        if path.len() > limits::PATH_BYTES {
            return Err(EntryFault::NameTooLong);
        }
        let name = starts.last().copied().unwrap_or_default();
        Ok(Self { path, name })
    }

    pub(super) fn is_root(&self) -> bool {
        self.path.is_empty()
    }

    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// The last component.
    pub(super) fn name(&self) -> &[u8] {
        self.path.get(self.name..).unwrap_or_default()
    }

    /// The path of the directory it is in; empty for the root.
    pub(super) fn parent(&self) -> &[u8] {
        let end = self.name.saturating_sub(1);
        self.path.get(..end).unwrap_or_default()
    }

    /// The path with another last component.
    pub(super) fn sibling(&self, name: &[u8]) -> Self {
        let mut path = self.path.get(..self.name).unwrap_or_default().to_vec();
        path.extend_from_slice(name);
        Self {
            path,
            name: self.name,
        }
    }

    /// What the first component before the last one says that begins like a whiteout.
    pub(super) fn reserved_parent(&self) -> Option<ArchiveName<'_>> {
        self.parent()
            .split(|&byte| byte == b'/')
            .map(ArchiveName::parse)
            .find(|name| *name != ArchiveName::Plain)
    }
}

/// The components of a path that has been made safe, each with the path up to and including it.
pub(super) fn steps(path: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut end = 0;
    path.split(|&byte| byte == b'/').map(move |name| {
        let upto = path.get(..end + name.len()).unwrap_or(path);
        end += name.len() + 1;
        (upto, name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_brought_into_one_form() {
        for (raw, path) in [
            ("a", "a"),
            ("a/b", "a/b"),
            ("./a/b", "a/b"),
            ("/a//b/", "a/b"),
            ("a/./b/.", "a/b"),
            (".", ""),
            ("./", ""),
            ("/", ""),
            ("//.", ""),
            ("...", "..."),
            ("a\nb", "a\nb"),
            ("a/../b", "b"),
            ("a/b/../../c/./d", "c/d"),
            ("a/b/..", "a"),
            ("a/..", ""),
        ] {
            let parsed = EntryPath::parse(raw.as_bytes()).unwrap();
            assert_eq!(parsed.path(), path.as_bytes(), "{raw:?}");
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            assert_eq!(
                (parsed.parent(), parsed.name()),
                (parent.as_bytes(), name.as_bytes())
            );
        }
    }

    #[test]
    fn what_leads_out_or_is_too_long_is_refused() {
        let parse = |raw: &str| EntryPath::parse(raw.as_bytes()).unwrap_err();
        assert_eq!(parse(""), EntryFault::EmptyName);
        for raw in ["..", "../x", "a/../..", "a/../../b", "/..", "./../x"] {
            assert_eq!(parse(raw), EntryFault::ParentReference, "{raw}");
        }
        assert_eq!(parse(&"n".repeat(256)), EntryFault::NameTooLong);
        let long = vec!["n".repeat(255); 16].join("/");
        assert_eq!(long.len(), 4095);
        assert!(EntryPath::parse(long.as_bytes()).is_ok());
        assert_eq!(
            parse(&format!("{}/n", &long[..4094])),
            EntryFault::NameTooLong
        );
        let deep = vec!["d"; 2048].join("/");
        assert!(EntryPath::parse(deep.as_bytes()).is_ok());
        assert_eq!(parse(&format!("{deep}/d")), EntryFault::NameTooLong);
    }

    #[test]
    fn a_path_is_walked_step_by_step() {
        let walked: Vec<_> = steps(b"a/bc/d").collect();
        let expected: [(&[u8], &[u8]); 3] = [(b"a", b"a"), (b"a/bc", b"bc"), (b"a/bc/d", b"d")];
        assert_eq!(walked, expected);
    }

    #[test]
    fn a_whiteout_names_its_sibling() {
        let path = EntryPath::parse(b"a/.wh.b").unwrap();
        assert_eq!(path.sibling(b"b").path(), b"a/b");
        let path = EntryPath::parse(b".wh.b").unwrap();
        let sibling = path.sibling(b"b");
        assert_eq!((sibling.parent(), sibling.name()), (&b""[..], &b"b"[..]));
    }

    #[test]
    fn whiteout_names_are_no_directories() {
        let reserved = |raw: &str| {
            let path = EntryPath::parse(raw.as_bytes()).unwrap();
            path.reserved_parent().map(|name| format!("{name:?}"))
        };
        assert_eq!(reserved("a/.wh.b"), None);
        assert_eq!(reserved(".wh..wh.plnk/1.2").as_deref(), Some("Meta"));
        assert!(reserved("a/.wh.b/c").unwrap().starts_with("Whiteout"));
        assert_eq!(reserved(".wh./c").as_deref(), Some("Malformed"));
    }
}

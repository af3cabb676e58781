//! `override_stat`: ownership for those who may not `chown(2)`.
//!
//! A user with a single id cannot give a file to another owner, nor make a device. The record
//! `user.containers.override_stat` on the file says what it should look like instead:
//! `uid:gid:octalmode`, and where the file on disk is not of the type it stands for, `:type`. A
//! symbolic link or a device that needs a record is kept as a regular file, since the kernel allows
//! `user.*` attributes on regular files and directories only; the content of that file is the
//! link's target.
//!
//! The format is that of containers-storage and fuse-overlayfs (`xattr_permissions=2`).

use std::ffi::CStr;
use std::fmt::Write as _;

/// The attribute that holds the record.
pub const XATTR: &str = "user.containers.override_stat";

/// Where fuse-overlayfs keeps the record if it may write `security.*` (`xattr_permissions=1`).
pub const PRIVILEGED: &CStr = c"security.fuseoverlayfs.override_stat";

/// Where older versions of fuse-overlayfs keep it.
pub const OLDER: &CStr = c"user.fuseoverlayfs.override_stat";

/// `security.NAME` is kept as this prefix and `NAME`, for those who may not write `security.*`.
pub const SECURITY_PREFIX: &str = "user.containers.override_security.";

/// The longest record that is read, in bytes; real ones stay under 50.
pub const MAX_LEN: usize = 256;

/// The type of a file, as a record names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link; the target is the content of the regular file on disk.
    Symlink,
    /// A fifo.
    Fifo,
    /// A socket.
    Socket,
    /// A block device with its major and minor number.
    Block(u32, u32),
    /// A character device with its major and minor number.
    Char(u32, u32),
}

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverrideStat {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits with set-uid, set-gid and sticky: at most `0o7777`.
    pub mode: u32,
    /// The type, where the record names one; otherwise it is that of the file on disk.
    pub kind: Option<Kind>,
}

impl OverrideStat {
    /// Reads the value of the attribute. `None` if it is no record.
    ///
    /// A mode with type bits, as some writers leave it, is cut to the permission bits.
    pub fn parse(value: &[u8]) -> Option<Self> {
        if value.len() > MAX_LEN {
            return None;
        }
        let text = str::from_utf8(value).ok()?;
        // Some writers count the terminating NUL.
        let mut fields = text.trim_end_matches('\0').split(':');
        let uid = decimal(fields.next()?)?;
        let gid = decimal(fields.next()?)?;
        let mode = number(fields.next()?, 8)? & 0o7777;
        let kind = match fields.next() {
            None => None,
            Some(kind) => Some(Kind::parse(kind)?),
        };
        match fields.next() {
            None => Some(Self {
                uid,
                gid,
                mode,
                kind,
            }),
            Some(_) => None,
        }
    }

    /// The value to store.
    pub fn format(&self) -> String {
        let mut out = format!("{}:{}:{:o}", self.uid, self.gid, self.mode & 0o7777);
        if let Some(kind) = self.kind {
            out.push(':');
            kind.push_to(&mut out);
        }
        out
    }
}

impl Kind {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "file" => Self::File,
            "dir" => Self::Dir,
            "symlink" => Self::Symlink,
            "pipe" => Self::Fifo,
            "socket" => Self::Socket,
            device => {
                let mut parts = device.split('-');
                let which = parts.next()?;
                let major = decimal(parts.next()?)?;
                let minor = decimal(parts.next()?)?;
                match (which, parts.next()) {
                    ("block", None) => Self::Block(major, minor),
                    ("char", None) => Self::Char(major, minor),
                    _ => return None,
                }
            }
        })
    }

    fn push_to(self, out: &mut String) {
        match self {
            Self::File => out.push_str("file"),
            Self::Dir => out.push_str("dir"),
            Self::Symlink => out.push_str("symlink"),
            Self::Fifo => out.push_str("pipe"),
            Self::Socket => out.push_str("socket"),
            Self::Block(major, minor) => push_device(out, "block", major, minor),
            Self::Char(major, minor) => push_device(out, "char", major, minor),
        }
    }
}

fn push_device(out: &mut String, which: &str, major: u32, minor: u32) {
    // Writing to a String cannot fail.
    write!(out, "{which}-{major}-{minor}").unwrap_or_default();
}

fn decimal(text: &str) -> Option<u32> {
    number(text, 10)
}

/// A number of digits only: `from_str_radix` alone would take a sign.
fn number(text: &str, radix: u32) -> Option<u32> {
    if text.starts_with('+') {
        return None;
    }
    u32::from_str_radix(text, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for kind in [
            None,
            Some(Kind::File),
            Some(Kind::Dir),
            Some(Kind::Symlink),
            Some(Kind::Fifo),
            Some(Kind::Socket),
            Some(Kind::Block(8, 1)),
            Some(Kind::Char(1, 3)),
        ] {
            let record = OverrideStat {
                uid: 33,
                gid: 4_294_967_294,
                mode: 0o6755,
                kind,
            };
            assert_eq!(
                OverrideStat::parse(record.format().as_bytes()),
                Some(record)
            );
        }
    }

    #[test]
    fn records_of_other_writers_are_read() {
        let read = |text: &str| OverrideStat::parse(text.as_bytes());
        assert_eq!(read("0:0:0755").unwrap().mode, 0o755);
        assert_eq!(read("0:0:100755").unwrap().mode, 0o755);
        assert_eq!(read("0:0:755\0").unwrap().mode, 0o755);
        assert_eq!(
            read("0:5:620:char-5-1").unwrap().kind,
            Some(Kind::Char(5, 1))
        );
    }

    #[test]
    fn nonsense_is_no_record() {
        for text in [
            "",
            "0",
            "0:0",
            "0:0:",
            "0:0:8",
            "-1:0:755",
            "+1:0:755",
            "0:0:755:tree",
            "0:0:755:char-1",
            "0:0:755:char-1-2-3",
            "0:0:755:file:x",
            "4294967296:0:755",
            "\u{fffd}",
        ] {
            assert_eq!(OverrideStat::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(OverrideStat::parse(&[b'0'; MAX_LEN + 1]), None);
        assert_eq!(OverrideStat::parse(b"\xff:0:755"), None);
    }
}

//! The header block: 512 bytes of fixed fields.

use super::block::BLOCK;
use super::fault::Fault;
use super::number::{field, signed_field};
use crate::values::Timestamp;

/// One block, read as a header.
pub(super) struct RawHeader<'a>(&'a [u8; BLOCK]);

/// Which fields a header has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// Unix V7: up to the link name only.
    Old,
    /// POSIX: device numbers, and a prefix that goes before the name.
    Ustar,
    /// GNU: device numbers; where ustar has the prefix are times and a sparse map.
    Gnu,
}

impl<'a> RawHeader<'a> {
    /// The block as a header, if its checksum says that it is one.
    pub(super) fn new(block: &'a [u8; BLOCK]) -> Result<Self, Fault> {
        let header = Self(block);
        if header.checksum_holds() {
            Ok(header)
        } else {
            Err(Fault::Checksum)
        }
    }

    /// The sum over all bytes with the checksum's own taken as spaces. Some old writers summed
    /// signed characters.
    fn checksum_holds(&self) -> bool {
        let Ok(expected) = field(self.bytes(148, 8), "checksum") else {
            return false;
        };
        let (mut unsigned, mut signed) = (0_u64, 0_i64);
        for (at, &byte) in self.0.iter().enumerate() {
            let byte = if (148..156).contains(&at) { b' ' } else { byte };
            unsigned += u64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        expected == unsigned || i64::try_from(expected) == Ok(signed)
    }

    /// A field of the block, all of it.
    fn bytes(&self, start: usize, len: usize) -> &'a [u8] {
        self.0.get(start..start + len).unwrap_or_default()
    }

    /// A text field: up to its first NUL or its end.
    fn text(&self, start: usize, len: usize) -> &'a [u8] {
        let bytes = self.bytes(start, len);
        bytes.split(|&byte| byte == 0).next().unwrap_or(bytes)
    }

    fn format(&self) -> Format {
        match self.bytes(257, 8) {
            b"ustar\x0000" => Format::Ustar,
            b"ustar  \0" => Format::Gnu,
            // Some writers get the version wrong; what the magic says counts.
            magic if magic.starts_with(b"ustar\0") => Format::Ustar,
            _ => Format::Old,
        }
    }

    pub(super) fn is_gnu(&self) -> bool {
        self.format() == Format::Gnu
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.bytes(156, 1).first().copied().unwrap_or(0)
    }

    /// The name with its prefix.
    pub(super) fn path(&self) -> Vec<u8> {
        let name = self.text(0, 100);
        let prefix = match self.format() {
            Format::Ustar => self.text(345, 155),
            Format::Old | Format::Gnu => b"",
        };
        if prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, name].join(&b'/')
    }

    pub(super) fn link(&self) -> Vec<u8> {
        self.text(157, 100).to_vec()
    }

    pub(super) fn mode(&self) -> Result<u64, Fault> {
        field(self.bytes(100, 8), "mode")
    }

    pub(super) fn uid(&self) -> Result<u64, Fault> {
        field(self.bytes(108, 8), "uid")
    }

    pub(super) fn gid(&self) -> Result<u64, Fault> {
        field(self.bytes(116, 8), "gid")
    }

    /// The size of the data that follows, in bytes.
    pub(super) fn size(&self) -> Result<u64, Fault> {
        field(self.bytes(124, 12), "size")
    }

    pub(super) fn mtime(&self) -> Result<Timestamp, Fault> {
        signed_field(self.bytes(136, 12), "mtime").map(Timestamp::from_seconds)
    }

    /// Major and minor number of a device.
    pub(super) fn device(&self) -> Result<(u32, u32), Fault> {
        if self.format() == Format::Old {
            return Err(Fault::Number("devmajor"));
        }
        let number = |start, name| {
            u32::try_from(field(self.bytes(start, 8), name)?).map_err(|_| Fault::Range(name))
        };
        Ok((number(329, "devmajor")?, number(337, "devminor")?))
    }

    /// The first four entries of the map of an old GNU sparse file, whether more follow in blocks
    /// of their own, and the size of the file with its holes.
    pub(super) fn gnu_sparse(&self) -> Result<(&'a [u8], bool, u64), Fault> {
        let more = self.bytes(482, 1) != [0];
        Ok((
            self.bytes(386, 96),
            more,
            field(self.bytes(483, 12), "realsize")?,
        ))
    }
}

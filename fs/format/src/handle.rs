//! File handles as the kernel's overlay stores them.
//!
//! What was copied up remembers the lower file it comes from by that file's handle
//! (name_to_handle_at(2)), together with the UUID of its file system. The same bytes, in hexadecimal,
//! are the name of a file in the index. The form is `struct ovl_fb` of `fs/overlayfs/overlayfs.h`:
//!
//! ```text
//! version (0)  magic (0xfb)  length  flags  type  UUID (16 bytes)  handle
//! ```

const VERSION: u8 = 0;
const MAGIC: u8 = 0xfb;
const HEADER: usize = 21;

/// The handle is in big-endian byte order.
const BIG_ENDIAN: u8 = 1 << 0;
/// The byte order does not matter.
const ANY_ENDIAN: u8 = 1 << 1;
/// The file is in the upper layer.
const PATH_UPPER: u8 = 1 << 2;

const THIS_ENDIAN: u8 = if cfg!(target_endian = "big") {
    BIG_ENDIAN
} else {
    0
};

/// The handle of a file in a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHandle {
    /// Whether it is of a file in the upper layer.
    pub upper: bool,
    /// The form of `bytes`, which every file system chooses (`enum fid_type`).
    pub kind: u8,
    /// Of the file system; all zero where it has none.
    pub uuid: [u8; 16],
    /// What the file system knows the file by.
    pub bytes: Vec<u8>,
}

impl FileHandle {
    /// The bytes of a record. `None` for a handle too long to be stored.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let length = u8::try_from(HEADER + self.bytes.len()).ok()?;
        let flags = THIS_ENDIAN | if self.upper { PATH_UPPER } else { 0 };
        let mut record = vec![VERSION, MAGIC, length, flags, self.kind];
        record.extend_from_slice(&self.uuid);
        record.extend_from_slice(&self.bytes);
        Some(record)
    }

    /// Reads a record. `None` for one that says nothing here: it is empty (the origin is unknown),
    /// of another version or byte order, or no such record at all.
    pub fn parse(record: &[u8]) -> Option<Self> {
        let (header, _) = record.split_first_chunk::<HEADER>()?;
        let [version, magic, length, flags, kind, uuid @ ..] = header;
        let known = BIG_ENDIAN | ANY_ENDIAN | PATH_UPPER;
        let readable = flags & ANY_ENDIAN != 0 || flags & BIG_ENDIAN == THIS_ENDIAN;
        if *version > VERSION || *magic != MAGIC || flags & !known != 0 || !readable {
            return None;
        }
        Some(Self {
            upper: flags & PATH_UPPER != 0,
            kind: *kind,
            uuid: *uuid,
            bytes: record.get(HEADER..usize::from(*length))?.to_vec(),
        })
    }
}

/// The name in the index of a file whose origin has this record.
pub fn index_name(record: &[u8]) -> String {
    record.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by Linux 6.18 on ext4.
    const ORIGIN: &str = "00fb1d000100000000000000000000000000000000304099002c26b2d5";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2);
        digits
            .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn what_the_kernel_wrote_is_read_and_written_alike() {
        let record = bytes(ORIGIN);
        let handle = FileHandle::parse(&record).unwrap();
        assert!(!handle.upper);
        assert_eq!(handle.kind, 1);
        assert_eq!(handle.bytes, bytes("304099002c26b2d5"));
        assert_eq!(handle.encode().unwrap(), record);
        assert_eq!(index_name(&record), ORIGIN);
        let upper = bytes("00fb1d0401000000000000000000000000000000002d409900b6624a93");
        assert!(FileHandle::parse(&upper).unwrap().upper);
    }

    #[test]
    fn what_cannot_be_read_is_unknown() {
        let good = bytes(ORIGIN);
        assert_eq!(FileHandle::parse(b""), None);
        for (at, value) in [(0, 1), (1, 0xfa), (2, 0xff), (3, 0x80)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(FileHandle::parse(&bad), None, "byte {at}");
        }
        for length in 0..good.len() {
            assert_eq!(FileHandle::parse(&good[..length]), None);
        }
        let mut other_order = good.clone();
        other_order[3] = BIG_ENDIAN ^ THIS_ENDIAN;
        assert_eq!(FileHandle::parse(&other_order), None);
    }
}

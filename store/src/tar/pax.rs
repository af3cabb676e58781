//! Extended headers: records of `length keyword=value` and a newline, where the length counts the
//! whole record in bytes.

use std::collections::BTreeMap;

use super::fault::Fault;
use super::number::{decimal, time};
use super::sparse::Map;
use crate::values::{Timestamp, limits};

/// What precedes the name of an extended attribute.
const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// What extended headers say, as far as it matters here. `None` where they say nothing or, by an
/// empty value, take back what was said.
#[derive(Debug, Clone, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Timestamp>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) sparse: SparseRecords,
}

/// What GNU tar says of a sparse file.
#[derive(Debug, Clone, Default)]
pub(super) struct SparseRecords {
    /// The version, if the records name one: `major` and `minor`.
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    /// The name of the file; the entry itself has a made-up one in versions 0.1 and 1.0.
    pub(super) name: Option<Vec<u8>>,
    /// The size with holes.
    pub(super) real_size: Option<u64>,
    /// The map of versions 0.0 and 0.1.
    pub(super) map: Map,
    /// An offset of version 0.0 whose length is to come.
    pending: Option<u64>,
    /// Whether any record was there.
    pub(super) present: bool,
}

impl Pax {
    /// Reads the data of an extended header for the next entry.
    pub(super) fn parse(data: &[u8]) -> Result<Self, Fault> {
        let mut pax = Self::default();
        pax.read(data)?;
        if pax.sparse.pending.is_some() {
            return Err(Fault::SparseMap);
        }
        Ok(pax)
    }

    /// Adds the data of a global extended header, which applies to all entries that follow.
    ///
    /// Container tools disregard these headers; POSIX has them apply. What both can live with is
    /// accepted: a global name, size or attribute, which would turn one archive into two different
    /// trees, is refused. So what is kept is three numbers, however many such headers there are.
    pub(super) fn merge_global(&mut self, data: &[u8]) -> Result<(), Fault> {
        self.read(data)?;
        let refused = match self {
            Self { path: Some(_), .. } => "path",
            Self { link: Some(_), .. } => "linkpath",
            Self { size: Some(_), .. } => "size",
            Self { xattrs, .. } if !xattrs.is_empty() => "SCHILY.xattr",
            Self { sparse, .. } if sparse.present => "GNU.sparse",
            _ => return Ok(()),
        };
        Err(Fault::PaxGlobal(refused))
    }

    fn read(&mut self, mut data: &[u8]) -> Result<(), Fault> {
        while !data.is_empty() {
            let (record, rest) = split_record(data).ok_or(Fault::PaxRecord)?;
            let equals = record.iter().position(|&byte| byte == b'=');
            let (keyword, value) = equals
                .and_then(|at| Some((record.get(..at)?, record.get(at + 1..)?)))
                .ok_or(Fault::PaxRecord)?;
            if keyword.is_empty() || keyword.contains(&0) {
                return Err(Fault::PaxRecord);
            }
            self.record(keyword, value)?;
            data = rest;
        }
        Ok(())
    }

    fn record(&mut self, keyword: &[u8], value: &[u8]) -> Result<(), Fault> {
        match keyword {
            b"path" => self.path = name(value)?,
            b"linkpath" => self.link = name(value)?,
            b"size" => self.size = number(value, "size")?,
            b"uid" => self.uid = number(value, "uid")?,
            b"gid" => self.gid = number(value, "gid")?,
            b"mtime" => {
                self.mtime = match value {
                    b"" => None,
                    _ => Some(time(value).ok_or(Fault::PaxValue("mtime"))?),
                }
            }
            _ => {
                if let Some(attribute) = keyword.strip_prefix(XATTR_PREFIX) {
                    self.xattr(attribute, value)?;
                } else if let Some(sparse) = keyword.strip_prefix(b"GNU.sparse.") {
                    self.sparse.record(sparse, value)?;
                }
                // Everything else (times, comments, character sets) changes nothing that is
                // written: names are bytes here.
            }
        }
        Ok(())
    }

    fn xattr(&mut self, attribute: &[u8], value: &[u8]) -> Result<(), Fault> {
        if attribute.is_empty() {
            return Err(Fault::PaxRecord);
        }
        if attribute.len() > limits::XATTR_NAME_BYTES || value.len() > limits::XATTR_BYTES {
            return Err(Fault::XattrTooLong(attribute.to_vec()));
        }
        self.xattrs.insert(attribute.to_vec(), value.to_vec());
        Ok(())
    }
}

impl SparseRecords {
    fn record(&mut self, keyword: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.present = true;
        let number = || decimal(value).ok_or(Fault::PaxValue("GNU.sparse"));
        match keyword {
            b"major" => self.major = Some(number()?),
            b"minor" => self.minor = Some(number()?),
            b"name" => self.name = name(value)?,
            b"size" | b"realsize" => self.real_size = Some(number()?),
            b"map" => self.map.push_list(value)?,
            b"offset" => {
                let before = self.pending.replace(number()?);
                if before.is_some() {
                    return Err(Fault::SparseMap);
                }
            }
            b"numbytes" => {
                let offset = self.pending.take().ok_or(Fault::SparseMap)?;
                self.map.push(offset, number()?)?;
            }
            // `numblocks` only counts the others; no reader checks it.
            _ => {}
        }
        Ok(())
    }
}

/// A record without its length and its newline, and what follows it.
fn split_record(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = data.iter().take(20).position(|&byte| byte == b' ')?;
    let len = usize::try_from(decimal(data.get(..space)?)?).ok()?;
    let (record, rest) = data.split_at_checked(len)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    Some((record, rest))
}

/// A name: no NUL in it; nothing if it is empty.
fn name(value: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    if value.contains(&0) {
        return Err(Fault::NulInName);
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

fn number(value: &[u8], keyword: &'static str) -> Result<Option<u64>, Fault> {
    if value.is_empty() {
        return Ok(None);
    }
    decimal(value).map(Some).ok_or(Fault::PaxValue(keyword))
}

/// Adds `length keyword=value` and a newline; the length counts its own digits.
pub(super) fn push_record(records: &mut Vec<u8>, keyword: &[u8], value: &[u8]) {
    let rest = keyword.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    records.extend_from_slice(len.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(keyword);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records<const N: usize>(pairs: [(&str, &str); N]) -> Vec<u8> {
        let mut records = Vec::new();
        for (keyword, value) in pairs {
            push_record(&mut records, keyword.as_bytes(), value.as_bytes());
        }
        records
    }

    #[test]
    fn the_length_of_a_record_counts_itself() {
        for value in 80..120 {
            let mut records = Vec::new();
            push_record(&mut records, b"path", &b"v".repeat(value));
            let text = String::from_utf8(records.clone()).unwrap();
            let len: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(len, records.len());
        }
    }

    #[test]
    fn records_are_read() {
        let pax = Pax::parse(&records([
            ("path", "a/b"),
            ("size", "1234567"),
            ("uid", "7"),
            ("gid", "8"),
            ("mtime", "12.500"),
            ("SCHILY.xattr.user.x", "a\0\n8 b=\n"),
            ("comment", "whatever"),
        ]))
        .unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"a/b"[..]));
        assert_eq!(pax.size, Some(1_234_567));
        assert_eq!((pax.uid, pax.gid), (Some(7), Some(8)));
        assert_eq!(pax.mtime.unwrap().nanoseconds, 500_000_000);
        assert_eq!(pax.xattrs[&b"user.x"[..]], b"a\0\n8 b=\n");
    }

    #[test]
    fn the_last_of_two_records_counts_and_an_empty_one_takes_back() {
        let pax = Pax::parse(&records([("path", "a"), ("path", "b")])).unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"b"[..]));
        let pax = Pax::parse(&records([("path", "a"), ("path", "")])).unwrap();
        assert_eq!(pax.path, None);
    }

    #[test]
    fn broken_records_are_refused() {
        assert!(Pax::parse(b"12 path=a/b\n").is_ok());
        for data in [
            &b"12 path=a/b"[..],
            b"13 path=a/b\n",
            b"11 path=a/b\n",
            b"path=a/b\n",
            b" path=a/b\n",
            b"-12 path=a/b\n",
            b"+12 path=a/b\n",
            b"0 path=a/b\n",
            b"3 \n",
            b"11 noequal\n",
            b"12 =nothing\n",
            b"12 a\0b=cde\n",
            b"999999999999999999999 path=a\n",
            b"18446744073709551616 path=a\n",
            b"5 a=\n\0\0\0",
        ] {
            assert_eq!(Pax::parse(data).unwrap_err(), Fault::PaxRecord, "{data:?}");
        }
    }

    #[test]
    fn impossible_values_are_refused() {
        for (keyword, value, fault) in [
            ("path", "a\0b", Fault::NulInName),
            ("linkpath", "\0", Fault::NulInName),
            ("size", "-1", Fault::PaxValue("size")),
            ("size", "0x1", Fault::PaxValue("size")),
            ("size", "18446744073709551616", Fault::PaxValue("size")),
            ("uid", "1.0", Fault::PaxValue("uid")),
            ("mtime", "now", Fault::PaxValue("mtime")),
            ("SCHILY.xattr.", "x", Fault::PaxRecord),
            ("GNU.sparse.numbytes", "1", Fault::SparseMap),
            ("GNU.sparse.offset", "1", Fault::SparseMap),
            ("GNU.sparse.map", "1,2,3", Fault::SparseMap),
        ] {
            let data = records([(keyword, value)]);
            assert_eq!(Pax::parse(&data).unwrap_err(), fault, "{keyword}={value:?}");
        }
    }

    #[test]
    fn large_attributes_are_refused() {
        let record = |attribute: &str, value: usize| {
            records([(&*format!("SCHILY.xattr.{attribute}"), &*"v".repeat(value))])
        };
        assert!(Pax::parse(&record("user.x", 65536)).is_ok());
        let name = "n".repeat(256);
        for data in [record("user.x", 65537), record(&name, 1)] {
            assert!(matches!(Pax::parse(&data), Err(Fault::XattrTooLong(_))));
        }
    }

    #[test]
    fn a_global_header_may_not_rename() {
        let mut globals = Pax::default();
        let harmless = records([("comment", "x"), ("uid", "7")]);
        globals.merge_global(&harmless).unwrap();
        assert_eq!(globals.uid, Some(7));
        for (keyword, value, what) in [
            ("path", "a", "path"),
            ("linkpath", "a", "linkpath"),
            ("size", "1", "size"),
            ("SCHILY.xattr.user.x", "1", "SCHILY.xattr"),
            ("GNU.sparse.major", "1", "GNU.sparse"),
        ] {
            let mut globals = Pax::default();
            let merged = globals.merge_global(&records([(keyword, value)]));
            assert_eq!(merged, Err(Fault::PaxGlobal(what)));
        }
    }
}

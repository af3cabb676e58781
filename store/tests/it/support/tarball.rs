//! Archives made byte by byte, so that they can be wrong. This is not the writer of the store: it
//! is what that one and the reader are checked against.

use std::fmt::Write as _;

const BLOCK: usize = 512;

/// One header, to be bent before it is sealed.
#[derive(Clone)]
pub(crate) struct Header([u8; BLOCK]);

impl Header {
    pub(crate) fn new(name: impl AsRef<[u8]>, flag: u8) -> Self {
        let mut header = Self([0; BLOCK]);
        header
            .put(0, name.as_ref())
            .mode(if flag == b'5' { 0o755 } else { 0o644 })
            .owner(0, 0)
            .size(0)
            .put(136, b"00000000000\0")
            .put(156, &[flag])
            .put(257, b"ustar\x0000");
        header
    }

    pub(crate) fn put(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(crate) fn mode(&mut self, mode: u32) -> &mut Self {
        self.put(100, format!("{mode:07o}\0").as_bytes())
    }

    pub(crate) fn owner(&mut self, uid: u32, gid: u32) -> &mut Self {
        self.put(108, format!("{uid:07o}\0{gid:07o}\0").as_bytes())
    }

    pub(crate) fn size(&mut self, size: u64) -> &mut Self {
        self.put(124, format!("{size:011o}\0").as_bytes())
    }

    pub(crate) fn mtime(&mut self, mtime: u64) -> &mut Self {
        self.put(136, format!("{mtime:011o}\0").as_bytes())
    }

    pub(crate) fn link(&mut self, target: impl AsRef<[u8]>) -> &mut Self {
        self.put(157, target.as_ref())
    }

    pub(crate) fn device(&mut self, major: u32, minor: u32) -> &mut Self {
        self.put(329, format!("{major:07o}\0{minor:07o}\0").as_bytes())
    }

    fn sealed(&self) -> [u8; BLOCK] {
        let mut block = self.0;
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().copied().map(u32::from).sum();
        let mut text = String::new();
        write!(text, "{sum:06o}\0").unwrap();
        block[148..155].copy_from_slice(text.as_bytes());
        block
    }
}

/// An archive in the making.
#[derive(Clone, Default)]
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Bytes as they are.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn header(self, header: &Header) -> Self {
        self.raw(&header.sealed())
    }

    /// Data, filled up to whole blocks.
    pub(crate) fn data(mut self, data: &[u8]) -> Self {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    pub(crate) fn entry(self, header: &Header, data: &[u8]) -> Self {
        let mut header = header.clone();
        header.size(data.len() as u64);
        self.header(&header).data(data)
    }

    pub(crate) fn dir(self, name: impl AsRef<[u8]>) -> Self {
        self.header(&Header::new(name, b'5'))
    }

    pub(crate) fn file(self, name: impl AsRef<[u8]>, data: &[u8]) -> Self {
        self.entry(&Header::new(name, b'0'), data)
    }

    pub(crate) fn symlink(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.long_link(target.as_ref())
            .header(&link(name, b'2', target))
    }

    pub(crate) fn hard_link(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.long_link(target.as_ref())
            .header(&link(name, b'1', target))
    }

    pub(crate) fn device(self, name: &str, flag: u8, major: u32, minor: u32) -> Self {
        self.header(Header::new(name, flag).device(major, minor))
    }

    /// The target of the next link, where it does not fit into a header.
    fn long_link(self, target: &[u8]) -> Self {
        match target.len() {
            0..=100 => self,
            _ => self.pax(&[(b"linkpath", target)]),
        }
    }

    /// An extended header for the next entry.
    pub(crate) fn pax(self, records: &[(&[u8], &[u8])]) -> Self {
        let data: Vec<u8> = records
            .iter()
            .flat_map(|(key, value)| pax_record(key, value))
            .collect();
        self.entry(&Header::new("pax", b'x'), &data)
    }

    /// The archive with its end.
    pub(crate) fn end(self) -> Vec<u8> {
        self.raw(&[0; 2 * BLOCK]).0
    }

    /// The archive without an end.
    pub(crate) fn cut(self) -> Vec<u8> {
        self.0
    }
}

fn link(name: impl AsRef<[u8]>, flag: u8, target: impl AsRef<[u8]>) -> Header {
    let mut header = Header::new(name, flag);
    let target = target.as_ref();
    header.mode(0o777).link(&target[..target.len().min(100)]);
    header
}

pub(crate) fn pax_record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let len = (rest + 1..)
        .find(|len| rest + len.to_string().len() == *len)
        .unwrap();
    [len.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

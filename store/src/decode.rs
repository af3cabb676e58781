//! Decompression.
//!
//! The formats are decoded in this process, never by a helper program (CVE-2019-14271), and with a
//! bound on memory: gzip has a window of 32 KiB, and zstd frames that ask for more than
//! [`limits::ZSTD_WINDOW_LOG`] are refused. Several gzip members or zstd frames after one another
//! are one stream, as their formats say; anything else after the first is an error.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;

use crate::limits;
use crate::oci::Compression;

/// A stream that is decompressed while it is read.
pub(crate) enum Decoder<R: BufRead> {
    Plain(R),
    Gzip(Box<MultiGzDecoder<R>>),
    Zstd(zstd::stream::read::Decoder<'static, R>),
}

impl<R: BufRead> Decoder<R> {
    pub(crate) fn new(input: R, compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(input),
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(input))),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
                decoder.window_log_max(limits::ZSTD_WINDOW_LOG)?;
                Self::Zstd(decoder)
            }
        })
    }

    /// The compressed stream again.
    pub(crate) fn into_inner(self) -> R {
        match self {
            Self::Plain(input) => input,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.into_inner(),
        }
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(input) => input.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

/// The first bytes of a stream, which stay in it: enough to tell the formats apart, unless the
/// stream is shorter.
pub(crate) fn peek(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let bytes = input.fill_buf()?;
    Ok(bytes.iter().take(4).copied().collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(bytes, 1).unwrap()
    }

    fn decode(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let compression = Compression::of_magic(bytes);
        let mut out = Vec::new();
        Decoder::new(bytes, compression)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn streams_are_decoded_to_their_end() {
        for (bytes, text) in [
            (b"plain".to_vec(), "plain"),
            (gzip(b"one"), "one"),
            (zstd(b"one"), "one"),
            ([gzip(b"one"), gzip(b"two")].concat(), "onetwo"),
            ([zstd(b"one"), zstd(b"two")].concat(), "onetwo"),
            // A skippable frame of three bytes, as zstd:chunked has one at its end.
            (
                [&zstd(b"one")[..], b"\x50\x2a\x4d\x18\x03\0\0\0abc"].concat(),
                "one",
            ),
        ] {
            assert_eq!(decode(&bytes).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn broken_streams_are_errors() {
        for good in [gzip(&[7; 5000]), zstd(&[7; 5000])] {
            for garbage in [&b"x"[..], b"garbage after the end", &[0; 512]] {
                assert!(
                    decode(&[&good[..], garbage].concat()).is_err(),
                    "{garbage:?}"
                );
            }
            for cut in [good.len() - 1, good.len() - 5, good.len() / 2, 5] {
                assert!(decode(&good[..cut]).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_zstd_window_is_bounded() {
        // Magic, a frame header without content size, and a window of 2 GiB and more; then a last
        // block with one raw byte.
        let frame = |window: u8| {
            let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, window];
            frame.extend([0x09, 0, 0, b'x']);
            frame
        };
        assert_eq!(decode(&frame(17 << 3)).unwrap(), b"x"); // 2^27
        assert!(decode(&frame(18 << 3)).is_err());
        assert!(decode(&frame(0xff)).is_err());
    }
}

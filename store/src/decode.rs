//! Decompression.
//!
//! The formats are decoded in this process, never by a helper program (CVE-2019-14271), and with a
//! bound on memory: gzip has a window of 32 KiB, bzip2 blocks of 900 kB, and zstd frames and xz
//! streams that ask for more than [`limits::ZSTD_WINDOW_LOG`] and [`limits::XZ_MEMORY`] are refused.
//! Several gzip members, zstd frames, xz or bzip2 streams after one another are one stream, as their
//! formats say; anything else after the first is an error.

use std::io::{self, BufRead, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use crate::oci::{Compression, layer_media_type};
use crate::values::limits;

/// How many bytes of a blob it takes to tell its format.
pub(crate) const MAGIC: usize = 10;

/// The form of a blob or an archive that is read, as its first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Not compressed.
    Plain,
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
    /// xz ("The .xz File Format", version 1.2.1).
    Xz,
    Bzip2,
}

impl Format {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "uncompressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
        }
    }

    /// What the first [`MAGIC`] bytes say. A zstd blob may begin with a skippable frame. The magic of
    /// bzip2 could begin a file name, so that of its first block, or of its end, must follow.
    pub(crate) fn of_magic(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [
                b'B',
                b'Z',
                b'h',
                b'1'..=b'9',
                0x31,
                0x41,
                0x59,
                0x26,
                0x53,
                0x59,
                ..,
            ]
            | [
                b'B',
                b'Z',
                b'h',
                b'1'..=b'9',
                0x17,
                0x72,
                0x45,
                0x38,
                0x50,
                0x90,
                ..,
            ] => Self::Bzip2,
            _ => Self::Plain,
        }
    }

    /// The media type for a layer of this form. None is defined for xz and bzip2; with that of a plain
    /// archive other tools look at the first bytes, as this one does.
    pub(crate) fn media_type(self) -> String {
        layer_media_type(match self {
            Self::Plain | Self::Xz | Self::Bzip2 => Compression::None,
            Self::Gzip => Compression::Gzip,
            Self::Zstd => Compression::Zstd,
        })
    }
}

/// A stream that is decompressed while it is read.
pub(crate) enum Decoder<R: BufRead> {
    Plain(R),
    Gzip(Box<MultiGzDecoder<R>>),
    Zstd(zstd::stream::read::Decoder<'static, R>),
    Xz(XzDecoder<R>),
    Bzip2(MultiBzDecoder<R>),
}

impl<R: BufRead> Decoder<R> {
    pub(crate) fn new(input: R, format: Format) -> io::Result<Self> {
        Ok(match format {
            Format::Plain => Self::Plain(input),
            Format::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(input))),
            Format::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
                decoder.window_log_max(limits::ZSTD_WINDOW_LOG)?;
                Self::Zstd(decoder)
            }
            Format::Xz => {
                let stream = Stream::new_stream_decoder(limits::XZ_MEMORY, CONCATENATED)?;
                Self::Xz(XzDecoder::new_stream(input, stream))
            }
            Format::Bzip2 => Self::Bzip2(MultiBzDecoder::new(input)),
        })
    }

    /// The compressed stream again.
    pub(crate) fn into_inner(self) -> R {
        match self {
            Self::Plain(input) => input,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.into_inner(),
            Self::Xz(decoder) => decoder.into_inner(),
            Self::Bzip2(decoder) => decoder.into_inner(),
        }
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(input) => input.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
            Self::Xz(decoder) => decoder.read(buffer),
            Self::Bzip2(decoder) => decoder.read(buffer),
        }
    }
}

/// The first bytes of a stream, which stay in it: enough to tell the formats apart, unless the
/// stream is shorter.
pub(crate) fn peek(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let bytes = input.fill_buf()?;
    Ok(bytes.iter().take(MAGIC).copied().collect())
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

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn bzip2(bytes: &[u8]) -> Vec<u8> {
        let level = bzip2::Compression::fast();
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), level);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn decode(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let format = Format::of_magic(bytes);
        let mut out = Vec::new();
        Decoder::new(bytes, format)?.read_to_end(&mut out)?;
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
            (xz(b"one"), "one"),
            (xz(b""), ""),
            ([xz(b"one"), xz(b"two")].concat(), "onetwo"),
            (bzip2(b"one"), "one"),
            (bzip2(b""), ""),
            ([bzip2(b"one"), bzip2(b"two")].concat(), "onetwo"),
            (b"BZh91AY is a name".to_vec(), "BZh91AY is a name"),
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
        let data = [7; 5000];
        for good in [gzip(&data), zstd(&data), xz(&data), bzip2(&data)] {
            // xz streams may be padded with zeros, four at a time.
            let zeros = &[0; 511];
            for garbage in [&b"x"[..], b"garbage after the end", zeros] {
                assert!(
                    decode(&[&good[..], garbage].concat()).is_err(),
                    "{garbage:?}"
                );
            }
            for cut in [good.len() - 1, good.len() - 5, good.len() / 2, MAGIC] {
                assert!(decode(&good[..cut]).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn the_memory_of_xz_is_bounded() {
        let mut options = liblzma::stream::LzmaOptions::new_preset(0).unwrap();
        let mut packed = |dict: u32| {
            options.dict_size(dict);
            let mut filters = liblzma::stream::Filters::new();
            filters.lzma2(&options);
            let stream = Stream::new_stream_encoder(&filters, liblzma::stream::Check::Crc64);
            let out = Vec::new();
            let mut encoder = liblzma::write::XzEncoder::new_stream(out, stream.unwrap());
            encoder.write_all(b"x").unwrap();
            encoder.finish().unwrap()
        };
        // The largest that `xz -9` asks for, and the largest of all.
        assert_eq!(decode(&packed(64 << 20)).unwrap(), b"x");
        assert!(decode(&packed(1536 << 20)).is_err());
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

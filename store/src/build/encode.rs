//! From a layer to its blob.

use std::io::{self, Read, Write};

use super::Layer;
use crate::decode::{Decoder, Format};
use crate::digest::Hasher;
use crate::tar::Writer;
use crate::{Compression, Digest};

/// A layer as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedLayer {
    /// The archive, compressed.
    pub blob: Vec<u8>,
    /// How it is compressed.
    pub compression: Compression,
    /// SHA-256 of the blob.
    pub digest: Digest,
    /// SHA-256 of the archive before compression.
    pub diff_id: Digest,
}

impl EncodedLayer {
    /// Takes an archive as it is, whatever is in it, and compresses it.
    ///
    /// # Errors
    /// Those of the compressor.
    pub fn from_archive(archive: &[u8], compression: Compression) -> io::Result<Self> {
        Self::encode(compression, |out| out.write_all(archive))
    }

    /// Writes the archive of a layer and compresses it.
    ///
    /// # Errors
    /// `InvalidInput` for what no archive can hold, and those of the compressor.
    pub fn from_layer(layer: &Layer, compression: Compression) -> io::Result<Self> {
        Self::encode(compression, |out| write_layer(layer, out))
    }

    /// The archive without its compression.
    pub(super) fn archive(&self) -> io::Result<Vec<u8>> {
        let mut archive = Vec::new();
        Decoder::new(&self.blob[..], Format::of_magic(&self.blob))?.read_to_end(&mut archive)?;
        Ok(archive)
    }

    fn encode(
        compression: Compression,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Self> {
        let mut out = Hashing::new(Encoder::new(compression)?);
        write(&mut out)?;
        let (encoder, diff_id) = out.finish();
        let blob = encoder.finish()?;
        Ok(Self {
            digest: Digest::of(&blob),
            blob,
            compression,
            diff_id,
        })
    }
}

/// Writes the archive of a layer.
fn write_layer(layer: &Layer, out: &mut dyn Write) -> io::Result<()> {
    let mut writer = Writer::new(out);
    for entry in &layer.entries {
        let (header, mut data) = entry.parts();
        writer.append(&header, &mut data)?;
    }
    writer.finish()?;
    Ok(())
}

/// Passes on what is written, and hashes it.
struct Hashing<W> {
    inner: W,
    hasher: Hasher,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hasher: Hasher::new(),
        }
    }

    fn finish(self) -> (W, Digest) {
        (self.inner, self.hasher.finish())
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Compresses what is written.
enum Encoder {
    None(Vec<u8>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    fn new(compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::None(Vec::new()),
            // No name and no time in the header: the same input gives the same blob.
            Compression::Gzip => Self::Gzip(flate2::write::GzEncoder::new(
                Vec::new(),
                flate2::Compression::default(),
            )),
            Compression::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(
                Vec::new(),
                zstd::DEFAULT_COMPRESSION_LEVEL,
            )?),
        })
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::None(bytes) => Ok(bytes),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl Write for Encoder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(out) => out.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::None(out) => out.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Entry;
    use super::*;

    #[test]
    fn the_same_layer_gives_the_same_blob() {
        let layer = Layer::new([Entry::dir("a"), Entry::file("a/b", b"content").owner(5, 6)]);
        let mut diff_ids = Vec::new();
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let encoded = EncodedLayer::from_layer(&layer, compression).unwrap();
            assert_eq!(
                encoded,
                EncodedLayer::from_layer(&layer, compression).unwrap()
            );
            assert_eq!(
                Format::of_magic(&encoded.blob).media_type(),
                crate::oci::layer_media_type(compression)
            );
            diff_ids.push(encoded.diff_id);
        }
        diff_ids.dedup();
        // The digest is part of the format of what was written before.
        assert_eq!(
            diff_ids,
            [
                "sha256:9feec0e5b1f47781dec535bdb80e3509f3be946dd1172646843af2c41c7f3faa"
                    .parse()
                    .unwrap()
            ]
        );
    }
}

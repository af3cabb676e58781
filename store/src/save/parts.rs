//! What is saved of an image, and how its bytes are copied.

use std::io::{self, BufReader, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::decode::Decoder;
use crate::disk::{Content, Store, blob_label, read_error, size_error};
use crate::error::{BlobError, Context, Error, Result};
use crate::oci::{Descriptor, Manifest};
use crate::progress::{Event, Progress};
use crate::source::Source;
use crate::values::{Digest, Hashed, ImageName, LATEST, is_layout_ref, is_tag, limits};

/// An image that is to be saved: its documents, verified.
pub(super) struct Parts<'s> {
    pub(super) store: &'s Store,
    pub(super) told: Told<'s>,
    pub(super) name: ImageName,
    pub(super) descriptor: Descriptor,
    pub(super) manifest: Manifest,
    pub(super) manifest_bytes: Vec<u8>,
    pub(super) config_bytes: Vec<u8>,
}

/// Reports how far saving is.
pub(super) struct Told<'p> {
    pub(super) progress: &'p dyn Progress,
    pub(super) bytes: AtomicU64,
    pub(super) total: u64,
}

impl<'p> Told<'p> {
    pub(super) fn new(progress: &'p dyn Progress, manifest: &Manifest) -> Self {
        Self {
            progress,
            bytes: AtomicU64::new(0),
            total: manifest.layers.iter().map(|layer| layer.size).sum(),
        }
    }

    pub(super) fn read(&self, count: u64) {
        let bytes = self.bytes.fetch_add(count, Ordering::Relaxed) + count;
        let total = self.total;
        self.progress.event(&Event::Saved { bytes, total });
    }
}

impl Parts<'_> {
    /// The name in a layout: what was asked for, else the tag.
    pub(super) fn ref_name(&self, target: &Source) -> Result<String> {
        let tag = || self.name.as_str().rsplit_once(':').map(|(_, tag)| tag);
        let wanted = target.tag.as_deref().or_else(tag).unwrap_or(LATEST);
        // A name in a layout may be a tag alone, with more in it than a tag of a registry has.
        if is_tag(wanted) || is_layout_ref(wanted) {
            Ok(wanted.to_owned())
        } else {
            Ok(wanted.parse::<ImageName>()?.into())
        }
    }

    /// The documents with their digests.
    pub(super) fn documents(&self) -> [(Digest, &[u8]); 2] {
        [
            (self.descriptor.digest, &self.manifest_bytes),
            (self.manifest.config.digest, &self.config_bytes),
        ]
    }

    /// The layers, each once.
    pub(super) fn layers(&self) -> Vec<&Descriptor> {
        let mut layers: Vec<&Descriptor> = Vec::new();
        for layer in &self.manifest.layers {
            if !layers.iter().any(|known| known.digest == layer.digest) {
                layers.push(layer);
            }
        }
        layers
    }

    /// The blob of a layer.
    pub(super) fn open(&self, layer: &Descriptor) -> Result<Content> {
        let label = blob_label(&layer.digest);
        let content = self.store.blob(&layer.digest)?;
        let content = content.ok_or_else(|| BlobError::Missing {
            blob: label.clone(),
        })?;
        if content.len() == layer.size {
            Ok(content)
        } else {
            Err(size_error(&label, layer.size, content.len()).into())
        }
    }
}

/// A blob, or what it decompresses to, as a stream that knows what went through it.
pub(super) struct Stream<'p> {
    pub(super) reader: ContentReader<'p>,
    pub(super) sum: Hashed<io::Sink>,
}

pub(super) struct ContentReader<'p> {
    pub(super) told: &'p Told<'p>,
    pub(super) content: Content,
    pub(super) position: u64,
    pub(super) fault: Option<Error>,
    pub(super) label: String,
}

impl Read for ContentReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.content.read_at(self.position, buffer) {
            Ok(count) => {
                self.position += count as u64;
                self.told.read(count as u64);
                Ok(count)
            }
            Err(errno) => {
                self.fault = Some(read_error(&self.label, errno).into());
                Err(errno.into())
            }
        }
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.sum
            .write_all(buffer.get(..count).unwrap_or_default())?;
        Ok(count)
    }
}

impl<'p> Stream<'p> {
    pub(super) fn new(parts: &'p Parts<'_>, layer: &Descriptor) -> Result<Self> {
        let (content, digest) = (parts.open(layer)?, &layer.digest);
        Ok(Self {
            reader: ContentReader {
                told: &parts.told,
                content,
                position: 0,
                fault: None,
                label: blob_label(digest),
            },
            sum: Hashed::new(io::sink()),
        })
    }

    /// Reads what is left, and compares all of it with its digest.
    pub(super) fn verify(mut self, digest: &Digest) -> Result<()> {
        let rest = io::copy(&mut self, &mut io::sink());
        if let Some(fault) = self.reader.fault {
            return Err(fault);
        }
        rest.context("read", &PathBuf::from(&self.reader.label))?;
        let (_, actual, _) = self.sum.finish();
        compare(&self.reader.label, digest, actual)
    }
}

pub(super) fn compare(label: &str, expected: &Digest, actual: Digest) -> Result<()> {
    if actual == *expected {
        Ok(())
    } else {
        Err(BlobError::Corrupt {
            blob: label.to_owned(),
            actual,
        }
        .into())
    }
}

/// Hands the blob of a layer to `write`, and makes sure that it was what its digest says.
pub(super) fn copy_blob(
    parts: &Parts<'_>,
    layer: &Descriptor,
    write: impl FnOnce(&mut dyn Read) -> Result<()>,
) -> Result<()> {
    let mut stream = Stream::new(parts, layer)?;
    let written = write(&mut stream);
    match stream.reader.fault.take() {
        Some(fault) => Err(fault),
        None => {
            written?;
            stream.verify(&layer.digest)
        }
    }
}

/// Hands the archive of a layer, decompressed, to `write`, and makes sure that both the blob and what
/// came out of it were what their digests say.
pub(super) fn copy_archive(
    parts: &Parts<'_>,
    layer: &Descriptor,
    diff_id: &Digest,
    write: impl FnOnce(&mut dyn Read) -> Result<()>,
) -> Result<()> {
    let label = blob_label(&layer.digest);
    let stream = Stream::new(parts, layer)?;
    let format = stream.reader.content.format(&label)?;
    let input = BufReader::with_capacity(limits::BUFFER, stream);
    let decoder = Decoder::new(input, format);
    let decoder = decoder.context("decompress", &PathBuf::from(&label))?;
    let mut archive = Archive {
        decoder,
        sum: Hashed::new(io::sink()),
    };
    let mut written = write(&mut archive);
    if written.is_ok() {
        let rest = io::copy(&mut archive, &mut io::sink());
        written = rest.map(drop).context("decompress", &PathBuf::from(&label));
    }
    let mut stream = archive.decoder.into_inner().into_inner();
    if let Some(fault) = stream.reader.fault.take() {
        return Err(fault);
    }
    // First: what is damaged cannot be decompressed either.
    if let Err(error @ Error::Blob(_)) = stream.verify(&layer.digest) {
        return Err(error);
    }
    written?;
    let (_, actual, _) = archive.sum.finish();
    compare(&label, diff_id, actual)
}

pub(super) struct Archive<'p> {
    pub(super) decoder: Decoder<BufReader<Stream<'p>>>,
    pub(super) sum: Hashed<io::Sink>,
}

impl Read for Archive<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(buffer)?;
        self.sum
            .write_all(buffer.get(..count).unwrap_or_default())?;
        Ok(count)
    }
}

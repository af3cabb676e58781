//! A blob as a stream that is hashed, and kept if need be, while it is read.

use std::io::{self, BufRead, Read};

use super::keep::Keeper;
use super::layer_blob::LayerBlob;
use crate::disk::{Content, Download, read_error, size_error};
use crate::error::{BlobError, Error, Result};
use crate::values::{Digest, Hasher, limits};

/// Told how far the reading has come, in bytes; says whether to go on.
pub(super) type Watch<'a> = dyn Fn(u64) -> bool + Sync + 'a;

/// What a stream reads.
#[derive(Clone, Copy)]
pub(super) enum Input<'a> {
    Here(&'a Content),
    Coming(&'a Download),
}

impl Input<'_> {
    /// The length, in bytes.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Here(content) => content.len(),
            Self::Coming(download) => download.len(),
        }
    }
}

/// The compressed stream of a layer.
pub(super) struct BlobStream<'a> {
    label: &'a str,
    input: &'a Input<'a>,
    position: u64,
    hasher: Hasher,
    /// Where it is kept.
    keeper: Option<Keeper<'a>>,
    watch: &'a Watch<'a>,
    buffer: Vec<u8>,
    ready: std::ops::Range<usize>,
    /// Why the stream broke off; readers of this kind can only pass on an [`io::Error`].
    fault: Option<Error>,
}

impl<'a> BlobStream<'a> {
    pub(super) fn new(
        label: &'a str,
        input: &'a Input<'a>,
        keeper: Option<Keeper<'a>>,
        watch: &'a Watch<'a>,
    ) -> Self {
        Self {
            label,
            input,
            position: 0,
            hasher: Hasher::new(),
            keeper,
            watch,
            buffer: vec![0; limits::BUFFER],
            ready: 0..0,
            fault: None,
        }
    }

    /// Reads what is left, and makes sure that all of it was what the digest promises. Returns the
    /// digest, and the blob that was kept if it is another one.
    ///
    /// If `complete` is false the rest is not kept, since the layer is lost anyway; it is read to
    /// tell damage on the way, which matters most, from what was wrong from the beginning.
    pub(super) fn finish(
        mut self,
        expected: Option<&Digest>,
        complete: bool,
    ) -> Result<(Digest, Option<LayerBlob>)> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if !complete {
            self.keeper = None;
        }
        self.ready = 0..0;
        loop {
            self.read_more()?;
            if self.ready.is_empty() {
                break;
            }
        }
        if self.position != self.input.len() {
            return Err(size_error(self.label, self.input.len(), self.position).into());
        }
        let actual = self.hasher.finish();
        if expected.is_some_and(|expected| *expected != actual) {
            let blob = self.label.to_owned();
            return Err(BlobError::Corrupt { blob, actual }.into());
        }
        let kept = match self.keeper {
            Some(keeper) => keeper.finish()?,
            None => None,
        };
        Ok((actual, kept))
    }

    /// What comes ends with some error when the user asks for an end.
    fn interrupted_or(&self, error: Error) -> Error {
        match (self.watch)(self.position) {
            true => error,
            false => Error::Interrupted,
        }
    }

    fn read_more(&mut self) -> Result<()> {
        if !(self.watch)(self.position) {
            return Err(Error::Interrupted);
        }
        let count = match self.input {
            Input::Here(content) => {
                let read = content.read_at(self.position, &mut self.buffer);
                read.map_err(|errno| read_error(self.label, errno))?
            }
            Input::Coming(download) => {
                let read = download.read_at(self.position, &mut self.buffer);
                read.map_err(|error| self.interrupted_or(error))?
            }
        };
        self.ready = 0..count;
        self.position += count as u64;
        let bytes = self.buffer.get(..count).unwrap_or_default();
        self.hasher.update(bytes);
        if let Some(keeper) = &mut self.keeper {
            keeper.write(bytes)?;
        }
        Ok(())
    }
}

impl BufRead for BlobStream<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.ready.is_empty()
            && self.fault.is_none()
            && let Err(error) = self.read_more()
        {
            self.fault = Some(error);
        }
        if self.fault.is_some() {
            return Err(io::ErrorKind::Other.into());
        }
        Ok(self.buffer.get(self.ready.clone()).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.ready.start = (self.ready.start + count).min(self.ready.end);
    }
}

impl Read for BlobStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), available.get(..count)) {
            to.copy_from_slice(from);
        }
        self.consume(count);
        Ok(count)
    }
}

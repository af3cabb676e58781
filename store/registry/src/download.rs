//! Blobs, read from an offset on. A download that breaks goes on where it broke.

use std::fmt;
use std::io::{self, Read};

use ureq::BodyReader;

use crate::auth::Scope;
use crate::content_range::ContentRange;
use crate::error::{Cause, Error, Failure};
use crate::net::{Body, Method, Response};
use crate::retry::Attempts;
use crate::{Digest, Repository};

/// How much is read at once of what has come before.
const DISCARD: usize = 64 << 10;

/// A blob that is read.
///
/// It never yields more bytes than the size, but does not verify the digest: the caller hashes what it reads, and may
/// have the beginning from another run. Every byte that arrives starts the count of tries again.
pub struct Download {
    repository: Repository,
    scope: Scope,
    digest: Digest,
    size: u64,
    offset: u64,
    attempts: Attempts,
    /// The answer that is read, if there is one.
    stream: Option<Stream>,
}

/// The body of one answer.
struct Stream {
    body: BodyReader<'static>,
    /// What comes before the offset: a server may send the whole blob instead of the rest.
    skip: u64,
    /// How many bytes are left that are wanted.
    left: u64,
    /// Whether the server has said how long the body is.
    has_length: bool,
}

impl Repository {
    /// A blob of a known size, to be read from an offset on. Nothing is sent before the first read.
    pub fn blob(&self, digest: &Digest, size: u64, offset: u64) -> Download {
        Download::new(self.clone(), digest.clone(), size, offset)
    }
}

impl Download {
    pub(crate) fn new(repository: Repository, digest: Digest, size: u64, offset: u64) -> Self {
        let attempts = repository.attempts(format!("fetch blob {digest} from"));
        Self {
            scope: repository.pull_scope(),
            repository,
            digest,
            size,
            offset,
            attempts,
            stream: None,
        }
    }

    /// The offset of the byte that is read next.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The size of the blob.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads bytes at the offset, and returns how many there were: none at the end of the blob.
    ///
    /// # Errors
    /// [`Error::Request`] after all tries, and [`Error::Interrupted`] if the callback says so.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        if self.offset >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.try_read(buffer) {
                Ok(read) => {
                    self.attempts.progress();
                    return Ok(read);
                }
                Err(failure) => {
                    self.stream = None;
                    self.attempts.failed(failure)?;
                }
            }
        }
    }

    /// Reads once, from the answer that there is or from a new one.
    fn try_read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.open()?,
        };
        self.discard(&mut stream)?;
        let most = buffer
            .len()
            .min(usize::try_from(stream.left).unwrap_or(usize::MAX));
        let read = self.read_body(&mut stream, &mut buffer[..most])?;
        stream.left -= read as u64;
        self.offset += read as u64;
        match stream.left {
            0 => stream.finish(),
            _ => self.stream = Some(stream),
        }
        Ok(read)
    }

    /// Reads from an answer, which does not end yet.
    fn read_body(&self, stream: &mut Stream, buffer: &mut [u8]) -> Result<usize, Failure> {
        let read = stream.body.read(buffer);
        match read.map_err(|error| self.repository.client.net().io_failure(error))? {
            0 => Err(Cause::broken(format!(
                "the connection ended after {} of {} bytes",
                self.offset, self.size
            ))
            .into()),
            read => Ok(read),
        }
    }

    /// Skips what comes before the offset.
    fn discard(&self, stream: &mut Stream) -> Result<(), Failure> {
        let mut buffer = vec![0; if stream.skip > 0 { DISCARD } else { 0 }];
        while stream.skip > 0 {
            let most = buffer
                .len()
                .min(usize::try_from(stream.skip).unwrap_or(usize::MAX));
            stream.skip -= self.read_body(stream, &mut buffer[..most])? as u64;
        }
        Ok(())
    }

    /// Asks for the blob, from the offset on.
    fn open(&self) -> Result<Stream, Failure> {
        let mut request = self
            .repository
            .request(Method::Get, &format!("blobs/{}", self.digest))?;
        if self.offset > 0 {
            request = request.header("range", format!("bytes={}-", self.offset));
        }
        let response = self
            .repository
            .send(&self.scope, request, &mut Body::None)?;
        let (skip, left) = match response.status {
            200 => self.whole(&response)?,
            206 => self.part(&response)?,
            _ => return Err(response.into_failure()),
        };
        response.check_encoding()?;
        Ok(Stream {
            skip,
            left,
            has_length: response.content_length().is_some(),
            body: response.into_body(),
        })
    }

    /// What of an answer with the whole blob to skip and to read.
    fn whole(&self, response: &Response) -> Result<(u64, u64), Failure> {
        match response.content_length() {
            Some(length) if length != self.size => Err(Cause::Protocol(format!(
                "the server has {length} bytes instead of {}",
                self.size
            ))
            .into()),
            _ => Ok((self.offset, self.size - self.offset)),
        }
    }

    /// What of an answer with a part of the blob to read. The part may end before the blob does.
    fn part(&self, response: &Response) -> Result<(u64, u64), Failure> {
        let header = response.header("content-range").unwrap_or_default();
        let range = ContentRange::parse(header).filter(|range| {
            let has_size = range.total.is_none_or(|total| total == self.size);
            let has_length = response
                .content_length()
                .is_none_or(|length| length == range.end - range.start);
            range.start == self.offset && range.end <= self.size && has_size && has_length
        });
        match range {
            Some(range) => Ok((0, range.end - range.start)),
            None => Err(Cause::Protocol(format!(
                "the server sends '{header}' instead of bytes {}-{} of {}",
                self.offset,
                self.size - 1,
                self.size
            ))
            .into()),
        }
    }
}

impl Stream {
    /// Reads to the end of an answer, so that its connection can be used again. Without a length the end may be far.
    fn finish(self) {
        if self.has_length {
            // What fails here is only the reuse.
            io::copy(&mut self.body.take(1), &mut io::sink()).ok();
        }
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Self::read(self, buffer).map_err(io::Error::other)
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download")
            .field("digest", &self.digest)
            .field("offset", &self.offset)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

//! Uploads of blobs. One that breaks is asked for its state and goes on there.

use crate::auth::Scope;
use crate::content_range::uploaded;
use crate::error::{Cause, Error, Failure};
use crate::net::{Body, Method, Request, Response, Source, Url};
use crate::retry::Attempts;
use crate::{Digest, Repository};

/// How much is sent at once. What a broken request has sent is often lost, so it is not larger.
const CHUNK: u64 = 16 << 20;
/// The largest chunk that a registry can ask for.
const LARGEST_CHUNK: u64 = 256 << 20;
/// How often an upload is begun again because the registry does not take what it has.
const MOST_RESTARTS: u32 = 2;

/// An upload that a registry has begun.
#[derive(Clone, Debug)]
pub struct UploadSession(Url);

/// What a registry did when it was asked to take a blob from another repository.
#[derive(Clone, Debug)]
pub enum Mount {
    /// The blob is there now.
    Mounted,
    /// It has to be uploaded, for which a session is open.
    Upload(UploadSession),
}

/// A blob to upload.
pub struct BlobUpload<'a> {
    /// Its digest.
    pub digest: &'a Digest,
    /// Its size.
    pub size: u64,
    /// Its bytes.
    pub source: &'a mut dyn Source,
    /// The session that [`Repository::mount_blob`] has opened, if it did.
    pub session: Option<UploadSession>,
    /// Called with the number of bytes that the registry has, which falls if an upload begins again.
    pub progress: &'a mut dyn FnMut(u64),
    /// How much is sent at once: [`BlobUpload::new`] has what suits users.
    pub chunk: u64,
}

impl<'a> BlobUpload<'a> {
    /// An upload without a session.
    pub fn new(
        digest: &'a Digest,
        size: u64,
        source: &'a mut dyn Source,
        progress: &'a mut dyn FnMut(u64),
    ) -> Self {
        Self {
            digest,
            size,
            source,
            session: None,
            progress,
            chunk: CHUNK,
        }
    }
}

impl Repository {
    /// Asks the registry to take a blob from another of its repositories, by the path there.
    ///
    /// # Errors
    /// [`Error::Request`], and [`Error::Interrupted`] if the callback says so.
    pub fn mount_blob(&self, digest: &Digest, from: &str) -> Result<Mount, Error> {
        let scope = self.push_scope().and_pull(from);
        let attempts = self.attempts(format!("mount blob {digest} in"));
        attempts.run(|| {
            let request = self.request(Method::Post, "blobs/uploads/")?;
            let url = request.url.with_parameter("mount", digest.as_str());
            let request = Request {
                url: url.with_parameter("from", &crate::net::escape(from)),
                ..request
            };
            let response = self.send(&scope, request, &mut Body::Bytes(&[]))?;
            match response.status {
                201 => Ok(Mount::Mounted),
                202 => self
                    .location(&response)
                    .map(|url| Mount::Upload(UploadSession(url))),
                _ => Err(response.into_failure()),
            }
        })
    }

    /// Uploads a blob.
    ///
    /// # Errors
    /// [`Error::Request`], with [`Cause::Source`] if the source cannot be read, and [`Error::Interrupted`] if the
    /// callback says so.
    pub fn upload(&self, blob: BlobUpload<'_>) -> Result<(), Error> {
        let stage = match &blob.session {
            Some(session) if blob.size <= blob.chunk => Stage::Whole(session.0.clone()),
            Some(session) => Stage::Chunk(session.0.clone()),
            None => Stage::Begin,
        };
        let upload = Upload {
            repository: self,
            scope: self.push_scope(),
            attempts: self.attempts(format!("upload blob {} to", blob.digest)),
            offset: 0,
            furthest: 0,
            in_chunks: blob.size > blob.chunk,
            chunk: blob.chunk,
            restarts: 0,
            blob,
        };
        upload.run(stage)
    }
}

/// What an upload does next.
#[derive(Clone, Debug)]
enum Stage {
    /// Open a session.
    Begin,
    /// Send the next chunk.
    Chunk(Url),
    /// Ask how much the registry has.
    Ask(Url),
    /// Send everything and end the session.
    Whole(Url),
    /// End the session.
    Commit(Url),
    /// Ask whether the registry has the blob, after the end of the session could not be told.
    Look(Url),
    /// The blob is there.
    Done,
}

/// An upload that runs.
struct Upload<'r, 'a> {
    repository: &'r Repository,
    scope: Scope,
    blob: BlobUpload<'a>,
    attempts: Attempts,
    /// How many bytes the registry has.
    offset: u64,
    /// How many it had at most.
    furthest: u64,
    /// Whether the blob is sent in chunks: not if it is small, and not if the registry does not take them.
    in_chunks: bool,
    chunk: u64,
    restarts: u32,
}

impl Upload<'_, '_> {
    /// Goes through the stages.
    fn run(mut self, mut stage: Stage) -> Result<(), Error> {
        loop {
            if matches!(stage, Stage::Done) {
                (self.blob.progress)(self.blob.size);
                return Ok(());
            }
            match self.step(&stage) {
                Ok(next) => stage = next,
                Err(failure) => {
                    self.attempts.failed(failure)?;
                    stage = self.after_failure(stage);
                }
            }
        }
    }

    /// Does one stage.
    fn step(&mut self, stage: &Stage) -> Result<Stage, Failure> {
        match stage {
            Stage::Begin => self.begin(),
            Stage::Chunk(url) if self.offset == self.blob.size => Ok(Stage::Commit(url.clone())),
            Stage::Chunk(url) => self.send_chunk(url),
            Stage::Ask(url) => self.ask(url),
            Stage::Whole(url) => self.commit(url, true),
            Stage::Commit(url) => self.commit(url, false),
            Stage::Look(url) => self.look(url),
            Stage::Done => Ok(Stage::Done),
        }
    }

    /// Where to go on after a try that failed, when it is not known what the registry has.
    fn after_failure(&self, stage: Stage) -> Stage {
        match stage {
            Stage::Chunk(url) => Stage::Ask(url),
            Stage::Whole(url) | Stage::Commit(url) => Stage::Look(url),
            other => other,
        }
    }

    /// Opens a session.
    fn begin(&mut self) -> Result<Stage, Failure> {
        self.offset = 0;
        let request = self.repository.request(Method::Post, "blobs/uploads/")?;
        let response = self.send(request)?;
        if response.status != 202 {
            return Err(response.into_failure());
        }
        let least = response
            .header("oci-chunk-min-length")
            .and_then(|length| length.trim().parse().ok());
        self.chunk = self.chunk.max(least.unwrap_or(0).min(LARGEST_CHUNK));
        let url = self.repository.location(&response)?;
        Ok(if self.in_chunks {
            Stage::Chunk(url)
        } else {
            Stage::Whole(url)
        })
    }

    /// Sends a chunk.
    fn send_chunk(&mut self, url: &Url) -> Result<Stage, Failure> {
        let end = self.blob.size.min(self.offset + self.chunk);
        let request = self
            .repository
            .request_at(Method::Patch, url)
            .header("content-type", "application/octet-stream")
            .header("content-range", format!("{}-{}", self.offset, end - 1));
        let response = self.send_part(request, end)?;
        match response.status {
            202 => {
                let has = response.header("range").and_then(uploaded);
                self.has(has.unwrap_or(end), end)?;
                self.repository.location(&response).map(Stage::Chunk)
            }
            400 | 405 | 411 | 413 | 415 | 501 => self.without_chunks(response),
            404 | 416 => self.restart(response),
            _ => Err(response.into_failure()),
        }
    }

    /// Takes note of how much the registry has.
    fn has(&mut self, offset: u64, most: u64) -> Result<(), Failure> {
        if offset > most {
            return Err(Cause::Protocol(format!(
                "the registry has {offset} bytes of an upload of {most}"
            ))
            .into());
        }
        if offset > self.furthest {
            self.furthest = offset;
            self.attempts.progress();
        } else if offset <= self.offset && self.offset > 0 {
            return Err(
                Cause::Protocol("the registry does not take more of the upload".into()).into(),
            );
        }
        self.offset = offset;
        (self.blob.progress)(offset);
        Ok(())
    }

    /// Begins again, with everything in one request.
    fn without_chunks(&mut self, response: Response) -> Result<Stage, Failure> {
        self.in_chunks = false;
        self.restart(response)
    }

    /// Begins again, unless that was of no use.
    fn restart(&mut self, response: Response) -> Result<Stage, Failure> {
        if self.restarts >= MOST_RESTARTS {
            return Err(response.into_failure());
        }
        self.restarts += 1;
        Ok(Stage::Begin)
    }

    /// Asks how much the registry has. If that cannot be told, the upload begins again.
    fn ask(&mut self, url: &Url) -> Result<Stage, Failure> {
        let request = self.repository.request_at(Method::Get, url);
        let response = self.send(request)?;
        match response.status {
            200 | 202 | 204 => {}
            // docker-registry 2.8 forgets an upload whose chunk broke off. The failure before counts as a try.
            400 | 404 | 405 | 410 | 501 => return Ok(Stage::Begin),
            _ => return Err(response.into_failure()),
        }
        let has = response.header("range").and_then(uploaded).unwrap_or(0);
        if has == 0 || has > self.blob.size {
            return Ok(Stage::Begin);
        }
        let next = match response.header("location") {
            Some(_) => self.repository.location(&response)?,
            None => url.clone(),
        };
        self.offset = has;
        if has > self.furthest {
            self.furthest = has;
            self.attempts.progress();
        }
        (self.blob.progress)(has);
        Ok(Stage::Chunk(next))
    }

    /// Ends the session, with the whole blob or without more bytes.
    fn commit(&mut self, url: &Url, with_blob: bool) -> Result<Stage, Failure> {
        let url = url.with_parameter("digest", self.blob.digest.as_str());
        let mut request = self
            .repository
            .request_at(Method::Put, &url)
            .header("content-type", "application/octet-stream");
        request.patience = Some(self.repository.client.retry().commit);
        let response = match with_blob {
            true => self.send_part(request, self.blob.size)?,
            false => self.send(request)?,
        };
        match response.status {
            200..=204 => Ok(Stage::Done),
            // The registry has other bytes, or none any more.
            400 | 404 | 416 => self.restart(response),
            _ => Err(response.into_failure()),
        }
    }

    /// Asks whether the end of the session has arrived.
    fn look(&mut self, url: &Url) -> Result<Stage, Failure> {
        match self
            .repository
            .try_has_blob(&self.scope, self.blob.digest)?
        {
            true => Ok(Stage::Done),
            false if self.in_chunks => Ok(Stage::Ask(url.clone())),
            false => Ok(Stage::Begin),
        }
    }

    /// Sends a request without bytes.
    fn send(&self, request: Request) -> Result<Response, Failure> {
        let mut body = match request.method {
            Method::Get => Body::None,
            _ => Body::Bytes(&[]),
        };
        self.repository.send(&self.scope, request, &mut body)
    }

    /// Sends a request with the bytes from the offset to an end. What goes out is progress to show, not yet what the
    /// registry has.
    fn send_part(&mut self, request: Request, end: u64) -> Result<Response, Failure> {
        let start = self.offset;
        let mut shown = start;
        let progress = &mut *self.blob.progress;
        let mut sent = |bytes: u64| {
            shown += bytes;
            progress(shown.min(end));
        };
        let mut body = Body::Part {
            source: &mut *self.blob.source,
            start,
            length: end - start,
            sent: &mut sent,
        };
        self.repository.send(&self.scope, request, &mut body)
    }
}

//! The threads that a layer passes through.
//!
//! ```text
//! read, hash, keep, decompress ──► hash ──► take apart, write files
//! ```
//!
//! Each stage works on one buffer while the next works on the one before. An archive that is not
//! compressed is hashed once, in the first stage.

use std::io::{self, Read};
use std::thread::ScopedJoinHandle;

use crossbeam_channel::{Receiver, Sender};

use super::layer_blob::LayerBlob;
use super::pipe::{Chunk, Message, PipeInput, Pool, pipe};
use super::plan::Task;
use super::stream::BlobStream;
use crate::decode::{Decoder, Format};
use crate::error::{LayerError, LayerFault, Result};
use crate::values::{Digest, Hasher};

/// What was learned by reading a blob to its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streams {
    /// The digest of the blob.
    pub(super) blob: Digest,
    /// The blob that was kept, if it is another one.
    pub(super) kept: Option<LayerBlob>,
    /// The digest of what it decompresses to.
    pub(super) diff_id: Digest,
    /// The size of that, in bytes.
    pub(super) size: u64,
}

/// What the first stage learned.
struct Decoded {
    blob: Digest,
    kept: Option<LayerBlob>,
    size: u64,
    /// Whether all of it was handed on.
    complete: bool,
}

/// Reads a blob to its end and hands what is in it to `consume`, in the calling thread. `passed` is
/// called with the number of bytes handed on so far.
///
/// # Errors
/// If the blob is not what its digest says, that; else what is wrong with its compression; else
/// what `consume` says; else that it is another layer than the task names.
pub(super) fn run<T>(
    stream: BlobStream<'_>,
    task: &Task,
    limit: u64,
    passed: &(dyn Fn(u64) + Sync),
    consume: impl FnOnce(PipeInput) -> Result<T, LayerFault>,
) -> Result<(Streams, T)> {
    let pool = Pool::new();
    let (decoded, hashed, consumed) = std::thread::scope(|scope| {
        let (sender, receiver) = pipe();
        let first = pool.clone();
        let decoder =
            scope.spawn(move || decode_into(stream, task, limit, &first, &sender, passed));
        let (receiver, hasher) = match task.format {
            Format::Plain => (receiver, None),
            _ => {
                let (sender, last) = pipe();
                (last, Some(scope.spawn(move || hash(&receiver, &sender))))
            }
        };
        let consumed = consume(PipeInput::new(receiver, pool.clone()));
        (join(decoder), hasher.and_then(join), consumed)
    });
    let Decoded {
        blob, kept, size, ..
    } = decoded?;
    let consumed = consumed.map_err(|fault| task.error(fault))?;
    let streams = Streams {
        blob,
        kept,
        diff_id: hashed.unwrap_or(blob),
        size,
    };
    streams.check(task)?;
    Ok((streams, consumed))
}

/// Reads a blob to its end only to verify it.
///
/// # Errors
/// As [`run`].
pub(super) fn verify(stream: BlobStream<'_>, task: &Task, limit: u64) -> Result<Streams> {
    let pool = Pool::new();
    let mut hasher = Hasher::new();
    let decoded = decode(stream, task, limit, &pool, |chunk| {
        hasher.update(chunk.bytes());
        pool.give(chunk.buffer);
        true
    })?;
    let streams = Streams {
        blob: decoded.blob,
        kept: decoded.kept,
        diff_id: hasher.finish(),
        size: decoded.size,
    };
    streams.check(task)?;
    Ok(streams)
}

/// The result of a thread. None of them panics; if one did, the thread that waits for it panics as well.
fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

impl Task {
    /// What is wrong with the layer.
    fn error(&self, fault: LayerFault) -> LayerError {
        LayerError {
            layer: self.label.clone(),
            fault,
        }
    }
}

impl Streams {
    fn check(&self, task: &Task) -> Result<()> {
        if self.diff_id == task.diff_id {
            return Ok(());
        }
        Err(task
            .error(LayerFault::DiffId {
                expected: task.diff_id,
                actual: self.diff_id,
            })
            .into())
    }
}

/// Why the first stage stopped.
enum End {
    Complete,
    /// The reader wants no more.
    Refused,
    TooLarge,
    Broken(io::Error),
}

/// The first stage, as a thread: what comes out goes to the next.
fn decode_into(
    stream: BlobStream<'_>,
    task: &Task,
    limit: u64,
    pool: &Pool,
    next: &Sender<Message>,
    passed: &(dyn Fn(u64) + Sync),
) -> Result<Decoded> {
    let decoded = decode(stream, task, limit, pool, |chunk| {
        passed(chunk.len as u64);
        next.send(Some(chunk)).is_ok()
    })?;
    if decoded.complete {
        // A stream without this has broken off. If the other thread has stopped listening, it says
        // why.
        drop(next.send(None));
    }
    Ok(decoded)
}

/// Reads, verifies and decompresses a blob; `hand_on` says whether more is wanted.
fn decode(
    stream: BlobStream<'_>,
    task: &Task,
    limit: u64,
    pool: &Pool,
    mut hand_on: impl FnMut(Chunk) -> bool,
) -> Result<Decoded> {
    let broken = |error: &io::Error| {
        task.error(LayerFault::Compression {
            kind: task.format.name(),
            why: error.to_string(),
        })
    };
    let decoder = Decoder::new(stream, task.format);
    let mut decoder = decoder.map_err(|error| broken(&error))?;
    let mut size = 0;
    let end = loop {
        let mut buffer = pool.take();
        let len = match fill(&mut decoder, &mut buffer) {
            Ok(0) => break End::Complete,
            Ok(len) => len,
            Err(error) => break End::Broken(error),
        };
        size += len as u64;
        if size > limit {
            break End::TooLarge;
        }
        if !hand_on(Chunk { buffer, len }) {
            break End::Refused;
        }
    };
    let complete = matches!(end, End::Complete);
    let (blob, kept) = decoder
        .into_inner()
        .finish(task.digest.as_ref(), complete)?;
    match end {
        End::Complete | End::Refused => Ok(Decoded {
            blob,
            kept,
            size,
            complete,
        }),
        End::TooLarge => Err(task.error(LayerFault::TooLarge { limit }).into()),
        End::Broken(error) => Err(broken(&error).into()),
    }
}

/// Reads until the buffer is full or the stream ends.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// The stage between: the digest of all that passes, if all did.
fn hash(from: &Receiver<Message>, to: &Sender<Message>) -> Option<Digest> {
    let mut hasher = Hasher::new();
    loop {
        let chunk = from.recv().ok()?;
        let Some(chunk) = chunk else {
            drop(to.send(None)); // as in the first stage
            return Some(hasher.finish());
        };
        hasher.update(chunk.bytes());
        to.send(Some(chunk)).ok()?;
    }
}

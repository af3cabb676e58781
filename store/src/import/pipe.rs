//! Buffers on their way from one thread to the next, and back.

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::tar::{Input, InputError};
use crate::values::limits;

/// How many buffers wait between two threads.
const WAITING: usize = 8;

/// A buffer and how much of it is filled.
pub(super) struct Chunk {
    pub(super) buffer: Vec<u8>,
    pub(super) len: usize,
}

impl Chunk {
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}

/// What travels: a chunk, or nothing at the end of a stream that is complete. A stream that breaks
/// off just stops.
pub(super) type Message = Option<Chunk>;

/// A connection between two threads.
pub(super) fn pipe() -> (Sender<Message>, Receiver<Message>) {
    bounded(WAITING)
}

/// Used buffers, to be used again.
#[derive(Clone)]
pub(super) struct Pool {
    give: Sender<Vec<u8>>,
    take: Receiver<Vec<u8>>,
}

impl Pool {
    pub(super) fn new() -> Self {
        // As many as can be under way through two pipes and in three threads.
        let (give, take) = bounded(2 * WAITING + 3);
        Self { give, take }
    }

    pub(super) fn take(&self) -> Vec<u8> {
        self.take
            .try_recv()
            .unwrap_or_else(|_| vec![0; limits::BUFFER])
    }

    pub(super) fn give(&self, buffer: Vec<u8>) {
        // The other thread has enough buffers if the channel is full.
        drop(self.give.try_send(buffer));
    }
}

/// The end of a pipe as the input of an archive reader.
pub(super) struct PipeInput {
    receiver: Receiver<Message>,
    pool: Pool,
    chunk: Option<Chunk>,
    /// How much of the chunk is taken.
    taken: usize,
    ended: bool,
}

impl PipeInput {
    pub(super) fn new(receiver: Receiver<Message>, pool: Pool) -> Self {
        Self {
            receiver,
            pool,
            chunk: None,
            taken: 0,
            ended: false,
        }
    }

    fn ready(&self) -> &[u8] {
        let bytes = self.chunk.as_ref().map(Chunk::bytes).unwrap_or_default();
        bytes.get(self.taken..).unwrap_or_default()
    }

    /// Waits for the next chunk.
    fn advance(&mut self) -> Result<(), InputError> {
        if let Some(used) = self.chunk.take() {
            self.pool.give(used.buffer);
        }
        self.taken = 0;
        match self.receiver.recv() {
            Ok(chunk) => {
                self.ended = chunk.is_none();
                self.chunk = chunk;
                Ok(())
            }
            Err(_) => Err(InputError::Stopped),
        }
    }
}

impl Input for PipeInput {
    fn fill(&mut self) -> Result<&[u8], InputError> {
        while self.ready().is_empty() && !self.ended {
            self.advance()?;
        }
        Ok(self.ready())
    }

    fn consume(&mut self, count: usize) {
        self.taken += count.min(self.ready().len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_breaks_off_is_no_end() {
        let chunk = |text: &str| {
            Some(Chunk {
                buffer: format!("{text}?").into_bytes(),
                len: text.len(),
            })
        };
        let read = |messages: Vec<Message>| {
            let (sender, receiver) = pipe();
            for message in messages {
                sender.send(message).unwrap();
            }
            drop(sender);
            let mut input = PipeInput::new(receiver, Pool::new());
            let mut read = Vec::new();
            loop {
                match input.fill() {
                    Ok([]) => return Ok(read),
                    Ok([first, ..]) => read.push(*first),
                    Err(error) => return Err(error),
                }
                input.consume(1);
            }
        };
        let whole = read(vec![chunk("ab"), chunk(""), chunk("c"), None]);
        assert_eq!(whole.unwrap(), b"abc");
        assert_eq!(read(vec![chunk("ab")]), Err(InputError::Stopped));
        assert_eq!(read(vec![None]).unwrap(), b"");
    }
}

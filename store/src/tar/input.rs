//! Where an archive comes from.

use rustix::io::Errno;
use thiserror::Error;

use crate::values::reason;

/// A stream of bytes that lends its buffers, so that data is written to files from where the
/// decompressor put it.
pub(crate) trait Input {
    /// The bytes that come next; empty at the end of the stream only.
    fn fill(&mut self) -> Result<&[u8], InputError>;

    /// Takes the first `count` of the bytes that [`Input::fill`] lent.
    fn consume(&mut self, count: usize);

    /// Passes over up to `count` bytes and says how many there were: fewer at the end of the stream
    /// only.
    fn skip(&mut self, count: u64) -> Result<u64, InputError> {
        let mut left = count;
        while left > 0 {
            let available = self.fill()?.len();
            if available == 0 {
                break;
            }
            let step = usize::try_from(left).map_or(available, |left| left.min(available));
            self.consume(step);
            left -= step as u64;
        }
        Ok(count - left)
    }
}

/// A stream that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InputError {
    /// The thread that feeds the stream gave up, and knows why.
    #[error("the stream broke off")]
    Stopped,
    /// A read failed.
    #[error("cannot read: {}", reason(*.0))]
    Io(Errno),
}

/// Bytes in memory.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct SliceInput<'a>(pub(crate) &'a [u8]);

#[cfg(test)]
impl Input for SliceInput<'_> {
    fn fill(&mut self) -> Result<&[u8], InputError> {
        Ok(self.0)
    }

    fn consume(&mut self, count: usize) {
        self.0 = self.0.get(count..).unwrap_or_default();
    }
}

//! TCP connections whose waits are short, so that the interrupt callback is asked all the time.
//!
//! ureq limits how long one read may take, but a read that timed out in the headers of an answer ends the request. So
//! the wait is cut into slices below ureq, in the transport: each slice ends after [`SLICE`], the callback is asked,
//! and the wait goes on until the limit that ureq gives (`timeout_per_read`, which starts again with every byte).
//! The traits of `ureq::unversioned` are public, but may change with a minor version, hence `~` in Cargo.toml.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
};

use crate::retry::{Interrupt, SLICE};

/// Opens connections.
#[derive(Debug)]
pub(super) struct TcpConnector {
    pub(super) interrupt: Interrupt,
}

impl<In: Transport> Connector<In> for TcpConnector {
    type Out = Either<In, Tcp>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        // A proxy has connected already.
        if let Some(connection) = chained {
            return Ok(Some(Either::A(connection)));
        }
        let stream = self.connect_any(details)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SLICE))?;
        stream.set_write_timeout(Some(SLICE))?;
        let config = details.config;
        Ok(Some(Either::B(Tcp {
            stream,
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            interrupt: self.interrupt.clone(),
        })))
    }
}

impl TcpConnector {
    /// Connects to the first address that answers. Each has an equal part of the time that is left.
    fn connect_any(&self, details: &ConnectionDetails<'_>) -> Result<TcpStream, Error> {
        let end = Instant::now() + limit_of(&details.timeout);
        let mut last = Error::HostNotFound;
        for (position, address) in details.addrs.iter().enumerate() {
            let left = end.saturating_duration_since(Instant::now());
            let addresses = u32::try_from(details.addrs.len() - position).unwrap_or(1);
            match self.connect_one(*address, left / addresses) {
                Ok(stream) => return Ok(stream),
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    last = Error::Timeout(details.timeout.reason)
                }
                Err(error) => last = Error::Io(error),
            }
            if self.interrupt.is_set() {
                break;
            }
        }
        Err(last)
    }

    /// Connects to one address, in a thread of its own: connect(2) cannot be waited for in slices. The thread ends
    /// by itself at the limit if it is not waited for.
    fn connect_one(&self, address: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
        if limit.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        let (sender, receiver) = mpsc::channel();
        thread::Builder::new().spawn(move || {
            // Without a receiver the connection is closed again.
            sender
                .send(TcpStream::connect_timeout(&address, limit))
                .ok();
        })?;
        loop {
            match receiver.recv_timeout(SLICE) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) if !self.interrupt.is_set() => {}
                Err(_) => return Err(interrupted()),
            }
        }
    }
}

/// The error of a wait that the callback ended. Not `ErrorKind::Interrupted`, which many loops try again.
fn interrupted() -> io::Error {
    io::Error::new(ErrorKind::ConnectionAborted, "interrupted")
}

/// How long ureq lets one read, write or connect wait.
pub(super) fn limit_of(timeout: &NextTimeout) -> Duration {
    // The clock cannot add ureq's "never".
    (*timeout.after).min(Duration::from_secs(24 * 3600))
}

/// A connection.
#[derive(Debug)]
pub(super) struct Tcp {
    stream: TcpStream,
    buffers: LazyBuffers,
    interrupt: Interrupt,
}

impl Tcp {
    /// Repeats a system call that waits at most a slice, until it moves something, fails, or the limit is reached.
    fn wait<T>(
        interrupt: &Interrupt,
        timeout: NextTimeout,
        mut call: impl FnMut() -> io::Result<T>,
    ) -> Result<T, Error> {
        let end = Instant::now() + limit_of(&timeout);
        loop {
            match call() {
                Ok(value) => return Ok(value),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if Instant::now() >= end {
                        return Err(Error::Timeout(timeout.reason));
                    }
                }
                Err(error) => return Err(Error::Io(error)),
            }
            if interrupt.is_set() {
                return Err(Error::Io(interrupted()));
            }
        }
    }
}

impl Transport for Tcp {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let mut rest = &self.buffers.output()[..amount];
        while !rest.is_empty() {
            let mut stream = &self.stream;
            let written = Self::wait(&self.interrupt, timeout.for_write(), || stream.write(rest))?;
            if written == 0 {
                return Err(Error::Io(ErrorKind::WriteZero.into()));
            }
            rest = &rest[written..];
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let buffer = self.buffers.input_append_buf();
        let mut stream = &self.stream;
        let read = Self::wait(&self.interrupt, timeout.for_read(), || stream.read(buffer))?;
        self.buffers.input_appended(read);
        Ok(read > 0)
    }

    /// Whether an idle connection can be used again: nothing came, not even its end.
    fn is_open(&mut self) -> bool {
        let mut stream = &self.stream;
        let peek = stream
            .set_nonblocking(true)
            .and_then(|()| stream.read(&mut [0]));
        let is_quiet = peek.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        is_quiet && stream.set_nonblocking(false).is_ok()
    }
}

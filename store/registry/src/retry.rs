//! How long to wait, and how often to try again.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Cause, Error, Failure, RequestError};

/// How often at least the interrupt callback is asked while waiting.
pub(crate) const SLICE: Duration = Duration::from_millis(100);

/// The times of all requests. [`Retry::default`] suits users; tests shorten it.
#[derive(Clone, Debug)]
pub struct Retry {
    /// How often something is tried without progress.
    pub tries: u32,
    /// The first pause; each further one is twice as long, and a random part of up to a half is taken off.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// The longest pause that a server's Retry-After can ask for.
    pub longest_retry_after: Duration,
    /// How long a connection may be without a byte before it counts as stalled.
    pub idle: Duration,
    /// How long making a connection may take, with TLS and proxy.
    pub connect: Duration,
    /// How long a registry may take to commit an upload: it hashes the blob, and may copy it.
    pub commit: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            tries: 5,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
            longest_retry_after: Duration::from_secs(120),
            idle: Duration::from_secs(30),
            connect: Duration::from_secs(15),
            commit: Duration::from_secs(600),
        }
    }
}

/// The caller's callback that says whether to stop. It keeps returning true once it did.
#[derive(Clone)]
pub struct Interrupt(Arc<dyn Fn() -> bool + Send + Sync>);

impl Interrupt {
    /// Asks this callback.
    pub fn new(callback: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(callback))
    }

    /// Never stops.
    pub fn never() -> Self {
        Self::new(|| false)
    }

    /// Whether to stop.
    pub(crate) fn is_set(&self) -> bool {
        (self.0)()
    }

    /// Sleeps, and returns false if the callback ended the sleep.
    pub(crate) fn sleep(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        loop {
            if self.is_set() {
                return false;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(SLICE));
        }
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interrupt")
    }
}

/// The tries of one operation.
#[derive(Debug)]
pub(crate) struct Attempts {
    retry: Retry,
    interrupt: Interrupt,
    operation: String,
    place: String,
    /// How many tries failed since the last progress.
    failed: u32,
    /// Whether anything arrived.
    has_progressed: bool,
}

impl Attempts {
    /// Begins an operation. Its name ends in a preposition before the place.
    pub(crate) fn new(
        retry: &Retry,
        interrupt: &Interrupt,
        operation: String,
        place: String,
    ) -> Self {
        Self {
            retry: retry.clone(),
            interrupt: interrupt.clone(),
            operation,
            place,
            failed: 0,
            has_progressed: false,
        }
    }

    /// Something arrived, so that the count starts again.
    pub(crate) fn progress(&mut self) {
        self.failed = 0;
        self.has_progressed = true;
    }

    /// Counts a failed try and waits for the next one.
    ///
    /// # Errors
    /// The error of the whole operation, if another try has no chance or there were enough of them.
    pub(crate) fn failed(&mut self, failure: Failure) -> Result<(), Error> {
        if matches!(failure.cause, Cause::Interrupted) || self.interrupt.is_set() {
            return Err(Error::Interrupted);
        }
        self.failed += 1;
        // A name that once had an address is there; a network that comes back has none for a while.
        let is_lost = self.has_progressed && matches!(failure.cause, Cause::UnknownHost);
        let is_final = !failure.cause.is_transient() && !is_lost;
        if is_final || self.failed >= self.retry.tries {
            return Err(self.error(failure.cause));
        }
        match self.interrupt.sleep(self.pause(failure.retry_after)) {
            true => Ok(()),
            false => Err(Error::Interrupted),
        }
    }

    /// The pause before the next try.
    fn pause(&self, retry_after: Option<Duration>) -> Duration {
        let doubled = self
            .retry
            .first_pause
            .saturating_mul(1 << (self.failed - 1).min(16));
        let longest = doubled.min(self.retry.longest_pause);
        let pause = longest.mul_f64(0.5 + fastrand::f64() / 2.0);
        let asked = retry_after
            .unwrap_or_default()
            .min(self.retry.longest_retry_after);
        pause.max(asked)
    }

    /// The error of the whole operation.
    pub(crate) fn error(&self, cause: Cause) -> Error {
        Error::Request(Box::new(RequestError {
            operation: self.operation.clone(),
            place: self.place.clone(),
            cause,
            tries: self.failed,
        }))
    }

    /// Tries until it succeeds or fails for good.
    pub(crate) fn run<T>(
        mut self,
        mut attempt: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, Error> {
        loop {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(failure) => self.failed(failure)?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(retry: Retry, interrupt: Interrupt) -> Attempts {
        Attempts::new(&retry, &interrupt, "fetch x from".into(), "a.io/b".into())
    }

    #[test]
    fn pauses_grow_and_stay_below_the_longest() {
        let retry = Retry {
            longest_pause: Duration::from_secs(4),
            ..Retry::default()
        };
        let mut tries = attempts(retry, Interrupt::never());
        for (failed, least, most) in [(1, 0.25, 0.5), (2, 0.5, 1.0), (3, 1.0, 2.0), (9, 2.0, 4.0)] {
            tries.failed = failed;
            let pause = tries.pause(None).as_secs_f64();
            assert!((least..=most).contains(&pause), "{failed}: {pause}");
        }
        assert_eq!(
            tries.pause(Some(Duration::from_secs(90))),
            Duration::from_secs(90)
        );
        assert_eq!(
            tries.pause(Some(Duration::from_secs(9000))),
            Duration::from_secs(120)
        );
    }

    #[test]
    fn the_error_names_operation_place_cause_and_tries() {
        let retry = Retry {
            tries: 3,
            first_pause: Duration::from_millis(1),
            ..Retry::default()
        };
        let mut calls = 0;
        let error = attempts(retry.clone(), Interrupt::never())
            .run(|| -> Result<(), Failure> {
                calls += 1;
                Err(Cause::broken("connection reset").into())
            })
            .unwrap_err();
        assert_eq!(calls, 3);
        assert_eq!(
            error.to_string(),
            "cannot fetch x from a.io/b: connection reset (tried 3 times)"
        );
        let error = attempts(retry, Interrupt::never())
            .run(|| -> Result<(), Failure> { Err(Cause::Schema1.into()) })
            .unwrap_err();
        assert!(!error.to_string().contains("tried"), "{error}");
    }

    #[test]
    fn an_interrupt_ends_a_pause() {
        let start = Instant::now();
        let interrupt = Interrupt::new(move || start.elapsed() > Duration::from_millis(50));
        let retry = Retry {
            first_pause: Duration::from_secs(60),
            longest_pause: Duration::from_secs(60),
            ..Retry::default()
        };
        let failure = Cause::broken("x").into();
        let error = attempts(retry, interrupt).failed(failure).unwrap_err();
        assert!(matches!(error, Error::Interrupted));
        assert!(start.elapsed() < Duration::from_secs(1));
    }
}

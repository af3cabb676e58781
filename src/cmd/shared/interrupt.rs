//! Signals that end long work: the first asks it to stop, the second ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use plyfs_sys::process::SignalQueue;
use rustix::process::Signal;

use crate::error::{Context, Result};

/// Whether a signal has asked for the end.
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens for these signals, in a thread of its own. After the second one the process ends with `status`; what
    /// it leaves, the next command removes.
    pub(crate) fn listen(signals: &[Signal], status: u8) -> Result<Self> {
        let signals = SignalQueue::block(signals).context("wait for signals")?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let listen = move || {
            while signals.wait().is_ok() {
                if asked.swap(true, Ordering::Relaxed) {
                    std::process::exit(status.into());
                }
            }
        };
        let thread = std::thread::Builder::new().name("plyfs-signals".to_owned());
        thread.spawn(listen).context("start a thread")?;
        Ok(Self(stop))
    }

    /// Set when a signal has asked for the end.
    pub(crate) fn asked(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

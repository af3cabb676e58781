//! plyfs-fuse: a thin adapter between the protocol and the [`Overlay`].
//!
//! It opens no device and mounts nothing: it is given the descriptor of a FUSE connection and serves
//! it until it is unmounted. Three ideas make it fast, all of them requests that are never sent
//! ([`Saved`] names each, for who wants it):
//!
//! - **No open.** Opening and closing are answered with `ENOSYS` once, and never asked again; reads
//!   and writes name the node (`FUSE_NO_OPEN_SUPPORT`). Creation is `MKNOD`.
//! - **Long lives.** All changes come through this mount, so names, their absence and attributes
//!   may be cached by the kernel until it makes a change itself. What the overlay changes besides (a
//!   copy-up gives directories above another ctime) it announces before it answers the request.
//! - **No sync of what does not last.** On a volatile overlay, and in memory, fsync(2) sends what was
//!   gathered, and nothing else.
//!
//! One thread reads requests and answers what takes a few system calls; what may take long (copying
//! data up, reading from a disk, fsync) goes to a pool of threads, so that it never holds up a
//! lookup. More readers scatter requests over processors that have to be woken for each; and while
//! requests come one right after the other, no processor is woken for them at all ([bursts](Bursts)).

mod adapter;
mod answer;
mod bursts;
mod convert;
mod ioctl;
mod notifier;
mod passthrough;
mod polling;
mod pool;
mod readers;
mod saved;
mod together;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use plyfs_fs::Overlay;

pub use bursts::Bursts;
pub use saved::{Saved, Sent};

/// How the transport behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long the kernel may keep names and attributes without asking again.
    pub timeout: Duration,
    /// Whether the kernel may gather writes before it sends them.
    pub writeback: bool,
    /// Whether POSIX ACLs are supported. The kernel then checks them itself.
    pub acl: bool,
    /// Whether opening a file for writing copies it up, as in the kernel's overlay, and not the first
    /// change. Every open is a request then.
    pub copy_up_at_open: bool,
    /// Whether the kernel reads files by itself: for an overlay without an upper layer, and the superuser of
    /// the machine.
    pub passthrough: bool,
    /// Whether there are extended attributes.
    pub xattrs: bool,
    /// How many threads read requests.
    pub threads: usize,
    /// Whether processor time is spent in [bursts](Bursts) of requests, where a single thread reads them.
    pub polling: bool,
    /// What is sent though it need not be.
    pub sent: Sent,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(1_000_000_000),
            writeback: false,
            acl: true,
            copy_up_at_open: false,
            passthrough: false,
            xattrs: true,
            threads: 1,
            polling: true,
            sent: Sent::default(),
        }
    }
}

impl Options {
    /// Whether what the kernel was told holds for a time only: the layers may change underneath. Then
    /// neither the kernel nor the overlay keeps content, listings or targets of links without asking.
    pub fn allow_for_changes(&self) -> bool {
        self.timeout < Self::default().timeout
    }
}

/// A FUSE connection on which the file system is ready to be used.
#[derive(Debug)]
pub struct Session {
    inner: fuser::Session<adapter::Adapter>,
    // Dropped after the file system: no request changes anything then.
    finish: Finish,
}

/// Makes durable what was written when it is dropped, whether the session was run or not.
#[derive(Debug)]
struct Finish(Arc<Overlay>);

impl Drop for Finish {
    fn drop(&mut self) {
        if let Err(error) = self.0.finish() {
            log::error!("cannot make durable what was written: {error}");
        }
    }
}

impl Session {
    /// Answers the kernel's first request on a connection that was mounted (`FUSE_INIT`).
    ///
    /// # Errors
    /// What reading or answering on the descriptor fails with; `NotConnected` if it was unmounted
    /// before.
    pub fn start(overlay: Arc<Overlay>, device: OwnedFd, options: &Options) -> io::Result<Self> {
        let mut config = fuser::Config::default();
        config.n_threads = Some(options.threads.max(1));
        let bursts = match options.threads {
            0 | 1 if options.polling => device.try_clone().ok().map(Bursts::of_sole_reader),
            _ => None,
        };
        let adapter = adapter::Adapter::new(overlay.clone(), options.clone(), bursts);
        let notifier = adapter.notifier();
        // Who may use the mount is decided by the kernel, from the options it was mounted with.
        let acl = fuser::SessionACL::All;
        let inner = fuser::Session::from_fd(adapter, device, acl, config)?;
        notifier.set(inner.notifier());
        overlay.on_unasked_change(move |id| notifier.forget_attributes(id));
        let finish = Finish(overlay);
        Ok(Self { inner, finish })
    }

    /// Serves requests until the file system is unmounted, calls `unmounted`, and makes durable what was written.
    ///
    /// # Errors
    /// What reading from the connection fails with.
    pub fn run(self, unmounted: impl FnOnce()) -> io::Result<()> {
        // The client waits for the answer, which takes some microseconds. On a busy machine the thread that gives
        // it, and is started by this one, would first wait until another has had its turn.
        if let Err(errno) = plyfs_sys::thread::take_short_turns() {
            log::debug!("requests may wait for busy processors: sched_setattr(2): {errno}");
        }
        let served = self.inner.run();
        unmounted();
        drop(self.finish);
        served
    }
}

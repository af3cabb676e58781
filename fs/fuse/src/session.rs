//! A FUSE connection and the threads that serve it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use plyfs_fs::Overlay;

use super::adapter::Adapter;
use super::latency::observer::Observer;
use super::options::Options;
use super::schedule::Pools;

/// A FUSE connection on which the file system is ready to be used.
#[derive(Debug)]
pub struct Session {
    inner: fuser::Session<Adapter>,
    // Dropped after the connection, which gives jobs to the pools.
    finish: Finish,
}

/// Ends the pools and makes durable what was written when it is dropped, whether the session was run or not.
#[derive(Debug)]
struct Finish {
    pools: Arc<Pools>,
    overlay: Arc<Overlay>,
}

impl Drop for Finish {
    fn drop(&mut self) {
        self.pools.end();
        if let Err(error) = self.overlay.finish() {
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
        let observer = match options.threads {
            0 | 1 if options.polling => device.try_clone().ok().map(Observer::of_sole_reader),
            _ => None,
        };
        let adapter = Adapter::new(overlay.clone(), options, observer);
        let (notifier, pools) = (adapter.notifier(), adapter.pools());
        // Who may use the mount is decided by the kernel, from the options it was mounted with.
        let acl = fuser::SessionACL::All;
        let inner = fuser::Session::from_fd(adapter, device, acl, config)?;
        notifier.set(inner.notifier());
        overlay.on_unasked_change(move |id| notifier.forget_attributes(id));
        let finish = Finish { pools, overlay };
        Ok(Self { inner, finish })
    }

    /// Serves requests until the file system is unmounted, calls `unmounted`, and makes durable what was written.
    ///
    /// # Errors
    /// What starting threads or reading from the connection fails with.
    pub fn run(self, unmounted: impl FnOnce()) -> io::Result<()> {
        // The client waits for the answer, which takes some microseconds. On a busy machine the thread that gives
        // it, and is started by this one, would first wait until another has had its turn.
        if let Err(errno) = plyfs_sys::thread::take_short_turns() {
            log::debug!("requests may wait for busy processors: sched_setattr(2): {errno}");
        }
        self.finish.pools.start()?;
        let served = self.inner.run();
        unmounted();
        drop(self.finish);
        served
    }
}

//! What serves a mount: the overlay, and all that decides how its operations are answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fuser::{FopenFlags, INodeNo, ReplyEntry, Request, Version};
use plyfs_fs::{Change, Entry, Overlay, Result};

use super::latency::observer::Observer;
use super::listers::Listers;
use super::notify::SharedNotifier;
use super::options::Options;
use super::passthrough::Passthrough;
use super::reply::{Answers, Call, Pending};
use super::schedule::{Pools, Schedule};
use super::suppressed::SuppressedRequest;

/// After how many forgotten nodes memory is given back to the system.
const GIVE_BACK_AFTER: u64 = 16 * 1024;

/// The first version of the protocol that only kernels have that check who may change the flags of a file
/// (Linux 5.14; 5.13 checks, too). Older ones pass ioctl(2) on as it is.
const FLAGS_ARE_CHECKED: Version = Version(7, 34);

/// The overlay as the FUSE library wants a file system to be.
#[derive(Debug)]
pub(crate) struct Adapter {
    pub(crate) overlay: Arc<Overlay>,
    pub(crate) options: Options,
    pub(crate) schedule: Schedule,
    pub(crate) notifier: SharedNotifier,
    pub(crate) listers: Listers,
    pub(crate) passthrough: Option<Passthrough>,
    /// Whether the kernel checks who may change the flags of a file.
    pub(crate) flags_are_checked: bool,
    answers: Arc<Answers>,
    observer: Option<Observer>,
    /// How often the kernel has forgotten something.
    forgotten: AtomicU64,
}

impl Adapter {
    pub(crate) fn new(
        overlay: Arc<Overlay>,
        options: &Options,
        observer: Option<Observer>,
    ) -> Self {
        let options = options.effective();
        let notifier = SharedNotifier::default();
        let allow_for_changes = options.allow_for_changes();
        Self {
            schedule: Schedule::new(overlay.clone(), notifier.clone()),
            answers: Arc::new(Answers::new(overlay.clone(), allow_for_changes)),
            notifier,
            listers: Listers::default(),
            passthrough: options.passthrough.then(Passthrough::default),
            flags_are_checked: false,
            observer,
            forgotten: AtomicU64::new(0),
            overlay,
            options,
        }
    }

    pub(crate) fn notifier(&self) -> SharedNotifier {
        self.notifier.clone()
    }

    pub(crate) fn pools(&self) -> Arc<Pools> {
        self.schedule.pools()
    }

    /// Takes a request on. Every request that is answered goes through here.
    pub(crate) fn accept<R>(&self, request: &Request, call: Call<'_>, reply: R) -> Pending<R> {
        if let Some(observer) = &self.observer {
            observer.arrived(request.pid(), call.work);
        }
        self.answers.pending(request, call, reply)
    }

    /// Makes a change that is answered with what was made.
    pub(crate) fn make(
        &self,
        caller: u32,
        slow: bool,
        pending: Pending<ReplyEntry>,
        change: impl Fn(&Overlay) -> Result<Entry> + Send + 'static,
    ) {
        let timeout = self.options.timeout;
        self.schedule.change(caller, slow, change, move |made| {
            pending.entry(timeout, made);
        });
    }

    /// How a file is opened: whether the kernel may show what it has read before.
    pub(crate) fn keep_cache(&self) -> FopenFlags {
        match self.options.allow_for_changes() {
            true => FopenFlags::empty(),
            false => FopenFlags::FOPEN_KEEP_CACHE,
        }
    }

    pub(crate) fn sends(&self, request: SuppressedRequest) -> bool {
        self.options.enabled.has(request)
    }

    /// Whether a change of this node waits for its data to be copied.
    pub(crate) fn is_slow(&self, ino: INodeNo, change: Change) -> bool {
        self.overlay.is_slow_to_change(ino.0, change)
    }

    /// Remembers which features a kernel with this version of the protocol has.
    pub(crate) fn learn_version(&mut self, version: Version) {
        self.flags_are_checked = version >= FLAGS_ARE_CHECKED;
    }

    /// Takes back lookups of a node, and gives memory back to the system once in a while.
    pub(crate) fn forget_lookups(&self, ino: INodeNo, count: u64) {
        self.overlay.forget(ino.0, count);
        let count = self.forgotten.fetch_add(1, Ordering::Relaxed);
        if count % GIVE_BACK_AFTER == GIVE_BACK_AFTER - 1 {
            self.schedule.at_disk(|_| plyfs_sys::memory::give_back());
        }
    }
}

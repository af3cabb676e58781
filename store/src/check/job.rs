//! The state of one check, and the order of its steps.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::finding::{CheckFault, CheckReport, CheckedObject, Finding, Remedy, RepairedFrom};
use crate::disk::{Seal, Staging, Store, read_document, unseal};
use crate::error::Result;
use crate::progress::{Event, Progress};
use crate::source::{Found, Source};
use crate::values::{Digest, Limits, Ownership, limits};

/// What to check.
#[derive(Debug, Clone)]
pub struct CheckRequest {
    /// One image by its name or digest; all of the store without.
    pub image: Option<String>,
    /// Whether to repair what can be.
    pub repair: bool,
    /// Where to take from what the store has lost.
    pub source: Option<Source>,
    /// How to keep owners in layers whose record does not say.
    pub ownership: Ownership,
}

/// What needs an object: images and containers, for people.
pub(super) type Users = BTreeSet<String>;

/// A check at work.
pub(super) struct Check<'a> {
    pub(super) store: &'a Store,
    pub(super) request: &'a CheckRequest,
    /// For work in progress. None where none can be made: then only what needs it is not checked.
    pub(super) staging: Option<Staging>,
    /// The image to take from what is lost.
    pub(super) source: Option<Found>,
    pub(super) progress: &'a dyn Progress,
    pub(super) done: AtomicU64,
    pub(super) total: AtomicU64,
    pub(super) report: Mutex<CheckReport>,
    /// Blobs that images need, besides documents, which are checked first.
    pub(super) blobs: BTreeMap<Digest, Users>,
    pub(super) documents: BTreeMap<Digest, Users>,
    pub(super) layers: BTreeMap<Digest, Users>,
    /// Which blobs unpack to a layer, according to images that need both.
    pub(super) blobs_of: HashMap<Digest, BTreeSet<Digest>>,
    /// Blobs that are missing or damaged, and were not repaired.
    pub(super) lost: Mutex<BTreeSet<Digest>>,
}

impl Check<'_> {
    /// Notes that more was read; says whether to go on.
    pub(super) fn read(&self, bytes: u64) -> bool {
        if bytes > 0 {
            let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
            let total = self.total.load(Ordering::Relaxed);
            self.progress.event(&Event::Checked { bytes: done, total });
        }
        !self.progress.interrupted()
    }

    /// Does something with all items, several at a time.
    pub(super) fn parallel<T: Sync>(
        &self,
        items: &[T],
        work: impl Fn(&T) -> Result<()> + Sync,
    ) -> Result<()> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let next = AtomicUsize::new(0);
        let failed = Mutex::new(None);
        let worker = || {
            while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = work(item) {
                    failed.lock().get_or_insert(error);
                    // The others end as well.
                    next.store(items.len(), Ordering::Relaxed);
                }
            }
        };
        std::thread::scope(|scope| {
            // Not in this thread: unpacking sets a file creation mask.
            for _ in 0..cores.min(limits::PARALLEL_LAYERS).min(items.len()) {
                scope.spawn(worker);
            }
        });
        failed.into_inner().map_or(Ok(()), Err)
    }

    /// Repairs something, if that is asked for.
    pub(super) fn repair(&self, how: impl FnOnce(&Staging) -> Result<RepairedFrom>) -> Remedy {
        let Some(staging) = self.staging.as_ref().filter(|_| self.request.repair) else {
            return Remedy::NotAsked;
        };
        match how(staging) {
            Ok(from) => Remedy::Repaired(from),
            Err(error) => Remedy::Impossible(error.to_string()),
        }
    }

    /// Puts something into the report, unless the check is to end.
    pub(super) fn found(
        &self,
        object: CheckedObject,
        users: &Users,
        fault: CheckFault,
        remedy: Remedy,
    ) -> Result<()> {
        if self.progress.interrupted() {
            return Err(crate::Error::Interrupted);
        }
        self.report.lock().findings.push(Finding {
            object,
            users: users.iter().cloned().collect(),
            fault,
            remedy,
        });
        Ok(())
    }

    pub(super) fn limits(&self) -> Limits {
        Limits::default()
    }
}

/// Whether a record without a seal has nothing but what an older version wrote: a seal with a damaged name is none.
pub(super) fn is_plain(path: &Path, record: &impl serde::Serialize) -> bool {
    let Ok(bytes) = read_document(path, limits::DOCUMENT_BYTES) else {
        return false;
    };
    matches!(unseal(&bytes), Seal::Whole(_)) || bytes == crate::values::to_json(record)
}

/// Why something cannot be repaired.
pub(super) fn refuse<T>(why: &'static str) -> Result<T> {
    Err(crate::Error::NotRepaired(why.to_owned()))
}

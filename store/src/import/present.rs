//! Verifying what an import is about to skip.
//!
//! That a blob or a layer is in the store does not say that it is whole: a disk may have damaged it since. Each is read
//! before it is relied on, several at a time, and what is damaged is imported as if it were not there.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::job::{Damaged, Import};
use crate::disk::{blob_digest, blob_label, tree_digest};
use crate::error::{Error, Result};
use crate::values::{Digest, LayerRecord, limits};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Blob(Digest),
    Layer(Digest),
}

impl Import<'_> {
    /// Finds out what is damaged of what the store has of this image.
    pub(super) fn find_damaged(&self) -> Result<Damaged> {
        let parts: Vec<Part> = self.parts().into_iter().collect();
        let next = AtomicUsize::new(0);
        let outcome = Mutex::new((Damaged::default(), None));
        let work = || {
            while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                let is_whole = self.is_whole(part);
                let (damaged, failed) = &mut *outcome.lock();
                match (is_whole, part) {
                    (Ok(true), _) => {}
                    (Ok(false), Part::Blob(digest)) => drop(damaged.blobs.insert(*digest)),
                    (Ok(false), Part::Layer(diff_id)) => drop(damaged.layers.insert(*diff_id)),
                    (Err(error), _) => *failed = Some(error),
                }
            }
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..cores.min(limits::PARALLEL_LAYERS).min(parts.len()) {
                scope.spawn(work);
            }
        });
        match outcome.into_inner() {
            (_, Some(error)) => Err(error),
            (damaged, None) => Ok(damaged),
        }
    }

    /// What the store may have.
    fn parts(&self) -> BTreeSet<Part> {
        let mut parts = BTreeSet::new();
        for layer in &self.found.layers {
            if !self.store.layer_dir(&layer.diff_id).exists() {
                parts.extend(layer.blob.map(|(digest, _)| Part::Blob(digest)));
                continue;
            }
            parts.insert(Part::Layer(layer.diff_id));
            match layer.blob {
                Some((digest, _)) => drop(parts.insert(Part::Blob(digest))),
                None => {
                    let record = self.store.layer_record(&layer.diff_id).ok().flatten();
                    let known = record.into_iter().flat_map(|record| record.blobs);
                    parts.extend(known.chain([layer.diff_id]).map(Part::Blob));
                }
            }
        }
        parts
    }

    fn is_whole(&self, part: &Part) -> Result<bool> {
        let watch = |_| !self.progress.interrupted();
        let whole = match part {
            Part::Blob(digest) => match self.store.blob(digest) {
                Ok(Some(content)) => blob_digest(&content, &blob_label(digest), &watch)
                    .map(|actual| actual == *digest),
                Ok(None) => Ok(true),
                Err(error) => Err(error),
            },
            Part::Layer(diff_id) => self.store.layer_record(diff_id).and_then(|record| {
                let Some(record) = record else {
                    return Ok(false);
                };
                let diff = self.store.layer_dir(diff_id).join("diff");
                match record.tree {
                    Some(wanted) => Ok(tree_digest(&diff, &record, &watch)? == wanted),
                    // An older version unpacked it; `fsck` compares it with its blob.
                    None => Ok(diff.is_dir()),
                }
            }),
        };
        match whole {
            Err(Error::Interrupted) => Err(Error::Interrupted),
            Err(error) => {
                log::info!("{error}");
                Ok(false)
            }
            Ok(false) => {
                log::info!("{part:?} in the store is damaged, and imported again");
                Ok(false)
            }
            whole => whole,
        }
    }

    /// What is known of a layer that is whole; `None` if it is to be unpacked.
    pub(super) fn whole_record(&self, diff_id: &Digest) -> Result<Option<LayerRecord>> {
        if self.damaged.layers.contains(diff_id) {
            Ok(None)
        } else {
            self.store.layer_record(diff_id)
        }
    }

    /// A blob of the store, if it has it and it is whole.
    pub(super) fn whole_blob(&self, digest: &Digest) -> Result<Option<crate::disk::Content>> {
        if self.damaged.blobs.contains(digest) {
            Ok(None)
        } else {
            self.store.blob(digest)
        }
    }
}

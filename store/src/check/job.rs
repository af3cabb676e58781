//! The state of one check, and the order of its steps.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::document;
use super::finding::{CheckFault, CheckReport, CheckedObject, Finding, Remedy, RepairedFrom};
use crate::container::{ContainerRecord, PlacesRecord, places};
use crate::disk::{
    IndexState, MARKER, Seal, Staging, Store, read_document, read_record, restored, sync_dir,
    unseal,
};
use crate::error::{Context, Result};
use crate::oci::{Index, Platform};
use crate::progress::{Event, Progress};
use crate::source::{Found, Source};
use crate::values::{ContainerName, Digest, Limits, Ownership, limits};

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

impl Store {
    /// Checks the store, or one image of it.
    ///
    /// # Errors
    /// If the check cannot be done: the store cannot be listed, or the source is none. What is damaged is no error,
    /// but in the report. [`crate::Error::Interrupted`] if `progress` asked for it.
    pub fn check(&self, request: &CheckRequest, progress: &dyn Progress) -> Result<CheckReport> {
        // Nothing is collected meanwhile.
        let _shared = self.share()?;
        let staging = match (self.stage(), request.repair) {
            (Ok(staging), _) => Some(staging),
            (Err(error), true) => return Err(error),
            (Err(error), false) => {
                log::info!("{error}");
                None
            }
        };
        let source = match (&request.source, &staging) {
            (Some(source), Some(staging)) => {
                Some(source.find(None::<&Platform>, staging, &|| progress.interrupted())?)
            }
            _ => None,
        };
        let mut check = Check {
            store: self,
            request,
            staging,
            source,
            progress,
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            report: Mutex::new(CheckReport::default()),
            blobs: BTreeMap::new(),
            documents: BTreeMap::new(),
            layers: BTreeMap::new(),
            blobs_of: HashMap::new(),
            lost: Mutex::new(BTreeSet::new()),
        };
        check.run()?;
        let mut report = check.report.into_inner();
        report.findings.sort_by(|a, b| a.object.cmp(&b.object));
        if report.findings.iter().any(Finding::is_repaired) {
            for dir in [self.layers_dir(), self.blobs_dir(), self.path().to_owned()] {
                sync_dir(&dir)?;
            }
        }
        Ok(report)
    }
}

impl Check<'_> {
    pub(super) fn run(&mut self) -> Result<()> {
        if self.request.image.is_none() {
            self.marker()?;
        }
        if let Some(index) = self.index()? {
            self.images(&index)?;
        }
        if self.request.image.is_none() {
            self.containers()?;
            self.everything_else()?;
        }
        self.count()?;
        let blobs: Vec<(&Digest, &Users)> = self.blobs.iter().collect();
        self.parallel(&blobs, |(digest, users)| self.blob(digest, users))?;
        let layers: Vec<(&Digest, &Users)> = self.layers.iter().collect();
        self.parallel(&layers, |(digest, users)| self.layer(digest, users))
    }

    /// The file that makes the directory an image layout.
    pub(super) fn marker(&self) -> Result<()> {
        let path = self.store.path().join("oci-layout");
        let bytes = read_document(&path, limits::DOCUMENT_BYTES).unwrap_or_default();
        let version = |bytes: &[u8]| {
            let marker: serde_json::Value = serde_json::from_slice(bytes).ok()?;
            Some(marker["imageLayoutVersion"].as_str()?.to_owned())
        };
        if version(&bytes).as_deref() == Some("1.0.0") {
            return Ok(());
        }
        let remedy = self.repair(|staging| {
            staging.publish_file("oci-layout", MARKER, &path)?;
            Ok(RepairedFrom::Itself)
        });
        self.found(
            CheckedObject::Marker,
            &Users::new(),
            CheckFault::Content,
            remedy,
        )
    }

    /// The index of images; none if it is lost.
    pub(super) fn index(&self) -> Result<Option<Index>> {
        let read = match self.store.read_index() {
            Ok(read) => read,
            Err(error) => return self.lost_index(&error),
        };
        let (object, from) = match read.state {
            IndexState::Whole | IndexState::Foreign => return Ok(Some(read.index)),
            IndexState::NoCopy => {
                if self.request.repair {
                    self.write_index(&read.index)?;
                }
                return Ok(Some(read.index));
            }
            IndexState::CopyDamaged => (CheckedObject::IndexCopy, RepairedFrom::Index),
            IndexState::Damaged | IndexState::Missing => (CheckedObject::Index, RepairedFrom::Copy),
        };
        let fault = match read.state {
            IndexState::Missing => CheckFault::Missing,
            _ => CheckFault::Content,
        };
        let remedy = self.repair(|_| {
            self.write_index(&read.index)?;
            Ok(from)
        });
        self.found(object, &Users::new(), fault, remedy)?;
        Ok(Some(read.index))
    }

    /// Finds the manifests that a lost index named. Their names are lost.
    pub(super) fn lost_index(&self, error: &crate::Error) -> Result<Option<Index>> {
        let no_copy = "it cannot be understood, and there is no whole copy of it";
        let fault = match error {
            crate::Error::LostIndex { .. } if self.store.index_path().exists() => {
                CheckFault::Unreadable(no_copy.to_owned())
            }
            crate::Error::LostIndex { .. } => CheckFault::Missing,
            error => CheckFault::Unreadable(error.to_string()),
        };
        let remedy = self.repair(|_| {
            self.write_index(&document::recovered_index(self.store)?)?;
            Ok(RepairedFrom::Manifests)
        });
        let is_repaired = matches!(remedy, Remedy::Repaired(_));
        self.found(CheckedObject::Index, &Users::new(), fault, remedy)?;
        match is_repaired {
            true => self.store.index().map(Some),
            false => Ok(None),
        }
    }

    pub(super) fn write_index(&self, index: &Index) -> Result<()> {
        let _lock = self.store.lock()?;
        self.store.write_index(index)
    }

    /// Containers, their records and what they stand on.
    pub(super) fn containers(&mut self) -> Result<()> {
        for name in self.store.container_names()? {
            self.report.lock().containers += 1;
            let dir = self.store.containers_dir().join(name.as_str());
            self.places(&name, &dir.join(places::FILE))?;
            let Some(record) = self.container(&name, &dir.join("container.json"))? else {
                continue;
            };
            let user = format!("container {name}");
            for layer in &record.diff_ids {
                self.layers.entry(*layer).or_default().insert(user.clone());
            }
            self.document(&record.manifest_digest, &user, 0)?;
        }
        Ok(())
    }

    pub(super) fn container(
        &self,
        name: &ContainerName,
        path: &Path,
    ) -> Result<Option<ContainerRecord>> {
        let is_its = |record: &ContainerRecord| record.name == *name;
        let object = CheckedObject::Container(name.clone());
        self.record_of_container(object, path, is_its, || {
            refuse("its layers are not known any more; its changes are in its directory upper")
        })
    }

    /// The record of places to mount on, which is there while a container runs, and after that was killed.
    pub(super) fn places(&self, name: &ContainerName, path: &Path) -> Result<()> {
        if !path.exists() {
            return Ok(());
        }
        let object = CheckedObject::Places(name.clone());
        let checked = self.record_of_container(
            object,
            path,
            |_: &PlacesRecord| true,
            || {
                // What it named is empty, and in the container for good.
                std::fs::remove_file(path).context("remove", path)?;
                Ok(RepairedFrom::WithoutPlaces)
            },
        );
        checked.map(drop)
    }

    /// A sealed record of a container. `lost` is the repair of one that cannot be restored.
    pub(super) fn record_of_container<T: serde::Serialize + serde::de::DeserializeOwned>(
        &self,
        object: CheckedObject,
        path: &Path,
        is_its: impl FnOnce(&T) -> bool,
        lost: impl FnOnce() -> Result<RepairedFrom>,
    ) -> Result<Option<T>> {
        let error = match read_record::<T>(path) {
            Ok(record) if is_its(&record) && is_plain(path, &record) => return Ok(Some(record)),
            Ok(_) => "it is not what plyfs writes".to_owned(),
            Err(error) => error.to_string(),
        };
        let whole = restored::<T>(path);
        let remedy = self.repair(|staging| match &whole {
            Some((bytes, _)) => {
                staging.publish_file(object.kind(), bytes, path)?;
                Ok(RepairedFrom::Itself)
            }
            None => lost(),
        });
        self.found(object, &Users::new(), CheckFault::Unreadable(error), remedy)?;
        Ok(whole.map(|(_, record)| record))
    }

    /// Adds what is in the store and was not reached.
    pub(super) fn everything_else(&mut self) -> Result<()> {
        for (digest, _) in self.store.entries(&self.store.blobs_dir())? {
            if !self.documents.contains_key(&digest) {
                self.blobs.entry(digest).or_default();
            }
        }
        for (digest, _) in self.store.entries(&self.store.layers_dir())? {
            self.layers.entry(digest).or_default();
        }
        Ok(())
    }

    /// How much there is to read.
    pub(super) fn count(&self) -> Result<()> {
        let mut total = 0;
        for digest in self.blobs.keys() {
            total += self
                .store
                .blob(digest)
                .ok()
                .flatten()
                .map_or(0, |content| content.len());
        }
        for digest in self.layers.keys() {
            let record = self.store.layer_record(digest).ok().flatten();
            total += record.map_or(0, |record| record.facts.data);
        }
        self.total.store(total, Ordering::Relaxed);
        let mut report = self.report.lock();
        report.blobs = self.blobs.len();
        report.documents = self.documents.len();
        report.layers = self.layers.len();
        Ok(())
    }

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
    matches!(unseal(&bytes), Seal::Whole(_)) || bytes == crate::disk::to_json(record)
}

/// Why something cannot be repaired.
pub(super) fn refuse<T>(why: &'static str) -> Result<T> {
    Err(crate::Error::NotRepaired(why.to_owned()))
}

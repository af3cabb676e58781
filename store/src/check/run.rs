//! Checking a store or an image: the order of the steps.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::finding::{CheckFault, CheckReport, CheckedObject, Finding, RepairedFrom};
use super::job::{Check, CheckRequest, Users};
use crate::disk::{MARKER, Store, read_document, sync_dir};
use crate::error::Result;
use crate::oci::Platform;
use crate::progress::Progress;
use crate::values::{Digest, limits};

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
}

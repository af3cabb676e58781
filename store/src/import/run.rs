//! Importing one image or several: the order of the steps.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use plyfs_format::names::Namespace;

use super::job::{Damaged, Import, ImportRequest, Imported, PullRequest, Terms};
use super::layer_blob::LayerBlob;
use super::plan::{Plan, Task};
use super::sync::SyncGroup;
use crate::disk::{Staging, Store, sync_dir};
use crate::error::{Error, Result};
use crate::image::give_name;
use crate::progress::{Event, Progress};
use crate::source::{Found, find_remote};
use crate::unpack::can_set_trusted;
use crate::values::{ImageName, limits};

impl Store {
    /// Imports an image, and gives it its name when everything is in the store.
    ///
    /// # Errors
    /// What is wrong with the source or the image, in [`Error`]; the store is then as before, but
    /// for layers that were complete. [`Error::Interrupted`] if `progress` asked for it.
    pub fn import(&self, request: &ImportRequest, progress: &dyn Progress) -> Result<Imported> {
        let staging = self.stage()?;
        // From before it is looked what is there, until an index leads to it.
        let _shared = self.share()?;
        let interrupted = || progress.interrupted();
        let platform = request.platform.as_ref();
        let found = request.source.find(platform, &staging, &interrupted)?;
        let name = match &request.name {
            Some(name) => name.clone(),
            None => found.name.clone()?,
        };
        self.import_found(&staging, request.terms(), &found, name, progress)
    }

    /// Imports all images of a source, one after another, each under every name it has there; a name
    /// in the request is disregarded.
    ///
    /// # Errors
    /// As [`Store::import`]; nothing is imported if an image has no name of its own. After another
    /// error the images before it are in the store.
    pub fn import_all(
        &self,
        request: &ImportRequest,
        progress: &dyn Progress,
    ) -> Result<Vec<Imported>> {
        let staging = self.stage()?;
        let _shared = self.share()?;
        let interrupted = || progress.interrupted();
        let platform = request.platform.as_ref();
        let all = request.source.find_all(platform, &staging, &interrupted)?;
        let import = |(name, found): (_, Found)| {
            let staging = self.stage()?;
            self.import_found(&staging, request.terms(), &found, name, progress)
        };
        all.into_iter().map(import).collect()
    }

    /// Imports an image from a remote. Its layers are unpacked while they come, several at a time.
    ///
    /// What came of a layer stays when the pull ends early, and the next pull goes on from there.
    ///
    /// # Errors
    /// As [`Store::import`], and [`Error::Remote`].
    pub fn pull(&self, request: &PullRequest, progress: &dyn Progress) -> Result<Imported> {
        let staging = self.stage()?;
        let _shared = self.share()?;
        let platform = request.platform.as_ref();
        let found = find_remote(&request.remote, &request.name, platform);
        let found = found.map_err(|error| match progress.interrupted() {
            true => Error::Interrupted,
            false => error,
        })?;
        let terms = Terms {
            ownership: request.ownership,
            limits: request.limits,
        };
        let imported =
            self.import_found(&staging, terms, &found, request.name.clone(), progress)?;
        let layers = found.layers.iter().filter_map(|layer| layer.blob.as_ref());
        let blobs = layers.map(|(digest, _)| digest);
        let blobs = blobs.chain([&found.config.descriptor.digest]);
        if let Err(error) = self.add_origin(&request.remote.repository(), blobs) {
            log::info!("{error}");
        }
        Ok(imported)
    }

    /// Imports an image that was found.
    pub(crate) fn import_found(
        &self,
        staging: &Staging,
        terms: Terms,
        found: &Found,
        name: ImageName,
        progress: &dyn Progress,
    ) -> Result<Imported> {
        let mut import = Import {
            store: self,
            staging,
            terms,
            found,
            progress,
            namespace: if can_set_trusted(staging.dir()) {
                Namespace::Trusted
            } else {
                Namespace::User
            },
            sync: SyncGroup::new(staging.dir()),
            damaged: Damaged::default(),
            failed: AtomicBool::new(false),
        };
        import.damaged = import.find_damaged()?;
        let plan = import.plan()?;
        progress.event(&Event::Planned {
            layers: &plan.layers,
        });
        let blobs = import.run(&plan)?;
        // The names of layers and blobs must be on disk before an index leads to them.
        sync_dir(&self.layers_dir())?;
        sync_dir(&self.blobs_dir())?;
        let manifest = import.publish_documents(&blobs)?;
        let descriptor = import.named(&manifest, &name);
        self.change_index(|index| give_name(index, &name, descriptor))?;
        Ok(Imported {
            name,
            manifest_digest: manifest.digest,
            layers: plan.layers.len(),
            unpacked: plan.tasks.iter().filter(|task| task.unpack).count(),
        })
    }
}

/// What came of the tasks so far.
pub(super) struct Outcome {
    pub(super) blobs: Vec<Option<LayerBlob>>,
    pub(super) error: Option<Error>,
}

impl Outcome {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            blobs: plan.present.clone(),
            error: None,
        }
    }

    pub(super) fn done(&mut self, task: &Task, blob: LayerBlob) {
        for &layer in &task.layers {
            if let Some(slot) = self.blobs.get_mut(layer) {
                *slot = Some(blob);
            }
        }
    }

    pub(super) fn finish(self) -> Result<Vec<LayerBlob>> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let blobs: Option<Vec<_>> = self.blobs.into_iter().collect();
        // A task that was neither done nor failed was cancelled.
        blobs.ok_or(Error::Interrupted)
    }
}

impl Import<'_> {
    /// Works off the tasks, several at a time, and returns the blobs of all layers, bottom first.
    pub(super) fn run(&self, plan: &Plan) -> Result<Vec<LayerBlob>> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = cores.min(limits::PARALLEL_LAYERS).min(plan.tasks.len());
        let next = AtomicUsize::new(0);
        let outcome = Mutex::new(Outcome::new(plan));
        let work = || {
            while let Some(task) = plan.tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.run_task(task, &outcome);
            }
        };
        self.sync.while_flushing(|| {
            std::thread::scope(|scope| {
                for _ in 0..workers {
                    scope.spawn(work);
                }
            });
        });
        outcome.into_inner().finish()
    }

    pub(super) fn run_task(&self, task: &Task, outcome: &Mutex<Outcome>) {
        if self.failed.load(Ordering::Relaxed) {
            return;
        }
        match self.layer(task) {
            Ok(blob) => {
                outcome.lock().done(task, blob);
                for &layer in &task.layers {
                    self.progress.event(&Event::Published { layer });
                }
            }
            Err(error) => {
                // Those that stop because of this one have nothing to add.
                if !self.failed.swap(true, Ordering::Relaxed) {
                    outcome.lock().error = Some(error);
                }
            }
        }
    }
}

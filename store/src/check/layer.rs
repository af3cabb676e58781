//! Checking unpacked layers and their records.

use std::path::PathBuf;

use plyfs_format::names::Namespace;

use super::finding::{CheckFault, CheckedObject, Remedy, RepairedFrom};
use super::job::{Check, Users, is_plain, refuse};
use crate::disk::{
    Content, Staging, blob_label, differences, read_document, restored, seal, tree_digest,
};
use crate::error::{Error, Result};
use crate::import::Again;
use crate::unpack::can_set_trusted;
use crate::values::{Digest, LayerRecord, Ownership, limits};

/// A layer that was unpacked again.
struct Fresh {
    dir: PathBuf,
    record: LayerRecord,
    from: RepairedFrom,
}

impl Check<'_> {
    pub(super) fn layer(&self, diff_id: &Digest, users: &Users) -> Result<()> {
        let mut record = self.record(diff_id);
        let diff = self.store.layer_dir(diff_id).join("diff");
        let is_there = diff.symlink_metadata().is_ok();
        if is_there && record.is_err() {
            record = self.restore_record(diff_id, users, record)?;
        }
        let tree = match &record {
            _ if !is_there => Some(CheckFault::Missing),
            Ok(record) => self.tree(diff_id, record)?,
            Err(_) => Some(CheckFault::Unknown),
        };
        if record.is_ok() && tree.is_none() {
            return Ok(());
        }
        let fresh = match self.unpack(diff_id, record.as_ref().ok()) {
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            fresh => fresh,
        };
        let tree = self.compare(diff_id, tree, fresh.as_ref().ok())?;
        if let (Ok(_), None, Ok(fresh)) = (&record, &tree, &fresh) {
            return self.bring_up_to_date(diff_id, record.ok(), fresh);
        }
        self.settle(diff_id, users, record, tree, fresh)
    }

    /// Heals a record in which one bit was flipped.
    fn restore_record(
        &self,
        diff_id: &Digest,
        users: &Users,
        record: std::result::Result<LayerRecord, CheckFault>,
    ) -> Result<std::result::Result<LayerRecord, CheckFault>> {
        let path = self.store.layer_dir(diff_id).join("layer.json");
        let (Err(fault), Some((bytes, whole))) = (&record, restored::<LayerRecord>(&path)) else {
            return Ok(record);
        };
        let remedy = self.repair(|staging| {
            let _lock = self.store.lock()?;
            staging.publish_file(&format!("record-{}", diff_id.hex()), &bytes, &path)?;
            Ok(RepairedFrom::Itself)
        });
        self.found(
            CheckedObject::LayerRecord(*diff_id),
            users,
            fault.clone(),
            remedy,
        )?;
        Ok(Ok(whole))
    }

    /// Adds the digest of its tree to the record of a layer that an older version unpacked.
    fn bring_up_to_date(
        &self,
        diff_id: &Digest,
        record: Option<LayerRecord>,
        fresh: &Fresh,
    ) -> Result<()> {
        let remedy = self.repair(|staging| {
            self.put_record(staging, diff_id, &merged(fresh.record.clone(), record))?;
            Ok(RepairedFrom::Itself)
        });
        if let Remedy::Impossible(why) = remedy {
            log::info!("the record of layer {diff_id} has no digest of its tree: {why}");
        }
        Ok(())
    }

    fn put_record(&self, staging: &Staging, diff_id: &Digest, record: &LayerRecord) -> Result<()> {
        let place = self.store.layer_dir(diff_id).join("layer.json");
        let name = format!("record-{}", diff_id.hex());
        let _lock = self.store.lock()?;
        staging.publish_file(&name, &seal(record), &place)
    }

    /// The record, if there is nothing wrong with it.
    fn record(&self, diff_id: &Digest) -> std::result::Result<LayerRecord, CheckFault> {
        let path = self.store.layer_dir(diff_id).join("layer.json");
        match self.store.layer_record(diff_id) {
            Ok(Some(record)) if record.diff_id == *diff_id && is_plain(&path, &record) => {
                Ok(record)
            }
            Ok(Some(_)) => Err(CheckFault::Unreadable(
                "it is not what plyfs writes".to_owned(),
            )),
            Ok(None) => Err(CheckFault::Missing),
            Err(error) => Err(CheckFault::Unreadable(error.to_string())),
        }
    }

    /// Compares a tree with its digest.
    fn tree(&self, diff_id: &Digest, record: &LayerRecord) -> Result<Option<CheckFault>> {
        let diff = self.store.layer_dir(diff_id).join("diff");
        let Some(wanted) = record.tree else {
            return Ok(Some(CheckFault::Unknown));
        };
        match tree_digest(&diff, record, &|bytes| self.read(bytes)) {
            Ok(actual) if actual == wanted => Ok(None),
            Ok(_) => Ok(Some(CheckFault::Tree)),
            Err(Error::Interrupted) => Err(Error::Interrupted),
            Err(error) => Ok(Some(CheckFault::Unreadable(error.to_string()))),
        }
    }

    /// Compares a tree with what its blob unpacks to.
    fn compare(
        &self,
        diff_id: &Digest,
        fault: Option<CheckFault>,
        fresh: Option<&Fresh>,
    ) -> Result<Option<CheckFault>> {
        let (Some(fault), Some(fresh)) = (&fault, fresh) else {
            return Ok(fault);
        };
        if !matches!(fault, CheckFault::Tree | CheckFault::Unknown) {
            return Ok(Some(fault.clone()));
        }
        let actual = self.store.layer_dir(diff_id).join("diff");
        let watch = |bytes| self.read(bytes);
        match differences(&actual, &fresh.dir.join("diff"), &fresh.record, &watch) {
            Ok(found) if found.is_empty() => Ok(None),
            Ok(found) => Ok(Some(CheckFault::Differs(found))),
            Err(Error::Interrupted) => Err(Error::Interrupted),
            Err(error) => Ok(Some(CheckFault::Unreadable(error.to_string()))),
        }
    }

    /// Reports what is wrong with a layer, and puts in its place what was unpacked.
    fn settle(
        &self,
        diff_id: &Digest,
        users: &Users,
        record: std::result::Result<LayerRecord, CheckFault>,
        tree: Option<CheckFault>,
        fresh: Result<Fresh>,
    ) -> Result<()> {
        let of_record = record.as_ref().err().cloned();
        let is_whole = tree.is_none();
        // A layer that is not there has no record of its own.
        let of_record = of_record
            .filter(|fault| !(tree == Some(CheckFault::Missing) && *fault == CheckFault::Missing));
        let remedy = match (is_whole, fresh) {
            (true, Ok(fresh)) => self.repair(|staging| {
                self.put_record(staging, diff_id, &merged(fresh.record, record.ok()))?;
                Ok(fresh.from)
            }),
            (true, Err(_)) => Remedy::NotAsked,
            (false, Ok(fresh)) => self.repair(|staging| {
                let record = merged(fresh.record, record.ok());
                let name = format!("record-{}", diff_id.hex());
                staging.publish_file(&name, &seal(&record), &fresh.dir.join("layer.json"))?;
                self.store.replace_layer(&fresh.dir, diff_id)?;
                Ok(fresh.from)
            }),
            (false, Err(error)) => match self.unpackable(users, diff_id)? {
                Some(remedy) => remedy,
                None => self.repair(|_| Err(error)),
            },
        };
        if let Some(fault) = of_record {
            self.found(
                CheckedObject::LayerRecord(*diff_id),
                users,
                fault,
                remedy.clone(),
            )?;
        }
        match tree {
            Some(fault) => self.found(CheckedObject::Layer(*diff_id), users, fault, remedy),
            None => Ok(()),
        }
    }

    /// What becomes of a damaged layer that cannot be unpacked again: if nothing needs it, it goes.
    fn unpackable(&self, users: &Users, diff_id: &Digest) -> Result<Option<Remedy>> {
        if !users.is_empty() || self.request.image.is_some() {
            return Ok(None);
        }
        Ok(Some(self.repair(|_| {
            let _unused = self.store.unused_layer(diff_id)?;
            self.store.remove_object(&self.store.layer_dir(diff_id))?;
            Ok(RepairedFrom::Removed)
        })))
    }

    /// Unpacks a layer again from the first of its blobs that is whole.
    fn unpack(&self, diff_id: &Digest, record: Option<&LayerRecord>) -> Result<Fresh> {
        let Some(staging) = &self.staging else {
            return refuse("there is no space to unpack its blob");
        };
        let (ownership, trusted) = match record {
            Some(record) => (record.ownership, record.trusted),
            None => self.guess(diff_id),
        };
        let namespace = match trusted {
            Some(true) => Namespace::Trusted,
            Some(false) => Namespace::User,
            None if can_set_trusted(staging.dir()) => Namespace::Trusted,
            None => Namespace::User,
        };
        let dir = staging.path().join(format!("layer-{}", diff_id.hex()));
        let (content, label, from) = self.blob_of_layer(diff_id, record)?;
        let again = Again {
            label: &label,
            content: &content,
            diff_id: *diff_id,
            ownership,
            namespace,
            limits: self.limits(),
        };
        let record = again.unpack(&dir, &|_| self.read(0))?;
        Ok(Fresh { dir, record, from })
    }

    /// How a layer was unpacked whose record is damaged, by what can still be read of it.
    fn guess(&self, diff_id: &Digest) -> (Ownership, Option<bool>) {
        let path = self.store.layer_dir(diff_id).join("layer.json");
        let bytes = read_document(&path, limits::DOCUMENT_BYTES).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let ownership = match () {
            () if text.contains("\"ownership\":\"real\"") => Ownership::Real,
            () if text.contains("\"ownership\":\"override\"") => Ownership::Override,
            () => self.request.ownership,
        };
        let trusted = match () {
            () if text.contains("\"trusted\":true") => Some(true),
            () if text.contains("\"trusted\":false") => Some(false),
            () => None,
        };
        (ownership, trusted)
    }

    /// A blob of a layer: of the store if it has one that is whole, else of the image that the caller named.
    fn blob_of_layer(
        &self,
        diff_id: &Digest,
        record: Option<&LayerRecord>,
    ) -> Result<(Content, String, RepairedFrom)> {
        let of_images = self.blobs_of.get(diff_id).into_iter().flatten();
        let of_record = record.into_iter().flat_map(|record| &record.blobs);
        for digest in of_images.chain(of_record).chain([diff_id]) {
            if self.lost.lock().contains(digest) {
                continue;
            }
            if let Ok(Some(content)) = self.store.blob(digest) {
                return Ok((content, blob_label(digest), RepairedFrom::Blob(*digest)));
            }
        }
        let layers = self.source.iter().flat_map(|source| &source.layers);
        for layer in layers.filter(|layer| layer.diff_id == *diff_id) {
            let files = self.source.as_ref().map(|source| &source.files);
            if let Some(content) = files.and_then(|files| files.open(&layer.file).ok().flatten()) {
                return Ok((content, layer.label.clone(), RepairedFrom::Source));
            }
        }
        refuse(
            "no whole blob of it is left; import the image again, or name a copy of it with --from",
        )
    }
}

/// A fresh record with the blobs that the old one knew.
fn merged(mut fresh: LayerRecord, old: Option<LayerRecord>) -> LayerRecord {
    for blob in old.into_iter().flat_map(|record| record.blobs) {
        if !fresh.blobs.contains(&blob) {
            fresh.blobs.push(blob);
        }
    }
    fresh
}

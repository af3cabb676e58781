//! Checking blobs that are no documents.

use std::io::Write;

use super::finding::{CheckFault, CheckedObject, RepairedFrom};
use super::job::{Check, Users, refuse};
use crate::disk::{Content, Staging, blob_digest, blob_label, digest_of};
use crate::error::{Context, Error, Result};
use crate::source::blob_file;
use crate::values::{Digest, limits, restore_bit};

/// Why a blob cannot be repaired.
pub(super) const NO_SOURCE: &str =
    "it is in no other place; import the image again, or name a copy of it with --from";

impl Check<'_> {
    pub(super) fn blob(&self, digest: &Digest, users: &Users) -> Result<()> {
        let fault = match self.digest_of(digest) {
            Ok(Some(actual)) if actual == *digest => return Ok(()),
            Ok(Some(_)) => CheckFault::Content,
            Ok(None) => CheckFault::Missing,
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => CheckFault::Unreadable(error.to_string()),
        };
        let remedy = self.repair(|staging| self.repair_blob(staging, digest, users));
        if !matches!(remedy, super::Remedy::Repaired(_)) {
            self.lost.lock().insert(*digest);
        }
        self.found(CheckedObject::Blob(*digest), users, fault, remedy)
    }

    fn digest_of(&self, digest: &Digest) -> Result<Option<Digest>> {
        match self.store.blob(digest)? {
            None => Ok(None),
            Some(content) => {
                let watch = |bytes| self.read(bytes);
                blob_digest(&content, &blob_label(digest), &watch).map(Some)
            }
        }
    }

    fn repair_blob(
        &self,
        staging: &Staging,
        digest: &Digest,
        users: &Users,
    ) -> Result<RepairedFrom> {
        if let Ok(Some(content)) = self.store.blob(digest)
            && let Ok(bytes) = content.read_all(&blob_label(digest), limits::DOCUMENT_BYTES)
            && let Some(whole) = restore_bit(&bytes, |bytes| Digest::of(bytes) == *digest)
        {
            self.store.put_document(staging, digest, &whole)?;
            return Ok(RepairedFrom::Itself);
        }
        if let Some(content) = self.blob_of_source(digest)? {
            let name = format!("blob-{}", digest.hex());
            let path = staging.path().join(&name);
            let mut file = staging.create_file(&name)?;
            let watch = |_| self.read(0);
            let actual = digest_of(&content, &blob_label(digest), &watch, |bytes| {
                file.write_all(bytes).context("write", &path)
            })?;
            if actual == *digest {
                file.sync_all().context("sync", &path)?;
                self.store.put_blob(&path, digest)?;
                return Ok(RepairedFrom::Source);
            }
            std::fs::remove_file(&path).context("remove", &path)?;
        }
        // A shared store is not collected, so nothing begins to need it but an import, which verifies it.
        if users.is_empty() && self.request.image.is_none() {
            self.store.remove_object(&self.store.blob_path(digest))?;
            return Ok(RepairedFrom::Removed);
        }
        refuse(NO_SOURCE)
    }

    /// A blob of the image that the caller named. It is still to be verified.
    fn blob_of_source(&self, digest: &Digest) -> Result<Option<Content>> {
        let Some(source) = &self.source else {
            return Ok(None);
        };
        let mut layers = source.layers.iter();
        let named = layers.find(|layer| layer.blob.is_some_and(|(blob, _)| blob == *digest));
        match named {
            Some(layer) => source.files.open(&layer.file),
            None => source.files.open(&blob_file(digest)),
        }
    }
}

//! Saving an image, from its name on.

use std::fs::File;

use super::parts::{Parts, Told};
use super::{archive, layout};
use crate::disk::Store;
use crate::error::Result;
use crate::progress::{Progress, Silent};
use crate::source::{Form, Source};
use crate::values::{Digest, ImageName, limits};

/// What was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The name of the image in the store.
    pub name: ImageName,
    /// The digest of its manifest.
    pub manifest_digest: Digest,
}

impl Store {
    /// Writes an image to a layout or an archive. `target` names it as a source of an import does.
    ///
    /// # Errors
    /// [`SaveError`](crate::SaveError) if there is something in the way, [`BlobError`](crate::BlobError) if the image in the store is
    /// damaged.
    pub fn save(&self, name: &str, target: &Source) -> Result<Saved> {
        self.save_to(name, target, None, &Silent)
    }

    /// As [`save`](Self::save), telling how far it is, and to a file or pipe that is open where an archive is asked
    /// for. A reader must not take it for complete before this has returned.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_to(
        &self,
        name: &str,
        target: &Source,
        out: Option<File>,
        progress: &dyn Progress,
    ) -> Result<Saved> {
        // Nothing of the image goes meanwhile.
        let _shared = self.share()?;
        let parts = self.parts(name, progress)?;
        if target.form != Form::DockerArchive {
            // Before anything is written.
            parts.ref_name(target)?;
        }
        match target.form {
            Form::Oci => layout::save(&parts, target)?,
            Form::OciArchive => archive::save_oci(&parts, target, out)?,
            Form::DockerArchive => archive::save_docker(&parts, target, out)?,
        }
        Ok(Saved {
            name: parts.name,
            manifest_digest: parts.descriptor.digest,
        })
    }

    pub(super) fn parts<'s>(&'s self, name: &str, progress: &'s dyn Progress) -> Result<Parts<'s>> {
        let (name, descriptor) = self.find_image(name)?;
        let manifest_bytes = self.document(&descriptor, limits::DOCUMENT_BYTES)?;
        let (manifest, _) = self.documents(&descriptor)?;
        let config_bytes = self.document(&manifest.config, limits::CONFIG_BYTES)?;
        Ok(Parts {
            store: self,
            told: Told::new(progress, &manifest),
            name,
            descriptor,
            manifest,
            manifest_bytes,
            config_bytes,
        })
    }
}

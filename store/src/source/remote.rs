//! An image that a remote has: its documents come at once, its layers when they are wanted.

use std::path::PathBuf;
use std::sync::Arc;

use super::files::Files;
use super::found::{Document, Found};
use super::{layout, select};
use crate::error::{Error, Result, SourceError};
use crate::oci::{Descriptor, DocumentType, Platform, index_of, kind_of};
use crate::remote::Remote;
use crate::values::{Digest, ImageName, limits};

/// Finds the image for the wanted platform, or for this machine.
pub(crate) fn find_remote(
    remote: &Arc<dyn Remote>,
    name: &ImageName,
    wanted: Option<&Platform>,
) -> Result<Found> {
    let place = PathBuf::from(remote.name());
    let mut document = manifest(remote.as_ref(), None)?;
    for _ in 0..limits::INDEX_DEPTH {
        let label = format!("document {}", document.descriptor.digest);
        let declared = &document.descriptor.media_type;
        if kind_of(&document.bytes, declared, &label)? == DocumentType::Manifest {
            let files = Arc::new(Files::Remote(Arc::clone(remote)));
            return layout::image(&files, document, Ok(name.clone()), wanted);
        }
        let candidates = index_of(&document.bytes, &label)?.manifests;
        if candidates.is_empty() {
            return Err(SourceError::Empty(place).into());
        }
        let chosen = select::by_platform(&place, candidates, wanted)?;
        document = manifest(remote.as_ref(), Some(&chosen))?;
    }
    Err(SourceError::TooDeep(place).into())
}

/// A manifest or index, compared with the descriptor that led to it.
fn manifest(remote: &dyn Remote, descriptor: Option<&Descriptor>) -> Result<Document> {
    let digest = descriptor.map(|descriptor| &descriptor.digest);
    let found = remote
        .manifest(digest, limits::DOCUMENT_BYTES)
        .map_err(Error::Remote)?;
    let actual = Digest::of(&found.bytes);
    if let Some(wanted) = digest.filter(|wanted| **wanted != actual) {
        let blob = format!("document {wanted}");
        return Err(crate::error::BlobError::Corrupt { blob, actual }.into());
    }
    let size = found.bytes.len() as u64;
    Ok(Document {
        descriptor: Descriptor::new(&found.media_type, actual, size),
        bytes: found.bytes,
    })
}

//! Checking the index of images.

use super::document;
use super::finding::{CheckFault, CheckedObject, Remedy, RepairedFrom};
use super::job::{Check, Users};
use crate::disk::IndexState;
use crate::error::Result;
use crate::oci::Index;

impl Check<'_> {
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
        if is_repaired {
            self.store.index().map(Some)
        } else {
            Ok(None)
        }
    }

    pub(super) fn write_index(&self, index: &Index) -> Result<()> {
        let _lock = self.store.lock()?;
        self.store.write_index(index)
    }
}

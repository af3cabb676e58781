//! Directories and files that a container has only while something is mounted on them, where its image has
//! none.
//!
//! They are no change of the container. Their paths are on disk before the first of them is made, so that
//! the next command that uses the container finds what a killed run has left.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::handle::Container;
use crate::disk::{Store, read_record, seal, sync_dir};
use crate::error::{Context, Result};
use crate::values::JsonPath;

/// The name of the record, in the directory of a container.
pub(crate) const FILE: &str = "places.json";

/// What the record says.
#[derive(Serialize, Deserialize)]
pub(crate) struct PlacesRecord {
    /// Paths from the root of the container. They need not be UTF-8.
    places: Vec<JsonPath>,
}

impl Store {
    /// Records the paths at which a container is about to get empty directories and files. They begin at its
    /// root. Its user calls this, who has its lock.
    ///
    /// # Errors
    /// If they cannot be written: then nothing may be made.
    pub fn record_places(&self, container: &Container, places: &BTreeSet<PathBuf>) -> Result<()> {
        let places = places.iter().map(|path| JsonPath::from(path.as_path()));
        let record = PlacesRecord {
            places: places.collect(),
        };
        let staging = self.stage()?;
        staging.publish_file(FILE, &seal(&record), &container.places_file())
    }
}

impl Container {
    /// The paths that were recorded, of which some may not be there; none if its last user removed them.
    ///
    /// # Errors
    /// If the record cannot be read.
    pub fn places(&self) -> Result<BTreeSet<PathBuf>> {
        let path = self.places_file();
        if !path.exists() {
            return Ok(BTreeSet::new());
        }
        let record: PlacesRecord = read_record(&path)?;
        Ok(record.places.into_iter().map(PathBuf::from).collect())
    }

    /// Removes the record: what it names is gone.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn forget_places(&self) -> Result<()> {
        let path = self.places_file();
        std::fs::remove_file(&path).context("remove", &path)?;
        sync_dir(&self.dir)
    }

    fn places_file(&self) -> PathBuf {
        self.dir.join(FILE)
    }
}

//! Checking the records of containers.

use std::path::Path;

use super::finding::{CheckFault, CheckedObject, RepairedFrom};
use super::job::{Check, Users, is_plain, refuse};
use crate::container::{PlacesRecord, places};
use crate::disk::{read_record, restored};
use crate::error::{Context, Result};
use crate::values::{ContainerName, ContainerRecord};

impl Check<'_> {
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
}

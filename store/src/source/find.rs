//! Opening a source, and finding images in it.

use std::sync::Arc;

use super::files::Files;
use super::found::Found;
use super::spec::{Form, Source};
use super::{archive, docker, layout};
use crate::disk::Staging;
use crate::error::{Context, Result, SourceError};
use crate::oci::Platform;
use crate::values::ImageName;

impl Source {
    /// Opens the source. An archive that has to be copied first can take long, so `interrupted` is
    /// asked meanwhile.
    pub(super) fn open(
        &self,
        staging: &Staging,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Arc<Files>> {
        Ok(Arc::new(match self.form {
            Form::Oci => {
                self.check_directory()?;
                Files::Directory(self.path.clone())
            }
            Form::OciArchive | Form::DockerArchive => {
                Files::Archive(archive::open(&self.path, staging, interrupted)?)
            }
        }))
    }

    /// Finds the image: reads and verifies its documents.
    pub(crate) fn find(
        &self,
        wanted: Option<&Platform>,
        staging: &Staging,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Found> {
        let files = self.open(staging, interrupted)?;
        match self.form {
            Form::Oci | Form::OciArchive => layout::find(self, &files, wanted),
            Form::DockerArchive => docker::find(self, &files, wanted),
        }
    }

    /// Finds all images, each of which has a name of its own.
    pub(crate) fn find_all(
        &self,
        wanted: Option<&Platform>,
        staging: &Staging,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Vec<(ImageName, Found)>> {
        let path = || self.path.clone();
        let files = self.open(staging, interrupted)?;
        let all = match self.form {
            Form::Oci | Form::OciArchive => layout::find_all(self, &files, wanted)?,
            Form::DockerArchive => docker::find_all(self, &files, wanted)?,
        };
        let mut named: Vec<(ImageName, Found)> = Vec::with_capacity(all.len());
        for found in all {
            let name = found.name.clone()?;
            if named.iter().any(|(other, _)| *other == name) {
                let path = path();
                return Err(SourceError::SameName { path, name }.into());
            }
            named.push((name, found));
        }
        if named.is_empty() {
            Err(SourceError::Empty(path()).into())
        } else {
            Ok(named)
        }
    }

    /// Makes sure that there is a directory and that it can be read.
    pub(super) fn check_directory(&self) -> Result<()> {
        match std::fs::read_dir(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
                Err(SourceError::Kind {
                    path: self.path.clone(),
                    what: "an OCI image layout",
                    why: "it is no directory; what is in a file is named by oci-archive: or docker-archive:"
                        .to_owned(),
                }
                .into())
            }
            read => read.map(drop).context("open", &self.path),
        }
    }
}

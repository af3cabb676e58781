//! An image in a registry, as the store asks for it.

use std::sync::atomic::{AtomicUsize, Ordering};

use plyfs_registry::{
    Client, Digest as RegistryDigest, Download, Error, MANIFEST_TYPES, Name, Repository,
};
use plyfs_store::{Digest, Remote, RemoteBlob, RemoteError, RemoteManifest};

/// An image in a repository, which may be fetched from mirrors of it.
#[derive(Debug)]
pub(crate) struct RegistryImage {
    name: Name,
    target: String,
    /// Mirrors, then the repository itself.
    places: Vec<Repository>,
    /// Which of them had it.
    chosen: AtomicUsize,
}

impl RegistryImage {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// If settings forbid this repository.
    pub(crate) fn new(client: &Client, name: Name, target: String) -> Result<Self, Error> {
        let places = client.pull(&name, &target)?;
        Ok(Self {
            name,
            target,
            places,
            chosen: AtomicUsize::new(0),
        })
    }

    /// Tries the places from the one on that had the image.
    fn first_that<T>(
        &self,
        ask: impl Fn(&Repository) -> Result<T, Error>,
    ) -> Result<T, RemoteError> {
        let mut failed = None;
        let first = self.chosen.load(Ordering::Relaxed);
        for (at, place) in self.places.iter().enumerate().skip(first) {
            match ask(place) {
                Ok(found) => {
                    self.chosen.store(at, Ordering::Relaxed);
                    return Ok(found);
                }
                Err(Error::Interrupted) => return Err(Error::Interrupted.into()),
                Err(error) if place.is_mirror() => {
                    log::info!("{error}; trying the next place");
                    failed = Some(error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(failed.map_or_else(|| "there is no place to fetch it from".into(), Into::into))
    }
}

impl Remote for RegistryImage {
    fn name(&self) -> String {
        match self.target.contains(':') {
            true => format!("{}@{}", self.name, self.target),
            false => format!("{}:{}", self.name, self.target),
        }
    }

    fn repository(&self) -> String {
        self.name.to_string()
    }

    fn manifest(&self, digest: Option<&Digest>, limit: u64) -> Result<RemoteManifest, RemoteError> {
        let digest = digest.map(Digest::to_string);
        let target = digest.as_deref().unwrap_or(&self.target);
        let found = self.first_that(|place| place.manifest(target, &MANIFEST_TYPES))?;
        if found.bytes.len() as u64 > limit {
            return Err(
                format!("the manifest of {} is larger than {limit} bytes", self.name).into(),
            );
        }
        Ok(RemoteManifest {
            media_type: found.media_type,
            bytes: found.bytes,
        })
    }

    fn blob(
        &self,
        digest: &Digest,
        size: u64,
        position: u64,
    ) -> Result<Box<dyn RemoteBlob>, RemoteError> {
        let first = self.chosen.load(Ordering::Relaxed);
        let mut places: Vec<_> = self.places.iter().skip(first).cloned().collect();
        places.reverse();
        let digest: RegistryDigest = digest.to_string().parse()?;
        let place = places.pop().ok_or("there is no place to fetch it from")?;
        let is_mirror = place.is_mirror();
        Ok(Box::new(Blob {
            download: place.blob(&digest, size, position),
            is_mirror,
            digest,
            others: places,
        }))
    }
}

/// A blob that comes from one place, and from the next one if that fails.
struct Blob {
    download: Download,
    is_mirror: bool,
    digest: RegistryDigest,
    /// The last is the next to try.
    others: Vec<Repository>,
}

impl RemoteBlob for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, RemoteError> {
        loop {
            let error = match self.download.read(buffer) {
                Ok(count) => return Ok(count),
                Err(error) => error,
            };
            let next = match error {
                Error::Interrupted => None,
                _ if self.is_mirror => self.others.pop(),
                _ => None,
            };
            let Some(place) = next else {
                return Err(error.into());
            };
            log::info!("{error}; trying the next place");
            let (size, offset) = (self.download.size(), self.download.offset());
            self.is_mirror = place.is_mirror();
            self.download = place.blob(&self.digest, size, offset);
        }
    }
}

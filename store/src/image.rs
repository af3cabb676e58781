//! Images in the store.

use std::path::PathBuf;

use oci_spec::image::ImageConfiguration;

use crate::blob::{BlobError, Content, blob_label};
use crate::digest::chain_ids;
use crate::layer::LayerRecord;
use crate::name::NameError;
use crate::oci::{
    Descriptor, DocumentType, Index, Manifest, kind_of, manifest_of, parse_config, refuse,
};
use crate::source::{diff_ids, platform_of};
use crate::{ContainerRecord, Digest, Error, ImageName, Platform, Result, Store, limits};

/// What a list of images shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRecord {
    /// Its name in the store.
    pub name: ImageName,
    /// The digest of its manifest.
    pub manifest_digest: Digest,
    /// When it was made, in RFC 3339, as far as its configuration says so in plain characters.
    pub created: Option<String>,
    /// What it is for.
    pub platform: Platform,
    /// The size of its layers as uncompressed archives, in bytes. Layers that are not unpacked,
    /// which other tools may have put into the store, do not count.
    pub size: u64,
    /// The size of its layers as blobs, in bytes.
    pub compressed_size: u64,
    /// How many layers it has.
    pub layers: usize,
}

/// An image that can be mounted.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its name in the store.
    pub name: ImageName,
    /// The digest of its manifest.
    pub manifest_digest: Digest,
    /// Its configuration.
    pub config: ImageConfiguration,
    /// Its layers, bottom first.
    pub layers: Vec<LayerPath>,
    /// The ChainIDs of the layers, bottom first.
    pub chain_ids: Vec<Digest>,
}

/// A layer in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerPath {
    /// SHA-256 of its uncompressed archive.
    pub diff_id: Digest,
    /// The unpacked tree, as an absolute path.
    pub path: PathBuf,
    /// What is known of it: how owners are kept, and what a mounter need not look for.
    pub record: LayerRecord,
}

impl Image {
    /// What the image is for.
    pub fn platform(&self) -> Platform {
        platform_of(&self.config)
    }

    /// The layer whose root directory has owner, mode and times of the root of the image: the
    /// topmost that has an entry for it, else the topmost.
    pub fn root_layer(&self) -> Option<&LayerPath> {
        root_layer(&self.layers)
    }
}

/// See [`Image::root_layer`].
pub(crate) fn root_layer(layers: &[LayerPath]) -> Option<&LayerPath> {
    let with_entry = layers.iter().rfind(|layer| layer.record.facts.root_entry);
    with_entry.or(layers.last())
}

impl Store {
    /// All images, by name.
    ///
    /// An image that other tools put into the layout in a way that is not understood here is left
    /// out.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn images(&self) -> Result<Vec<ImageRecord>> {
        let index = self.index()?;
        let mut images = Vec::new();
        for descriptor in &index.manifests {
            let Some(name) = descriptor.ref_name().and_then(|name| name.parse().ok()) else {
                continue;
            };
            match self.image_record(name, descriptor) {
                Ok(record) => images.push(record),
                Err(error) => log::warn!("an image in the store is passed over: {error}"),
            }
        }
        images.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(images)
    }

    fn image_record(&self, name: ImageName, descriptor: &Descriptor) -> Result<ImageRecord> {
        let (manifest, config) = self.documents(descriptor)?;
        let mut size = 0_u64;
        for diff_id in diff_ids(&config, &format!("image {}", descriptor.digest))? {
            let record = self.layer_record(&diff_id)?;
            size = size.saturating_add(record.map_or(0, |record| record.size));
        }
        let sizes = manifest.layers.iter().map(|layer| layer.size);
        Ok(ImageRecord {
            name,
            manifest_digest: descriptor.digest,
            created: config.created().clone().filter(|text| is_plain_time(text)),
            platform: platform_of(&config),
            size,
            compressed_size: sizes.fold(0, u64::saturating_add),
            layers: manifest.layers.len(),
        })
    }

    /// Finds an image. A name without a tag means `:latest`, and the prefixes that other tools put
    /// in front of short names may be left out.
    ///
    /// # Errors
    /// [`NameError::UnknownImage`] with names like it; [`BlobError::Missing`] if a layer is not
    /// unpacked, since the image was not imported but written into the layout by another tool.
    pub fn image(&self, name: &str) -> Result<Image> {
        let (name, descriptor) = self.find_image(name)?;
        self.load_image(name, &descriptor)
    }

    /// The name that an image has in the index, by that or a shorter one, and its descriptor.
    /// An image that no name leads to is found by its digest.
    pub(crate) fn find_image(&self, name: &str) -> Result<(ImageName, Descriptor)> {
        let found = self.find_images(name)?;
        let named = |one: &Descriptor| Some((one.ref_name()?.parse().ok()?, one.clone()));
        match found.iter().find_map(named) {
            Some(found) => Ok(found),
            None => {
                let name: ImageName = name.parse()?;
                let descriptor = find(&self.index()?, &name)?;
                Ok((name, descriptor))
            }
        }
    }

    /// The descriptors of one image: that with this name or a longer one, or all with this digest, of which the
    /// first digits are enough if no other image has them.
    pub(crate) fn find_images(&self, name: &str) -> Result<Vec<Descriptor>> {
        let index = self.index()?;
        let parsed: std::result::Result<ImageName, NameError> = name.parse();
        let unknown = match parsed
            .map_err(Error::from)
            .and_then(|name| find(&index, &name))
        {
            Ok(descriptor) => return Ok(vec![descriptor]),
            Err(error) => error,
        };
        let digits = name.strip_prefix("sha256:").unwrap_or(name);
        if !is_short_id(digits) {
            return Err(unknown);
        }
        let mut found = index.manifests;
        found.retain(|one| one.digest.hex().starts_with(digits));
        match found.first().map(|first| first.digest) {
            None => Err(unknown),
            Some(digest) if found.iter().all(|one| one.digest == digest) => Ok(found),
            Some(_) => Err(NameError::AmbiguousId(name.to_owned()).into()),
        }
    }

    /// The image that a container was made on, whatever has its name now.
    ///
    /// # Errors
    /// [`BlobError::Missing`] if a document or a layer of it is gone.
    pub fn container_image(&self, container: &ContainerRecord) -> Result<Image> {
        let digest = container.manifest_digest;
        let manifest = self.blob(&digest)?.ok_or_else(|| BlobError::Missing {
            blob: blob_label(&digest),
        })?;
        let descriptor = Descriptor::new("", digest, manifest.len());
        self.load_image(container.image.clone(), &descriptor)
    }

    /// Manifest and configuration, as it is, of the image that a container was made on.
    pub(crate) fn base_of(&self, container: &ContainerRecord) -> Result<(Manifest, Vec<u8>)> {
        let digest = container.manifest_digest;
        let bytes = self.blob(&digest)?.ok_or_else(|| BlobError::Missing {
            blob: blob_label(&digest),
        })?;
        let bytes = bytes.read_verified(&digest, bytes.len(), limits::DOCUMENT_BYTES)?;
        let manifest = manifest_of(&bytes, &format!("manifest {digest}"))?;
        let config = self.document(&manifest.config, limits::CONFIG_BYTES)?;
        Ok((manifest, config))
    }

    fn load_image(&self, name: ImageName, descriptor: &Descriptor) -> Result<Image> {
        let (_, config) = self.documents(descriptor)?;
        let diff_ids = diff_ids(&config, &format!("image {}", descriptor.digest))?;
        Ok(Image {
            name,
            manifest_digest: descriptor.digest,
            config,
            layers: self.layer_paths(&diff_ids)?,
            chain_ids: chain_ids(&diff_ids),
        })
    }

    /// The layers of these DiffIDs, all of which must be there.
    pub(crate) fn layer_paths(&self, diff_ids: &[Digest]) -> Result<Vec<LayerPath>> {
        let path = |diff_id: &Digest| {
            let record = self
                .layer_record(diff_id)?
                .ok_or_else(|| BlobError::Missing {
                    blob: format!("layer {diff_id}"),
                })?;
            Ok(LayerPath {
                diff_id: *diff_id,
                path: self.layer_dir(diff_id).join("diff"),
                record,
            })
        };
        diff_ids.iter().map(path).collect()
    }

    /// Manifest and configuration of an image in the store.
    pub(crate) fn documents(
        &self,
        descriptor: &Descriptor,
    ) -> Result<(Manifest, ImageConfiguration)> {
        let bytes = self.document(descriptor, limits::DOCUMENT_BYTES)?;
        let name = format!("manifest {}", descriptor.digest);
        if kind_of(&bytes, &descriptor.media_type, &name)? != DocumentType::Manifest {
            refuse::<()>(&name, "it is an index of several images")?;
        }
        let manifest = manifest_of(&bytes, &name)?;
        let config = self.document(&manifest.config, limits::CONFIG_BYTES)?;
        let config = parse_config(
            &config,
            &format!("configuration {}", manifest.config.digest),
        )?;
        Ok((manifest, config))
    }

    /// A document from the blobs of the store, verified.
    pub(crate) fn document(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        match self.blob(&descriptor.digest)? {
            Some(content) => content.read_verified(&descriptor.digest, descriptor.size, limit),
            None => Err(Error::Blob(BlobError::Missing {
                blob: blob_label(&descriptor.digest),
            })),
        }
    }

    /// A blob of the store.
    pub(crate) fn blob(&self, digest: &Digest) -> Result<Option<Content>> {
        crate::source::open_regular(&self.blob_path(digest), &blob_label(digest))
    }
}

/// The descriptor of an image by its name or a shorter form of it.
fn find(index: &Index, name: &ImageName) -> Result<Descriptor> {
    let by_name = |wanted: &str| {
        index
            .manifests
            .iter()
            .find(|one| one.ref_name() == Some(wanted))
    };
    for spelling in name.spellings() {
        if let Some(descriptor) = by_name(&spelling) {
            return Ok(descriptor.clone());
        }
    }
    let mut all: Vec<_> = index
        .manifests
        .iter()
        .filter_map(Descriptor::ref_name)
        .collect();
    all.sort_unstable();
    let similar = name.similar(&all);
    let shown = if similar.is_empty() { all } else { similar };
    Err(NameError::UnknownImage {
        name: name.as_str().to_owned(),
        similar: shown.into_iter().map(str::to_owned).collect(),
    }
    .into())
}

/// Whether a text can be the beginning of a digest: enough digits that it is none by chance.
fn is_short_id(text: &str) -> bool {
    const DIGITS: std::ops::RangeInclusive<usize> = 6..=64;
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    DIGITS.contains(&text.len()) && text.bytes().all(is_digit)
}

/// Whether a text can be a time in RFC 3339, and be shown.
fn is_plain_time(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_digit() || b"-:.+TZ".contains(&byte);
    text.len() <= 40 && text.bytes().all(allowed)
}

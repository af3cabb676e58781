//! Images in the store.

use std::collections::BTreeMap;

use oci_spec::image::ImageConfiguration;

use crate::disk::{Content, LayerPath, Store, blob_label};
use crate::error::{BlobError, Error, Result};
use crate::oci::{
    Descriptor, DocumentType, Index, Manifest, Platform, REF_NAME, kind_of, manifest_of,
    parse_config, refuse,
};
use crate::source::{diff_ids, platform_of};
use crate::values::{
    ContainerRecord, Digest, ImageName, NameError, Reference, chain_ids, limits, repositories,
    similar, spellings,
};

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
    /// Its layers, bottom first; for an image without layers, an empty directory.
    pub layers: Vec<LayerPath>,
    /// The ChainIDs of the layers, bottom first.
    pub chain_ids: Vec<Digest>,
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
            let Some(name) = descriptor.ref_name().and_then(ImageName::stored) else {
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
    /// A text may be both a name and the first digits of a digest: an image of that name comes first. With
    /// `sha256:` in front it is a digest only, since no repository may be called `sha256`.
    ///
    /// # Errors
    /// [`NameError::UnknownImage`] with names like it; [`BlobError::Missing`] if a layer is not
    /// unpacked, since the image was not imported but written into the layout by another tool.
    pub fn image(&self, name: &str) -> Result<Image> {
        let (name, descriptor) = self.find_image(name)?;
        self.load_image(name, &descriptor)
    }

    /// Gives an image more names. An image that has one of them loses it.
    ///
    /// # Errors
    /// Those of [`Store::image`]; nothing is changed then.
    pub fn tag_image(&self, image: &str, names: &[ImageName]) -> Result<()> {
        // From before it is found, so that it is not collected meanwhile.
        let _shared = self.share()?;
        let found = self.find_images(image)?.into_iter().next();
        let descriptor = found.ok_or_else(|| NameError::Image(image.to_owned()))?;
        // What cannot be read gets no more names.
        self.documents(&descriptor)?;
        self.change_index(|index| {
            for name in names {
                let annotation = (REF_NAME.to_owned(), name.as_str().to_owned());
                let named = Descriptor {
                    annotations: Some(BTreeMap::from([annotation])),
                    ..descriptor.clone()
                };
                give_name(index, name, named);
            }
        })
    }

    /// The name that an image has in the index, by that or a shorter one, and its descriptor.
    /// An image that no name leads to is found by its digest.
    pub(crate) fn find_image(&self, name: &str) -> Result<(ImageName, Descriptor)> {
        let found = self.find_images(name)?;
        let named = |one: &Descriptor| Some((ImageName::stored(one.ref_name()?)?, one.clone()));
        let found = found.iter().find_map(named);
        Ok(found.ok_or_else(|| NameError::Image(name.to_owned()))?)
    }

    /// The descriptors of one image: that with this name or another form of it, or all with this digest, of which
    /// the first digits are enough if no other image has them.
    pub(crate) fn find_images(&self, name: &str) -> Result<Vec<Descriptor>> {
        let index = self.index()?;
        let unknown = match find(&index, name) {
            Ok(descriptor) => return Ok(vec![descriptor]),
            Err(error) => Error::from(error),
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

    /// The layers of these DiffIDs, all of which must be there; for an image without layers, an empty
    /// directory in their place.
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
        match diff_ids {
            [] => Ok(vec![self.empty_layer()?]),
            diff_ids => diff_ids.iter().map(path).collect(),
        }
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

/// Puts a descriptor with this name into an index, and takes away those that have it, also in the form that older
/// versions and other tools write it. An image that is there already changes nothing: it is not moved to the end.
pub(crate) fn give_name(index: &mut Index, name: &ImageName, descriptor: Descriptor) {
    let named = |one: &Descriptor| one.ref_name().is_some_and(|text| name.is(text));
    let there = index.manifests.iter().filter(|one| named(one));
    if there.ne([&descriptor]) {
        index.manifests.retain(|one| !named(one));
        index.manifests.push(descriptor);
    }
}

/// The descriptor of an image by its name or another form of it, which may end in a digest that it
/// must have.
fn find(index: &Index, text: &str) -> Result<Descriptor, NameError> {
    let by_name = |wanted: &str| {
        let named = |one: &&Descriptor| one.ref_name() == Some(wanted);
        index.manifests.iter().find(named)
    };
    let reference = match Reference::parse(text) {
        Ok(reference) => reference,
        // A name of an older version or of another tool.
        Err(_) => return by_name(text).cloned().ok_or_else(|| unknown(index, text)),
    };
    let found = spellings(&reference).find_map(|spelling| by_name(&spelling));
    match reference.digest {
        None => found.cloned(),
        Some(wanted) => with_digest(index, &reference, wanted, found)?,
    }
    .ok_or_else(|| unknown(index, text))
}

/// The image of a reference with a digest: the one with its tag, or without a tag any of its
/// repository.
fn with_digest(
    index: &Index,
    reference: &Reference,
    wanted: Digest,
    found: Option<&Descriptor>,
) -> Result<Option<Descriptor>, NameError> {
    let same_repository = |name: &str| {
        let other = Reference::parse(name);
        other.is_ok_and(|other| repositories(reference).contains(&other.repository))
    };
    let fits =
        |one: &&Descriptor| one.digest == wanted && one.ref_name().is_some_and(same_repository);
    let any = match reference.tag {
        None => index.manifests.iter().find(fits),
        Some(_) => None,
    };
    match any.or(found) {
        Some(found) if found.digest == wanted => Ok(Some(found.clone())),
        Some(found) => Err(NameError::OtherDigest {
            name: found.ref_name().unwrap_or_default().to_owned(),
            wanted,
            found: found.digest,
        }),
        None => Ok(None),
    }
}

/// Why there is no image of that name.
fn unknown(index: &Index, text: &str) -> NameError {
    if ImageName::stored(text).is_none() {
        return NameError::Image(text.to_owned());
    }
    let names = index.manifests.iter().filter_map(Descriptor::ref_name);
    let mut all: Vec<_> = names.collect();
    all.sort_unstable();
    let similar = similar(text, &all);
    let shown = if similar.is_empty() { all } else { similar };
    NameError::UnknownImage {
        name: text.to_owned(),
        similar: shown.into_iter().map(str::to_owned).collect(),
    }
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

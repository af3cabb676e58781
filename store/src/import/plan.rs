//! What there is to do for each layer.

use super::job::Import;
use super::keep::Keep;
use super::layer_blob::LayerBlob;
use crate::decode::Format;
use crate::disk::{Content, size_error};
use crate::error::{BlobError, Result};
use crate::progress::PlannedLayer;
use crate::source::FoundLayer;
use crate::values::{Digest, LayerRecord};

/// The work of an import.
pub(super) struct Plan {
    /// What the caller learns of each layer, bottom first.
    pub(super) layers: Vec<PlannedLayer>,
    /// The blobs of layers for which nothing is to be done.
    pub(super) present: Vec<Option<LayerBlob>>,
    /// What is to be done, the largest first: it decides when all is done.
    pub(super) tasks: Vec<Task>,
}

/// Where the bytes of a blob are.
#[derive(Debug, Clone)]
pub(super) enum Body {
    Here(Content),
    /// At the remote of the source; so many bytes.
    Elsewhere(u64),
}

impl Body {
    /// The length, in bytes.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Here(content) => content.len(),
            Self::Elsewhere(size) => *size,
        }
    }
}

/// A blob to read.
#[derive(Debug, Clone)]
pub(super) struct Task {
    /// Which layers of the image it is; an image may have the same layer more than once.
    pub(super) layers: Vec<usize>,
    pub(super) diff_id: Digest,
    /// What it is called in errors.
    pub(super) label: String,
    /// Its digest, unless that is only known once it has been read.
    pub(super) digest: Option<Digest>,
    /// Of what comes from elsewhere it is only known once it comes.
    pub(super) format: Format,
    pub(super) body: Body,
    /// Whether the layer is to be unpacked, or only the blob to be verified.
    pub(super) unpack: bool,
    /// What is to become of the blob.
    pub(super) keep: Keep,
}

impl Import<'_> {
    pub(super) fn plan(&self) -> Result<Plan> {
        let count = self.found.layers.len();
        let mut plan = Plan {
            layers: Vec::with_capacity(count),
            present: vec![None; count],
            tasks: Vec::new(),
        };
        for (at, layer) in self.found.layers.iter().enumerate() {
            self.plan_layer(&mut plan, at, layer)?;
        }
        plan.tasks
            .sort_by_key(|task| std::cmp::Reverse(task.body.len()));
        Ok(plan)
    }

    fn plan_layer(&self, plan: &mut Plan, at: usize, layer: &FoundLayer) -> Result<()> {
        let record = self.whole_record(&layer.diff_id)?;
        let opened = self.open(layer, record.as_ref())?;
        let present = opened.in_store && opened.is_known_in(record.as_ref());
        let digest = opened.blob.map(|(digest, _)| digest);
        let same = plan.tasks.iter_mut().find(|task| {
            // Without a digest it is the same file that makes the same blob.
            let same_blob =
                task.digest == digest && (digest.is_some() || task.label == layer.label);
            task.diff_id == layer.diff_id && same_blob
        });
        plan.layers.push(PlannedLayer {
            diff_id: layer.diff_id,
            blob: digest,
            size: opened.body.len(),
            present: present || same.is_some(),
        });
        if let Some(same) = same {
            same.layers.push(at);
            return Ok(());
        }
        if let (true, Some((digest, size))) = (present, opened.blob) {
            let format = opened.format;
            let blob = LayerBlob {
                digest,
                size,
                format,
            };
            if let Some(slot) = plan.present.get_mut(at) {
                *slot = Some(blob);
            }
            return Ok(());
        }
        // Another blob of the same layer may be about to be unpacked.
        let planned = plan.tasks.iter().any(|task| task.diff_id == layer.diff_id);
        plan.tasks.push(Task {
            layers: vec![at],
            diff_id: layer.diff_id,
            label: layer.label.clone(),
            digest,
            format: opened.format,
            body: opened.body,
            unpack: record.is_none() && !planned,
            keep: match layer.blob {
                _ if opened.in_store => Keep::No,
                None if opened.format == Format::Plain => Keep::Compressed,
                _ => Keep::AsIs,
            },
        });
        Ok(())
    }

    /// Opens the blob of a layer: that of the store if it has it, else that of the source. For a layer
    /// without a name of its own, as `docker save` writes them, any blob serves that is known to be
    /// the layer.
    fn open(&self, layer: &FoundLayer, record: Option<&LayerRecord>) -> Result<Opened> {
        if layer.blob.is_none()
            && let Some(opened) = self.open_known(layer, record)?
        {
            return Ok(opened);
        }
        let mut blob = layer.blob;
        let stored = match blob {
            Some((digest, _)) => self.whole_blob(&digest)?,
            None => None,
        };
        let mut in_store = stored.is_some();
        let content = match stored {
            Some(content) => Some(content),
            None if let (Some((_, size)), true) = (blob, self.found.files.remote().is_some()) => {
                return Ok(Opened {
                    blob,
                    in_store: false,
                    format: Format::Plain,
                    body: Body::Elsewhere(size),
                });
            }
            None => self.found.files.open(&layer.file)?,
        };
        let mut content = content.ok_or_else(|| BlobError::Missing {
            blob: layer.label.clone(),
        })?;
        if let Some((_, size)) = blob
            && size != content.len()
        {
            return Err(size_error(&layer.label, size, content.len()).into());
        }
        // The DiffID says whether what comes out is the layer that is meant.
        let format = content.format(&layer.label)?;
        // An archive that is not compressed is its own layer.
        if blob.is_none() && format == Format::Plain {
            blob = Some((layer.diff_id, content.len()));
            if let Some(stored) = self.whole_blob(&layer.diff_id)? {
                in_store = true;
                content = stored;
            }
        }
        Ok(Opened {
            blob,
            in_store,
            format,
            body: Body::Here(content),
        })
    }
}

impl Import<'_> {
    /// Opens a blob of the store that is known to be this layer; `None` if there is none.
    fn open_known(
        &self,
        layer: &FoundLayer,
        record: Option<&LayerRecord>,
    ) -> Result<Option<Opened>> {
        for digest in record.iter().flat_map(|record| &record.blobs) {
            if let Some(content) = self.whole_blob(digest)? {
                return Ok(Some(Opened {
                    blob: Some((*digest, content.len())),
                    in_store: true,
                    format: content.format(&layer.label)?,
                    body: Body::Here(content),
                }));
            }
        }
        Ok(None)
    }
}

/// A blob that was opened, and not read but for its first bytes.
struct Opened {
    /// Digest and size.
    blob: Option<(Digest, u64)>,
    in_store: bool,
    format: Format,
    body: Body,
}

impl Opened {
    /// Whether it is known to unpack to a layer that is there.
    fn is_known_in(&self, record: Option<&LayerRecord>) -> bool {
        match (record, self.blob) {
            (Some(record), Some((digest, _))) => record.blobs.contains(&digest),
            _ => false,
        }
    }
}

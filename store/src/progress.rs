//! What an import, or saving an image, tells while it works.

use crate::values::Digest;

/// Listens to an import. Calls come from several threads, and should return soon: the import waits
/// for them.
pub trait Progress: Sync {
    /// Something happened. The default does nothing.
    fn event(&self, _event: &Event<'_>) {}

    /// Whether to stop. Asked often; once it says yes, the import ends with
    /// [`Error::Interrupted`](crate::Error::Interrupted) and leaves nothing behind but the layers
    /// that were complete. The default never does.
    fn interrupted(&self) -> bool {
        false
    }
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}

/// A step of an import. Layers are counted from the bottom, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The image was found and its documents are verified; these are its layers.
    Planned {
        /// Bottom first.
        layers: &'a [PlannedLayer],
    },
    /// More of a layer was read.
    Read {
        /// Which layer.
        layer: usize,
        /// How much of its blob has been read so far, in bytes.
        bytes: u64,
    },
    /// A layer is verified and unpacked; it still has to be synced.
    Unpacked {
        /// Which layer.
        layer: usize,
    },
    /// More of the layers of an image that is saved was read.
    Saved {
        /// How much of their blobs has been read so far, in bytes.
        bytes: u64,
        /// How much there is.
        total: u64,
    },
    /// More of a store was checked.
    Checked {
        /// How much has been read so far, in bytes.
        bytes: u64,
        /// How much there is to read, as far as that is known.
        total: u64,
    },
    /// A layer is in the store.
    Published {
        /// Which layer.
        layer: usize,
    },
}

/// What is known of a layer before the work begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedLayer {
    /// SHA-256 of its uncompressed archive.
    pub diff_id: Digest,
    /// The digest of its blob; a layer in a `docker save` archive has none before it is read.
    pub blob: Option<Digest>,
    /// The size of its blob, in bytes.
    pub size: u64,
    /// Whether nothing has to be read: the layer and its blob are in the store, or another layer of
    /// the image is the same.
    pub present: bool,
}

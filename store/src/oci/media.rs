//! Media types (OCI image specification, "media-types.md", and the Docker ones it lists as related).

pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const FOREIGN_LAYER: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
const DOCKER_FOREIGN_LAYER: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";

/// The kinds of document that a descriptor in an index may lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DocumentType {
    Index,
    Manifest,
}

impl DocumentType {
    /// The kind that a media type names.
    pub(crate) fn of(media_type: &str) -> Option<Self> {
        match media_type {
            INDEX | DOCKER_INDEX => Some(Self::Index),
            MANIFEST | DOCKER_MANIFEST => Some(Self::Manifest),
            _ => None,
        }
    }

    /// The kind, with its article.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Index => "an index",
            Self::Manifest => "a manifest",
        }
    }
}

/// Whether this is the configuration of an image, and not of some other artifact.
pub(crate) fn is_config(media_type: &str) -> bool {
    matches!(media_type, IMAGE_CONFIG | DOCKER_CONFIG)
}

/// How the archive of a layer is compressed that is written here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip (RFC 1952), the usual one.
    #[default]
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// The compression that the media type of a layer names; `None` if it names none.
///
/// "Foreign" and "nondistributable" layers are layers like others once they are there.
pub(crate) fn layer_type(media_type: &str) -> Option<Compression> {
    // Parameters, which some registries add, say nothing of a layer.
    let media_type = media_type.split(';').next().unwrap_or_default().trim_end();
    let suffix = [FOREIGN_LAYER, DOCKER_FOREIGN_LAYER, LAYER, DOCKER_LAYER]
        .into_iter()
        .find_map(|base| media_type.strip_prefix(base))?;
    match suffix {
        "" => Some(Compression::None),
        "+gzip" | ".gzip" => Some(Compression::Gzip),
        "+zstd" | ".zstd" => Some(Compression::Zstd),
        _ => None,
    }
}

/// Whether a blob of this media type may be a layer that can be unpacked. What it is its first bytes
/// say, and that it is the right one its DiffID; only types that name something else are refused.
pub(crate) fn may_be_layer(media_type: &str) -> bool {
    matches!(media_type, "" | "application/octet-stream") || layer_type(media_type).is_some()
}

/// The media type for a layer that is compressed so.
pub(crate) fn layer_media_type(compression: Compression) -> String {
    let suffix = match compression {
        Compression::None => "",
        Compression::Gzip => "+gzip",
        Compression::Zstd => "+zstd",
    };
    format!("{LAYER}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_told_by_their_type() {
        for (media_type, compression) in [
            (
                "application/vnd.oci.image.layer.v1.tar",
                Some(Compression::None),
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+gzip",
                Some(Compression::Gzip),
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+zstd",
                Some(Compression::Zstd),
            ),
            (
                "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                Some(Compression::Gzip),
            ),
            (
                "application/vnd.docker.image.rootfs.diff.tar",
                Some(Compression::None),
            ),
            (
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                Some(Compression::Gzip),
            ),
            (
                "application/vnd.docker.image.rootfs.diff.tar.zstd",
                Some(Compression::Zstd),
            ),
            (
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                Some(Compression::Gzip),
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
                None,
            ),
            ("application/vnd.oci.image.layer.v1.squashfs", None),
            ("application/vnd.oci.image.config.v1+json", None),
            ("", None),
        ] {
            assert_eq!(layer_type(media_type), compression, "{media_type}");
        }
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            assert_eq!(
                layer_type(&layer_media_type(compression)),
                Some(compression)
            );
        }
    }
}

//! What an import may cost, whatever its input is.
//!
//! Everything here is a bound on something that a hostile image could otherwise make endless. Real
//! images stay far below each of them; what goes over one is refused with an error that says so.

/// The longest manifest, index or `manifest.json` that is read, in bytes; the limit registries keep.
pub(crate) const DOCUMENT_BYTES: u64 = 4 << 20;

/// The longest image configuration that is read, in bytes; histories can be long.
pub(crate) const CONFIG_BYTES: u64 = 8 << 20;

/// The most layers of one image: as many as the kernel's overlay stacks.
pub(crate) const LAYERS: usize = 500;

/// The deepest nesting of indexes: an index of a layout, one of platforms, and room for one more.
pub(crate) const INDEX_DEPTH: usize = 4;

/// The most extended header, long name or sparse map data of one archive entry, in bytes; also the
/// most that the global extended headers of an archive may add up to.
pub(crate) const TAR_METADATA: u64 = 1 << 20;

/// The most extended headers and long names before one archive entry.
pub(crate) const TAR_EXTENSIONS: usize = 64;

/// The most data segments of one sparse file.
pub(crate) const SPARSE_SEGMENTS: usize = 1 << 16;

/// The longest path of an entry and the longest target of a link, in bytes: PATH_MAX of Linux less
/// the terminating NUL. This also bounds how deep directories nest in a layer; nothing here needs a
/// descriptor or a frame of the stack for each level.
pub(crate) const PATH_BYTES: usize = 4095;

/// The longest component of a path, in bytes: NAME_MAX of Linux.
pub(crate) const NAME_BYTES: usize = 255;

/// The most links of a layer that the path of one entry may lead through: as many as the kernel
/// follows (path_resolution(7)).
pub(crate) const LINKS: usize = 40;

/// The most components that such a path may have with the targets of all links put in.
pub(crate) const LINK_STEPS: usize = 2048;

/// The longest value of an extended attribute, in bytes: XATTR_SIZE_MAX of Linux.
pub(crate) const XATTR_BYTES: usize = 64 << 10;

/// The longest name of an extended attribute, in bytes: XATTR_NAME_MAX of Linux.
pub(crate) const XATTR_NAME_BYTES: usize = 255;

/// How much memory the directories of one layer may need until their metadata is applied at the
/// end, in bytes: half a million directories.
pub(crate) const DIRECTORY_MEMORY: usize = 128 << 20;

/// The largest window a zstd frame may ask for, as a power of two: 128 MiB, the default limit of
/// the zstd command.
pub(crate) const ZSTD_WINDOW_LOG: u32 = 27;

/// The most memory the decoder of an xz stream may need, in bytes: twice what `xz -9` asks for.
pub(crate) const XZ_MEMORY: u64 = 128 << 20;

/// The most members of an archive that holds an image (not of a layer).
pub(crate) const ARCHIVE_MEMBERS: usize = 100_000;

/// The longest name of such a member that is remembered, in bytes; those that are looked up have
/// some 80.
pub(crate) const ARCHIVE_NAME: usize = 1024;

/// The most members whose names are followed from link to link inside such an archive.
pub(crate) const ARCHIVE_LINKS: usize = 16;

/// How much is read or written at a time, in bytes: large enough for few system calls, small enough to stay in the
/// cache of a core on its way from thread to thread.
pub(crate) const BUFFER: usize = 256 << 10;

/// How many layers are unpacked at a time, at most; each holds some dozens of descriptors.
pub(crate) const PARALLEL_LAYERS: usize = 8;

/// Bounds a caller may choose for an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes one layer may unpack to, as its uncompressed stream has them. The default is
    /// 1 TiB: what really bounds a decompression bomb is the room on the disk, and an import that
    /// fills it fails and gives the room back.
    pub layer_bytes: u64,
    /// The most entries of one layer. The default is ten million.
    pub layer_entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            layer_bytes: 1 << 40,
            layer_entries: 10_000_000,
        }
    }
}

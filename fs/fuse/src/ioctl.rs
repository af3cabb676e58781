//! What is known of ioctl(2): the requests of chattr(1) and of xfs_io(8) (`linux/fs.h`).
//!
//! The kernel checks who may change flags: it asks for the attributes before it sends a change. Linux before 5.13 does
//! not, so there the adapter refuses changes.

use plyfs_sys::attributes::LENGTH;

use plyfs_fs::Overlay;
use plyfs_fs::Result;

const FS_IOC_GETFLAGS: u32 = 0x8008_6601;
const FS_IOC_SETFLAGS: u32 = 0x4008_6602;
const FS_IOC_FSGETXATTR: u32 = 0x801c_581f;
const FS_IOC_FSSETXATTR: u32 = 0x401c_5820;

/// A request that is known.
#[derive(Debug, Clone, Copy)]
pub(super) enum Command {
    GetFlags,
    GetAttributes,
    SetFlags(u32),
    SetAttributes([u8; LENGTH]),
}

impl Command {
    /// `None` for whatever else is asked of a file, above all whether it is a terminal (isatty(3)).
    pub(super) fn parse(number: u32, input: &[u8]) -> Option<Self> {
        let flags = input.first_chunk().map(|flags| u32::from_ne_bytes(*flags));
        match (number, flags) {
            (FS_IOC_GETFLAGS, _) => Some(Self::GetFlags),
            (FS_IOC_FSGETXATTR, _) => Some(Self::GetAttributes),
            (FS_IOC_SETFLAGS, Some(flags)) => Some(Self::SetFlags(flags)),
            (FS_IOC_FSSETXATTR, _) => input.first_chunk().copied().map(Self::SetAttributes),
            _ => None,
        }
    }

    /// Whether it changes something.
    pub(super) fn changes(self) -> bool {
        matches!(self, Self::SetFlags(_) | Self::SetAttributes(_))
    }

    /// Does it with a node, and returns the answer.
    pub(super) fn run(self, overlay: &Overlay, id: u64) -> Result<Vec<u8>> {
        match self {
            Self::GetFlags => Ok(overlay.file_flags(id)?.to_ne_bytes().to_vec()),
            Self::GetAttributes => Ok(overlay.file_attributes(id)?.to_vec()),
            Self::SetFlags(flags) => overlay.set_file_flags(id, flags).map(|()| Vec::new()),
            Self::SetAttributes(wanted) => {
                overlay.set_file_attributes(id, wanted).map(|()| Vec::new())
            }
        }
    }
}

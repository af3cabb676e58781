//! Why a stack of directories cannot be opened as an overlay.

use std::path::{Path, PathBuf};

use crate::error::Errno;

/// Why a stack of directories cannot be opened as an overlay.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// No lower layer was given.
    #[error("an overlay needs at least one lower directory")]
    NoLower,
    /// More lower layers than the kernel's overlay takes.
    #[error("{0} lower directories were given, at most {max} are possible", max = crate::config::MAX_LOWER)]
    TooManyLowers(usize),
    /// An upper directory came without a work directory, or the other way round.
    #[error("an upper and a work directory go together, and only one was given")]
    UpperWithoutWork,
    /// A layer directory cannot be opened.
    #[error("{role} directory {}: {errno}", path.display())]
    Open {
        /// What the directory was to be: `lower`, `upper` or `work`.
        role: &'static str,
        /// As it was given.
        path: PathBuf,
        /// What open(2) said.
        errno: Errno,
    },
    /// A work directory that lies on another file system than its upper.
    #[error(
        "work directory {} and upper directory {} are not on one file system, so that files could not be moved between them",
        work.display(), upper.display()
    )]
    WorkElsewhere {
        /// The work directory.
        work: PathBuf,
        /// The upper directory.
        upper: PathBuf,
    },
    /// Two directories that are the same, or of which one lies in the other.
    #[error("{}", overlap(one, other))]
    Overlap {
        /// The one.
        one: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// A directory is held by another mount.
    #[error("{role} directory {} is in use by another mount", path.display())]
    InUse {
        /// What it was to be: `upper` or `work`.
        role: &'static str,
        /// The directory.
        path: PathBuf,
    },
    /// A directory lies in one that another mount changes, where an index is kept.
    #[error(
        "{role} directory {}; unmount that first, or mount with index=off",
        changed(path, used)
    )]
    InUseAbove {
        /// What it was to be: `lower`, `upper` or `work`.
        role: &'static str,
        /// The directory.
        path: PathBuf,
        /// The upper or work directory of the other mount.
        used: PathBuf,
    },
    /// An upper directory with an index of other lower layers.
    #[error(
        "upper directory {} was made on top of other lower directories, so that hard links could not be \
         told; mount it with those, or with index=off", upper.display()
    )]
    OtherLayers {
        /// The upper directory.
        upper: PathBuf,
    },
    /// An earlier mount has left a mark that forbids to go on with its upper directory.
    #[error(
        "the last mount of these directories had the feature {feature:?}, after which the upper directory \
         may be damaged; if the machine has not crashed since, remove {} and mount again, else start \
         with new upper and work directories", path.join("incompat").display()
    )]
    Incompatible {
        /// The feature.
        feature: String,
        /// `work` in the work directory.
        path: PathBuf,
    },
    /// An upper directory whose records may have been written by users of the kernel's overlay.
    #[error(
        "upper directory {} was served by the kernel's overlay, whose users can write {record}, and {} \
         has it; remove the attributes that are not to be believed, and then {} from {} and {}, or \
         mount without xattr_permissions=",
        upper.display(), file.display(),
        plyfs_format::names::Namespace::User.served_by_kernel().to_string_lossy(),
        upper.display(), work.display()
    )]
    Forgeable {
        /// The attribute.
        record: String,
        /// The first file that has one.
        file: PathBuf,
        /// The upper directory.
        upper: PathBuf,
        /// The work directory.
        work: PathBuf,
    },
    /// Records that users of the kernel's overlay may have written cannot be found and removed.
    #[error(
        "cannot remove the override_stat records that users of the kernel's overlay may have written \
         in upper directory {}: {errno}", path.display()
    )]
    Clean {
        /// The upper directory.
        path: PathBuf,
        /// What a system call said.
        errno: Errno,
    },
    /// No whiteout can be made, be it a device or a file.
    #[error(
        "cannot make whiteouts in work directory {}: {errno}; its file system takes neither devices nor files called \
         .wh.NAME, as that of fuse-overlayfs does; put upper and work directory on another one, a volume or tmpfs",
        path.display()
    )]
    NoWhiteouts {
        /// The work directory.
        path: PathBuf,
        /// What openat(2) said.
        errno: Errno,
    },
    /// The work directory cannot be prepared.
    #[error("cannot {action} in work directory {}: {errno}", path.display())]
    Work {
        /// What was tried.
        action: &'static str,
        /// The work directory.
        path: PathBuf,
        /// What the system call said.
        errno: Errno,
    },
}

fn changed(path: &Path, used: &Path) -> String {
    if path == used {
        format!("{} is changed by another mount", path.display())
    } else {
        format!(
            "{} lies in {}, which another mount changes",
            path.display(),
            used.display()
        )
    }
}

fn overlap(one: &Path, other: &Path) -> String {
    let (one_shown, other_shown) = (one.display(), other.display());
    if one == other {
        format!("the layers overlap: {one_shown} was given twice")
    } else {
        format!("{one_shown} and {other_shown} overlap: one lies inside the other")
    }
}

impl MountError {
    /// The error number mount(2) would have given, for callers that pass one on.
    pub fn errno(&self) -> Errno {
        match self {
            Self::NoLower
            | Self::TooManyLowers(_)
            | Self::UpperWithoutWork
            | Self::Incompatible { .. } => Errno::INVAL,
            Self::Forgeable { .. } => Errno::PERM,
            Self::WorkElsewhere { .. } => Errno::XDEV,
            Self::Overlap { .. } => Errno::LOOP,
            Self::InUse { .. } | Self::InUseAbove { .. } => Errno::BUSY,
            Self::OtherLayers { .. } => Errno::STALE,
            Self::Open { errno, .. }
            | Self::NoWhiteouts { errno, .. }
            | Self::Work { errno, .. }
            | Self::Clean { errno, .. } => *errno,
        }
    }
}

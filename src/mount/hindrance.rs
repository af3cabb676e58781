//! What keeps the kernel's overlay from serving a mount as it was asked for.

use std::fmt;

use plyfs_fs::{IndexUse, Owners, Records, RedirectDir, Volatile, was_served_by_kernel};

use super::daemon::Plan;
use super::kernel::Mode;
use super::traces::{self, Trace};
use crate::namespace;

/// A reason to take FUSE, or to refuse where the kernel's overlay was asked for by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hindrance {
    /// This process may not mount in its mount namespace.
    MayNotMount,
    /// Owners are to be shown as others.
    Owners,
    /// Owners, modes or devices are kept in `override_stat` records.
    Records,
    /// Whiteouts may be files.
    ArchiveNames,
    /// An option that only FUSE honours.
    Option(&'static str),
    /// An option that only makes FUSE faster or slower.
    Tuning(&'static str),
    /// Features whose records the kernel reads in `trusted.*` only.
    NotWithUserxattr(&'static str),
    /// Metacopies without redirects.
    MetacopyWithoutRedirects,
    /// Layers of data without metacopies, which lead there.
    DataWithoutMetacopy,
    /// Nothing takes the mark of a volatile container away at the end.
    VolatileContainer,
    /// Marks of opaque directories are where the kernel does not look for them.
    ForeignMarks,
    /// One directory is no stack to the kernel.
    SingleLower,
    /// There is something in the upper directory that the kernel would show wrongly.
    Upper(Trace),
}

impl Hindrance {
    /// The first of them, those first that are told without looking at a file. `patience` is how many
    /// files may be looked at.
    pub(crate) fn of(plan: &Plan, mode: Mode, patience: Option<usize>) -> Option<Self> {
        Self::told(plan, mode).or_else(|| {
            let upper = plan.overlay.upper.as_ref()?;
            let sought = traces::Sought {
                mode,
                metacopies: !plan.overlay.metacopy || mode == Mode::User,
                redirects: mode == Mode::User,
                // In a directory with the mark of the kernel's overlay its users wrote them.
                devices: upper.records == Records::Devices
                    && !was_served_by_kernel(&upper.path, Some(&upper.work)),
            };
            traces::search(&upper.path, &sought, patience).map(Self::Upper)
        })
    }

    fn told(plan: &Plan, mode: Mode) -> Option<Self> {
        let (overlay, wanted) = (&plan.overlay, &plan.backend);
        if !namespace::can_mount() || plan.connection.device.is_some() {
            return Some(Self::MayNotMount);
        }
        if overlay.owners != Owners::default() {
            return Some(Self::Owners);
        }
        let upper = overlay.upper.as_ref();
        let lowers = overlay.lowers.iter().chain(&overlay.data);
        let archive_names = lowers.clone().any(|layer| layer.archive_names);
        if archive_names || upper.is_some_and(|upper| upper.archive_names) {
            return Some(Self::ArchiveNames);
        }
        // What can be a device in the upper layer is looked for: there is rarely one.
        let in_lowers = lowers.clone().any(|layer| layer.records != Records::None);
        if in_lowers || upper.is_some_and(|upper| upper.records.keep_owners()) {
            return Some(Self::Records);
        }
        if let Some(option) = wanted.fuse_only {
            return Some(Self::Option(option));
        }
        if mode == Mode::User {
            let has_index = upper.is_some_and(|upper| upper.work.join("index").exists());
            let without = [
                (overlay.redirect_dir == RedirectDir::On, "redirect_dir=on"),
                (overlay.metacopy, "metacopy=on"),
                (overlay.index == IndexUse::On, "index=on"),
                (has_index, "the index that the work directory has"),
                (!overlay.data.is_empty(), "a layer of data"),
            ];
            let first = without.iter().find(|(asked, _)| *asked);
            if let Some((_, what)) = first {
                return Some(Self::NotWithUserxattr(what));
            }
        }
        if overlay.metacopy && overlay.redirect_dir != RedirectDir::On {
            return Some(Self::MetacopyWithoutRedirects);
        }
        if !overlay.data.is_empty() && !overlay.metacopy {
            return Some(Self::DataWithoutMetacopy);
        }
        if overlay.volatile == Volatile::MarkedWhileOpen {
            return Some(Self::VolatileContainer);
        }
        if wanted.marks_elsewhere(mode) {
            return Some(Self::ForeignMarks);
        }
        if upper.is_none()
            && overlay.lowers.len() + overlay.data.len() == 1
            && wanted.empty.is_none()
        {
            return Some(Self::SingleLower);
        }
        wanted.tuning.map(Self::Tuning)
    }

    /// Whether the mount is what was asked for all the same.
    pub(crate) fn is_slight(&self) -> bool {
        matches!(self, Self::Tuning(_))
    }
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MayNotMount => f.write_str(
                "an ordinary user may not mount with it here (\"plyfs unshare\" opens a namespace \
                 where that is allowed)",
            ),
            Self::Owners => f.write_str("owners are to be shown as others"),
            Self::Records => {
                f.write_str("owners or devices of the layers are in override_stat records")
            }
            Self::ArchiveNames => f.write_str("whiteouts of the layers may be files"),
            Self::Option(option) => write!(f, "it does not know {option}"),
            Self::Tuning(option) => write!(f, "{option} is for FUSE"),
            Self::NotWithUserxattr(what) => {
                write!(f, "{what} is not possible in user.* attributes")
            }
            Self::MetacopyWithoutRedirects => {
                f.write_str("metacopy=on goes with redirect_dir=on there")
            }
            Self::DataWithoutMetacopy => f.write_str("layers of data go with metacopy=on there"),
            Self::VolatileContainer => {
                f.write_str("a container is volatile only as long as somebody can end that")
            }
            Self::ForeignMarks => f.write_str(
                "opaque directories of a layer are marked where it does not look for the mark",
            ),
            Self::SingleLower => {
                f.write_str("a single lower directory without an upper one is no overlay to it")
            }
            Self::Upper(trace) => trace.fmt(f),
        }
    }
}

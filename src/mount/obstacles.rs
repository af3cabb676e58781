//! What keeps the kernel's overlay from serving a mount as the user wants it.

use std::fmt;

use plyfs_fs::{IndexUse, OverrideStatMode, Owners, RedirectDir, Volatile, was_served_by_kernel};

use super::plan::{Mode, Plan};
use super::upper_scan::{self, Trace};
use crate::namespace;

/// A reason to take FUSE, or to fail where the user asks for the kernel's overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// This process may not mount in its mount namespace.
    MayNotMount,
    /// Options make files show other owners than they have.
    Owners,
    /// `override_stat` records hold owners, modes or devices.
    Records,
    /// Layers may have whiteouts that are files (`.wh.*`).
    ArchiveNames,
    /// An option that only FUSE honours.
    Option(&'static str),
    /// An option that only makes FUSE faster or slower.
    Tuning(&'static str),
    /// A feature for which the kernel reads `trusted.*` attributes only.
    NotWithUserxattr(&'static str),
    /// Metacopies without redirects.
    MetacopyWithoutRedirects,
    /// Data-only layers without metacopies, the files that refer to them.
    DataWithoutMetacopy,
    /// The kernel does not remove the mark of a volatile container when the mount ends.
    VolatileContainer,
    /// Opaque directories have their marks in attributes that the kernel does not read in this mode.
    ForeignMarks,
    /// The kernel refuses a single lower directory without an upper one.
    SingleLower,
    /// The upper directory has something that the kernel would show wrongly.
    Upper(Trace),
}

impl Obstacle {
    /// The first reason found; those that need no search of the upper directory come first. `patience` is the
    /// number of files that the search may look at.
    pub(crate) fn of(plan: &Plan, mode: Mode, patience: Option<usize>) -> Option<Self> {
        Self::without_search(plan, mode).or_else(|| {
            let upper = plan.overlay.upper.as_ref()?;
            let scan_for = upper_scan::ScanFor {
                mode,
                metacopies: !plan.overlay.metacopy || mode == Mode::User,
                redirects: mode == Mode::User,
                // If the directory has the mark that the kernel's overlay served it, users of that mount can have
                // written the records, so they do not count.
                devices: upper.records == OverrideStatMode::Devices
                    && !was_served_by_kernel(&upper.path, Some(&upper.work)),
            };
            upper_scan::search(&upper.path, &scan_for, patience).map(Self::Upper)
        })
    }

    fn without_search(plan: &Plan, mode: Mode) -> Option<Self> {
        let (overlay, wanted) = (&plan.overlay, &plan.requirements);
        if !namespace::can_mount() || plan.target.device.is_some() {
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
        // `OverrideStatMode::Devices` in the upper layer is no reason yet: a device is rare there, so search for one.
        let in_lowers = lowers
            .clone()
            .any(|layer| layer.records != OverrideStatMode::None);
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
                (!overlay.data.is_empty(), "a data-only layer"),
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

    /// Whether the kernel's overlay still shows and does all that the user wants: only FUSE tuning is lost.
    pub(crate) fn is_slight(&self) -> bool {
        matches!(self, Self::Tuning(_))
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MayNotMount => f.write_str(
                "an ordinary user may not mount the kernel's overlay here (\"plyfs unshare\" opens a \
                 namespace where that is allowed)",
            ),
            Self::Owners => f.write_str("options make files show other owners"),
            Self::Records => {
                f.write_str("override_stat records of the layers hold owners or devices")
            }
            Self::ArchiveNames => f.write_str("layers may have whiteouts that are files"),
            Self::Option(option) => write!(f, "only FUSE has {option}"),
            Self::Tuning(option) => write!(f, "{option} is for FUSE"),
            Self::NotWithUserxattr(what) => {
                write!(f, "the kernel does not allow {what} with user.* attributes")
            }
            Self::MetacopyWithoutRedirects => {
                f.write_str("the kernel allows metacopy=on only with redirect_dir=on")
            }
            Self::DataWithoutMetacopy => {
                f.write_str("the kernel allows data-only layers only with metacopy=on")
            }
            Self::VolatileContainer => {
                f.write_str("the kernel would leave the mark of a volatile mount in the container")
            }
            Self::ForeignMarks => f.write_str(
                "opaque directories of a layer have marks in attributes that the kernel does not \
                 read in this mode",
            ),
            Self::SingleLower => {
                f.write_str("the kernel refuses a single lower directory without an upper one")
            }
            Self::Upper(trace) => trace.fmt(f),
        }
    }
}

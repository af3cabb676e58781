//! Which owners the users of a mount see.
//!
//! Two things stand between the owners on disk and those that are shown.
//!
//! An `override_stat` record may name any owner. A mount made in a user namespace can show only the
//! ids that have a name there: the kernel turns every other into the overflow id and then refuses
//! all changes of such a file, even to the namespace's root. In a namespace with a single id that
//! would make parts of an image read-only for no reason, so what cannot be shown is shown as root's
//! ([`ShownIds`]). The record on disk keeps the true owner.
//!
//! A mount may also be told to show the owners on disk as others ([`Owners`]), as container tools do
//! for containers with ids of their own.

use std::ops::Range;

/// The ids a mount can show.
#[derive(Debug, Clone, Default)]
pub struct ShownIds {
    /// User ids; `None` for all.
    pub uids: Option<Vec<Range<u32>>>,
    /// Group ids; `None` for all.
    pub gids: Option<Vec<Range<u32>>>,
}

impl ShownIds {
    /// Owner and group as they are shown.
    pub(crate) fn apply(&self, uid: u32, gid: u32) -> (u32, u32) {
        (shown(&self.uids, uid), shown(&self.gids, gid))
    }
}

fn shown(ranges: &Option<Vec<Range<u32>>>, id: u32) -> u32 {
    match ranges {
        Some(ranges) if !ranges.iter().any(|range| range.contains(&id)) => 0,
        _ => id,
    }
}

/// Ids that stand for as many others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// The first that is shown.
    pub shown: u32,
    /// The first on disk.
    pub stored: u32,
    /// How many there are.
    pub count: u32,
}

/// How ids on disk are shown, where they are not in records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Ids {
    /// As they are.
    #[default]
    Same,
    /// As others.
    Mapped {
        /// Which as which.
        ranges: Vec<IdRange>,
        /// The id that stands for those in no range (`/proc/sys/kernel/overflowuid`).
        overflow: u32,
    },
    /// All as this one. Changing it succeeds and does nothing.
    Squashed(u32),
}

/// How owners on disk are shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Owners {
    /// User ids.
    pub uids: Ids,
    /// Group ids.
    pub gids: Ids,
}

impl Ids {
    pub(crate) fn shown(&self, stored: u32) -> u32 {
        match self {
            Self::Same => stored,
            Self::Squashed(id) => *id,
            Self::Mapped { ranges, overflow } => ranges
                .iter()
                .find_map(|range| translate(stored, range.stored, range.shown, range.count))
                .unwrap_or(*overflow),
        }
    }

    /// The id on disk of one that a caller has or asks for. `None` if a file keeps the one it has.
    pub(crate) fn stored(&self, shown: u32) -> Option<u32> {
        match self {
            Self::Same => Some(shown),
            Self::Squashed(_) => None,
            Self::Mapped { ranges, overflow } => Some(
                ranges
                    .iter()
                    .find_map(|range| translate(shown, range.shown, range.stored, range.count))
                    .unwrap_or(*overflow),
            ),
        }
    }
}

fn translate(id: u32, from: u32, to: u32, count: u32) -> Option<u32> {
    let offset = id.checked_sub(from).filter(|offset| *offset < count)?;
    to.checked_add(offset)
}

impl Owners {
    pub(crate) fn shown(&self, uid: u32, gid: u32) -> (u32, u32) {
        (self.uids.shown(uid), self.gids.shown(gid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_without_a_name_are_roots() {
        let ids = ShownIds {
            uids: Some(vec![0..1, 100..200]),
            gids: None,
        };
        assert_eq!(ids.apply(0, 5), (0, 5));
        assert_eq!(ids.apply(150, 0), (150, 0));
        assert_eq!(ids.apply(33, 33), (0, 33));
        assert_eq!(ids.apply(200, 0), (0, 0));
    }

    #[test]
    fn mapped_ids_are_translated_both_ways() {
        let range = |shown, stored, count| IdRange {
            shown,
            stored,
            count,
        };
        const OVERFLOW: u32 = 65534;
        let mapped = |ranges| Ids::Mapped {
            ranges,
            overflow: OVERFLOW,
        };
        let ids = mapped(vec![range(0, 1000, 1), range(1, 100_000, 65536)]);
        for (shown, stored) in [(0, 1000), (1, 100_000), (1000, 100_999), (65536, 165_535)] {
            assert_eq!(ids.shown(stored), shown);
            assert_eq!(ids.stored(shown), Some(stored));
        }
        assert_eq!(ids.shown(0), OVERFLOW);
        assert_eq!(ids.stored(65537), Some(OVERFLOW));
        let all = mapped(vec![range(0, 0, u32::MAX)]);
        assert_eq!(all.shown(OVERFLOW), OVERFLOW);
        assert_eq!(Ids::Squashed(5).shown(7), 5);
        assert_eq!(Ids::Squashed(5).stored(5), None);
    }
}

//! Which ids the users of a mount can be shown.
//!
//! An `override_stat` record may name any owner. A mount made in a user namespace can show only the
//! ids that have a name there: the kernel turns every other into the overflow id and then refuses
//! all changes of such a file, even to the namespace's root. In a namespace with a single id that
//! would make parts of an image read-only for no reason, so what cannot be shown is shown as root's.
//! The record on disk keeps the true owner.

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
}

//! What several commands share.

pub(super) mod changes;
pub(super) mod interrupt;
pub(super) mod one_by_one;
pub(super) mod progress;
pub(super) mod removal;

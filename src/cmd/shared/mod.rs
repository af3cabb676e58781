//! What several commands share.

pub(super) mod changes;
pub(crate) mod directories;
pub(super) mod interrupt;
pub(super) mod mount_point;
pub(crate) mod needed;
pub(super) mod one_by_one;
pub(super) mod outlining;
pub(super) mod ownership;
pub(super) mod progress;
pub(super) mod pulling;
pub(super) mod removal;
pub(super) mod unmounting;
pub(super) mod watch;

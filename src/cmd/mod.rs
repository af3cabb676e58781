//! One module a command: its arguments, and what it does with them.

pub(crate) mod bundle;
pub(crate) mod commit;
pub(crate) mod demo;
pub(crate) mod df;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod exec;
pub(crate) mod fsck;
pub(crate) mod history;
pub(crate) mod images;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod kill;
pub(crate) mod mount;
pub(crate) mod prune;
pub(crate) mod ps;
pub(crate) mod rm;
pub(crate) mod rmi;
pub(crate) mod run;
pub(crate) mod save;
pub(crate) mod shared;
pub(crate) mod stop;
pub(crate) mod tag;
pub(crate) mod umount;
pub(crate) mod unshare;

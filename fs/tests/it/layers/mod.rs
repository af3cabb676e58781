//! What a stack of layers shows: lookup order, whiteouts, opaque directories, listings.

mod listing;
mod merging;
mod refused;
mod shown;
mod whiteouts;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::support::*;
use plyfs_fs::types::{Caller, Device, FileKind, SetAttr};
use plyfs_fs::{
    Config, Errno, Fill, IdRange, Ids, IndexUse, LowerLayer, MountError, Overlay, OverrideStatMode,
    Owners, UpperLayer, Wants, XattrTrust,
};

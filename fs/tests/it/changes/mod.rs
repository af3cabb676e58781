//! Changes: what they show, and what they leave in the upper directory.

mod attributes;
mod copy_up;
mod links;
mod names;
mod open_files;
mod permissions;
mod times;

use std::ffi::OsStr;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::support::*;
use plyfs_fs::types::{Caller, Device, FileKind, SetAttr, SetTime, Timestamp, WriteMode};
use plyfs_fs::{Change, Errno, IndexUse};
use rustix::fs::{IFlags, RenameFlags, XattrFlags};

/// The names in a directory whose attributes change.
fn with_changed_attributes(dir: &Path, body: impl FnOnce()) -> Vec<String> {
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    let inotify = inotify::init(CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&inotify, dir, WatchFlags::ATTRIB).unwrap();
    body();
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(&inotify, &mut buffer);
    let mut names = Vec::new();
    while let Ok(event) = reader.next() {
        names.extend(
            event
                .file_name()
                .map(|name| name.to_string_lossy().into_owned()),
        );
    }
    names
}

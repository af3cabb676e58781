//! `plyfs mount` and `plyfs umount` of plain directories.

mod daemon;
mod dead;
mod files;
mod read_only;
mod refused;
mod state_file;

use std::fs::{self, File};
use std::io::{IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::*;
use rustix::process::{Pid, Signal, kill_process};

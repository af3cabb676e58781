//! The order of the caller to this program in the container: a document in memory, and descriptors.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use oci_spec::runtime::{Process, Spec};
use rustix::fs::MemfdFlags;
use rustix::io::FdFlags;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Result};

/// An order. Descriptors are numbers that it inherits.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) task: Task,
    /// The end for reading of the pipe of a [`super::bond::Bond`].
    pub(super) bond: RawFd,
    /// The socket of a [`super::report::Report`].
    pub(super) report: RawFd,
    /// Whether the process is to have a terminal of its own, whose master goes to the caller.
    pub(super) terminal: bool,
}

/// What is to be done.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Task {
    /// Start a container.
    Start {
        spec: Box<Spec>,
        /// Whether a process of this program is to be the container's first.
        init: bool,
    },
    /// Start another process in a container that runs.
    Join {
        spec: Box<Spec>,
        process: Box<Process>,
        /// The user to run it, in the form of an image's `User`, instead of that of the process.
        user: Option<String>,
        /// The namespaces to enter: a descriptor each, and its kind as setns(2) has it.
        namespaces: Vec<(RawFd, u32)>,
    },
}

impl Task {
    /// The configuration of the container.
    pub(super) fn spec(&self) -> &Spec {
        match self {
            Self::Start { spec, .. } | Self::Join { spec, .. } => spec,
        }
    }
}

impl Order {
    /// Writes the order to memory; the descriptor to pass on.
    pub(super) fn write(&self) -> Result<OwnedFd> {
        let action = "pass the configuration on";
        let memory =
            rustix::fs::memfd_create("plyfs-order", MemfdFlags::CLOEXEC).context(action)?;
        let mut file = File::from(memory);
        let text = serde_json::to_vec(self).context(action)?;
        file.write_all(&text).context(action)?;
        file.rewind().context(action)?;
        Ok(file.into())
    }

    /// Reads the order that the caller has written.
    pub(super) fn read(memory: OwnedFd) -> Result<Self> {
        let mut text = Vec::new();
        let mut file = File::from(memory);
        file.read_to_end(&mut text)
            .context("read the configuration")?;
        serde_json::from_slice(&text).context("read the configuration")
    }
}

/// Lets a descriptor go along to the program that this process executes next; its number.
pub(super) fn inherit(fd: &OwnedFd) -> Result<RawFd> {
    rustix::io::fcntl_setfd(fd, FdFlags::empty()).context("pass a descriptor on")?;
    Ok(fd.as_raw_fd())
}

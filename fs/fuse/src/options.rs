//! How the adapter behaves.

use std::time::Duration;

use super::suppressed::{EnabledRequests, SuppressedRequest};

/// How the adapter behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long the kernel may keep names and attributes without asking again.
    pub timeout: Duration,
    /// Whether the kernel may gather writes before it sends them.
    pub writeback: bool,
    /// Whether POSIX ACLs are supported. The kernel then checks them itself.
    pub acl: bool,
    /// Whether opening a file for writing copies it up, as in the kernel's overlay, and not the first
    /// change. Every open is a request then.
    pub copy_up_at_open: bool,
    /// Whether the kernel reads files by itself: for an overlay without an upper layer, and the superuser of
    /// the machine.
    pub passthrough: bool,
    /// Whether there are extended attributes.
    pub xattrs: bool,
    /// How many threads read requests.
    pub threads: usize,
    /// Whether processor time is spent in [bursts](crate::Observer) of requests, where a single thread reads them.
    pub polling: bool,
    /// Which suppressed requests are sent nevertheless.
    pub enabled: EnabledRequests,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(1_000_000_000),
            writeback: false,
            acl: true,
            copy_up_at_open: false,
            passthrough: false,
            xattrs: true,
            threads: 1,
            polling: true,
            enabled: EnabledRequests::default(),
        }
    }
}

impl Options {
    /// Whether what the kernel was told holds for a time only: the layers may change underneath. Then
    /// neither the kernel nor the overlay keeps content, listings or targets of links without asking.
    pub fn allow_for_changes(&self) -> bool {
        self.timeout < Self::default().timeout
    }
    /// These options with what follows from them.
    pub(crate) fn effective(&self) -> Self {
        let mut enabled = self.enabled;
        if self.copy_up_at_open {
            enabled.add(SuppressedRequest::Open);
        }
        if self.allow_for_changes() {
            // The kernel drops a file's pages when it is opened, and reads each listing and link from us.
            enabled.add(SuppressedRequest::Open);
            enabled.add(SuppressedRequest::Opendir);
            enabled.add(SuppressedRequest::Readlink);
        }
        Self {
            // The kernel does one or the other.
            writeback: self.writeback && !self.passthrough,
            enabled,
            ..self.clone()
        }
    }
}

//! The state of one import, and what a caller asks for and gets.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use plyfs_format::names::Namespace;

use super::sync::SyncGroup;
use crate::disk::{Staging, Store};
use crate::oci::Platform;
use crate::progress::Progress;
use crate::remote::Remote;
use crate::source::{Found, Source};
use crate::values::{Digest, ImageName, Limits, Ownership};

/// What to import.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// Where the image is.
    pub source: Source,
    /// The name to give it; otherwise it follows from the source.
    pub name: Option<ImageName>,
    /// The platform to choose among several; otherwise that of this machine.
    pub platform: Option<Platform>,
    /// How to keep owners in layers that are not in the store yet. Layers that are stay as they
    /// are.
    pub ownership: Ownership,
    /// What a layer may cost.
    pub limits: Limits,
}

impl ImportRequest {
    /// An import with nothing out of the ordinary.
    pub fn new(source: Source, ownership: Ownership) -> Self {
        Self {
            source,
            name: None,
            platform: None,
            ownership,
            limits: Limits::default(),
        }
    }
}

/// An image to pull.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// Where the image is.
    pub remote: Arc<dyn Remote>,
    /// The name to give it.
    pub name: ImageName,
    /// The platform to choose among several; otherwise that of this machine.
    pub platform: Option<Platform>,
    /// As in an [`ImportRequest`].
    pub ownership: Ownership,
    /// What a layer may cost.
    pub limits: Limits,
}

/// How layers are unpacked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) ownership: Ownership,
    pub(crate) limits: Limits,
}

impl ImportRequest {
    pub(super) fn terms(&self) -> Terms {
        Terms {
            ownership: self.ownership,
            limits: self.limits,
        }
    }
}

/// What was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The name that the image has now.
    pub name: ImageName,
    /// The digest of its manifest.
    pub manifest_digest: Digest,
    /// How many layers it has.
    pub layers: usize,
    /// How many of them were unpacked now; the others were in the store.
    pub unpacked: usize,
}

/// An import at work.
pub(super) struct Import<'a> {
    pub(super) store: &'a Store,
    pub(super) staging: &'a Staging,
    pub(super) terms: Terms,
    pub(super) found: &'a Found,
    pub(super) progress: &'a dyn Progress,
    /// Where overlay records go.
    pub(super) namespace: Namespace,
    pub(super) sync: SyncGroup<'a>,
    /// What the store has of the image and is to be replaced.
    pub(super) damaged: Damaged,
    /// Set once a layer has failed: the others are not wanted any more.
    pub(super) failed: AtomicBool,
}

impl Import<'_> {
    /// Whether to stop.
    pub(super) fn is_cancelled(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.progress.interrupted()
    }
}

/// What of an image is in the store and damaged.
#[derive(Debug, Default)]
pub(super) struct Damaged {
    pub(super) blobs: HashSet<Digest>,
    pub(super) layers: HashSet<Digest>,
}

//! Where the object of a node is: its layer, and what leads below it.

use std::sync::Arc;

use crate::inode::unlinked::UnlinkedFd;
use crate::layer::lower_dir::{LowerDir, LowerFile};
use crate::layer::redirect::Redirect;
use crate::types::Name;

/// What leads from a node of the upper layer to the layers below it, if that is not its name. Few nodes
/// have any, and nodes are many.
#[derive(Debug, Clone, Default)]
pub(crate) struct LowerLink(Option<Box<LowerLinkData>>);

#[derive(Debug, Clone, Default)]
struct LowerLinkData {
    redirect: Option<Redirect>,
    data: Option<LowerFile>,
}

impl LowerLink {
    pub(crate) fn new(redirect: Option<Redirect>, data: Option<LowerFile>) -> Self {
        if redirect.is_none() && data.is_none() {
            return Self::default();
        }
        Self(Some(Box::new(LowerLinkData { redirect, data })))
    }

    /// Where what the upper object shows is in the layers below, if not under its name.
    pub(crate) fn redirect(&self) -> Option<&Redirect> {
        self.0.as_ref()?.redirect.as_ref()
    }

    /// Where the data of a regular file is that was copied up, here or in a lower layer, without it.
    pub(crate) fn data(&self) -> Option<&LowerFile> {
        self.0.as_ref()?.data.as_ref()
    }

    pub(crate) fn set_redirect(&mut self, redirect: Option<Redirect>) {
        *self = Self::new(redirect, self.data().cloned());
    }

    /// Takes the redirect away; returns whether there was one.
    pub(crate) fn drop_redirect(&mut self) -> bool {
        let had = self.redirect().is_some();
        self.set_redirect(None);
        had
    }

    pub(crate) fn set_data(&mut self, data: Option<LowerFile>) {
        *self = Self::new(self.redirect().cloned(), data);
    }
}

/// In which layer the object of a node is.
#[derive(Debug, Clone)]
pub(crate) enum Backing {
    /// In the upper layer, under the node's name in its parent's upper directory.
    Upper,
    /// In a lower layer: for a file the directory that holds it there under the node's name, for a
    /// directory the topmost of its lower directories.
    Lower(Arc<LowerDir>),
    /// In the upper layer, under this name in the index: it may have several names in the layers.
    Index(Arc<Name>),
    /// In the upper layer without a name we know: removed while in use, kept by a descriptor.
    Orphan(Arc<UnlinkedFd>),
}

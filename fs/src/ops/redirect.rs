//! Redirects: what a node shows of the layers below is found from another name.

use std::sync::Arc;

use plyfs_sys::xattr::At;

use crate::Overlay;
use crate::config::RedirectDir;
use crate::error::{Errno, Result};
use crate::inode::node::Node;
use crate::layer::redirect::Redirect;
use crate::layer::upper::Upper;
use crate::types::Name;

/// The path that leads to what a node shows in the layers below.
fn path_below(node: &Arc<Node>) -> Arc<[Name]> {
    let mut reversed: Vec<Name> = Vec::new();
    let mut next = Some(node.clone());
    while let Some(node) = next {
        let place = node.place.read();
        if place.parent.is_none() {
            break;
        }
        match place.lower_link.redirect() {
            Some(Redirect::Path(path)) => {
                reversed.extend(path.iter().rev().cloned());
                break;
            }
            Some(Redirect::Name(name)) => reversed.push(name.clone()),
            None => reversed.push(place.name.clone()),
        }
        next = place.parent.clone();
    }
    reversed.into_iter().rev().collect()
}

impl Overlay {
    /// The redirect that a node of the upper layer needs to be found below from another name:
    /// `None` if the one it has serves.
    ///
    /// `absolute` says that it must lead there from another directory, too.
    fn redirect_for(&self, node: &Arc<Node>, absolute: bool) -> Option<Redirect> {
        let (name, present) = {
            let place = node.place.read();
            (place.name.clone(), place.lower_link.redirect().cloned())
        };
        match present {
            Some(redirect) if !absolute || redirect.is_path() => None,
            _ if !absolute => Some(Redirect::Name(name)),
            _ => Some(Redirect::Path(path_below(node))),
        }
    }

    /// Makes what a node is tied to below be found from another name, by a redirect. `false` if that
    /// cannot be.
    pub(super) fn write_redirect(
        &self,
        upper: &Upper,
        at: At<'_>,
        node: &Arc<Node>,
        absolute: bool,
    ) -> Result<bool> {
        if !node.shows_lowers() && !node.is_metacopy() {
            return Ok(true);
        }
        if self.redirect_dir != RedirectDir::On || node.place.read().parent.is_none() {
            return Ok(false);
        }
        let Some(redirect) = self.redirect_for(node, absolute) else {
            return Ok(true);
        };
        match redirect.write(at, upper.namespace) {
            Ok(()) => {
                node.place.write().lower_link.set_redirect(Some(redirect));
                Ok(true)
            }
            Err(Errno::NAMETOOLONG | Errno::OPNOTSUPP | Errno::PERM) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

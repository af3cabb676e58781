//! Redirects that a rename or link writes.

use std::sync::Arc;

use crate::Overlay;
use crate::inode::node::Node;
use crate::layer::redirect::Redirect;
use crate::types::Name;

/// The path that leads to what a node shows in the layers below.
pub(crate) fn path_below(node: &Arc<Node>) -> Arc<[Name]> {
    let mut reversed: Vec<Name> = Vec::new();
    let mut next = Some(node.clone());
    while let Some(node) = next {
        let place = node.place.read();
        if place.parent.is_none() {
            break;
        }
        match place.below.redirect() {
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
    pub(crate) fn redirect_for(&self, node: &Arc<Node>, absolute: bool) -> Option<Redirect> {
        let (name, present) = {
            let place = node.place.read();
            (place.name.clone(), place.below.redirect().cloned())
        };
        match present {
            Some(redirect) if !absolute || redirect.is_path() => None,
            _ if !absolute => Some(Redirect::Name(name)),
            _ => Some(Redirect::Path(path_below(node))),
        }
    }
}

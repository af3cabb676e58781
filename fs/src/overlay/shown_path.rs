//! The path at which a node is shown, for log lines.

use std::path::PathBuf;

use crate::Overlay;

impl Overlay {
    /// The path of a node in the mount, which may be another one by the time it is read. `None` if the node is
    /// unknown.
    pub fn path_of(&self, id: u64) -> Option<PathBuf> {
        let mut names = Vec::new();
        let mut next = Some(self.nodes.get(id)?);
        while let Some(node) = next {
            let place = node.place.read();
            next = place.parent.clone();
            if next.is_some() {
                names.push(place.name.clone());
            }
        }
        let mut path = PathBuf::from("/");
        names.iter().rev().for_each(|name| path.push(&**name));
        Some(path)
    }
}

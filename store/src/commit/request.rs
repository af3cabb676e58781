//! What a caller commits, and the steps of it.

use super::change::ConfigChange;
use crate::values::{ImageName, Ownership, Timestamp};

/// What the new image is to say of itself.
#[derive(Debug, Clone)]
pub struct CommitRequest {
    /// Its name.
    pub name: ImageName,
    /// Who made it.
    pub author: Option<String>,
    /// What for.
    pub message: Option<String>,
    /// When.
    pub created: Timestamp,
    /// What is different from the base image when it is run, in this order.
    pub changes: Vec<ConfigChange>,
    /// How owners are kept in the unpacked layer.
    pub ownership: Ownership,
}

impl CommitRequest {
    /// A commit with nothing out of the ordinary.
    pub fn new(name: ImageName, ownership: Ownership) -> Self {
        Self {
            name,
            author: None,
            message: None,
            created: Timestamp::now(),
            changes: Vec::new(),
            ownership,
        }
    }
}

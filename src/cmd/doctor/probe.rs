//! One thing that `plyfs doctor` tries, and how it ended.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use crate::error::reason;

/// One thing that was tried.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Probe {
    /// The name for programs.
    pub(super) key: String,
    /// The name for people.
    pub(super) name: String,
    pub(super) ok: bool,
    /// What it is good for, or why it is missing.
    pub(super) detail: String,
    /// How to get it, if it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

impl Probe {
    pub(super) fn new(
        (key, name): (&str, &str),
        tried: Result<(), impl Display>,
        good_for: &str,
        remedy: &str,
    ) -> Self {
        Self {
            key: key.to_owned(),
            name: name.to_owned(),
            ok: tried.is_ok(),
            detail: match &tried {
                Ok(()) => good_for.to_owned(),
                Err(why) => reason(why),
            },
            remedy: tried.is_err().then(|| remedy.to_owned()),
        }
    }
}

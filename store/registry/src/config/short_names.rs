//! Short names that a user chose before, and what to do with ambiguous ones.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::Error;

use super::{Places, invalid, read_text};

/// What to do if a short name stands for several full ones.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ShortNameMode {
    /// Ask on a terminal; without one it is an error.
    #[default]
    Enforcing,
    /// Ask on a terminal; without one try all.
    Permissive,
    /// Try all.
    Disabled,
}

/// The file that container tools keep in the user's cache.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Document {
    aliases: BTreeMap<String, String>,
}

/// The aliases in `containers/short-name-aliases.conf` of the user's cache.
pub(super) fn load_chosen(places: &Places) -> Result<BTreeMap<String, String>, Error> {
    let Some(cache) = &places.cache else {
        return Ok(BTreeMap::new());
    };
    let path = cache.join("containers/short-name-aliases.conf");
    let Some(text) = read_text(&path)? else {
        return Ok(BTreeMap::new());
    };
    let document: Document =
        toml::from_str(&text).map_err(|error| invalid(&path, error.message()))?;
    Ok(document.aliases)
}

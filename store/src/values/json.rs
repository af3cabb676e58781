//! JSON that this crate writes.

/// A document that this crate writes, as JSON.
pub(crate) fn to_json(document: &impl serde::Serialize) -> Vec<u8> {
    // Fails for maps with keys that are no strings and for failing implementations only.
    serde_json::to_vec(document).unwrap_or_default()
}

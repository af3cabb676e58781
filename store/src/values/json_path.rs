//! Paths in JSON.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A path as JSON: text, or an array of bytes if the path is not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum JsonPath {
    Text(String),
    Bytes(Vec<u8>),
    /// What older versions wrote for every path of a container's places.
    Tagged {
        #[serde(rename = "Unix")]
        bytes: Vec<u8>,
    },
}

impl From<&Path> for JsonPath {
    fn from(path: &Path) -> Self {
        match path.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Bytes(path.as_os_str().as_bytes().to_vec()),
        }
    }
}

impl From<JsonPath> for PathBuf {
    fn from(json: JsonPath) -> Self {
        match json {
            JsonPath::Text(text) => text.into(),
            JsonPath::Bytes(bytes) | JsonPath::Tagged { bytes } => OsString::from_vec(bytes).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> PathBuf {
        serde_json::from_str::<JsonPath>(json).unwrap().into()
    }

    #[test]
    fn a_path_is_text_where_it_can_be() {
        let text = |path: &Path| serde_json::to_string(&JsonPath::from(path)).unwrap();
        assert_eq!(text(Path::new("/a/\"b")), r#""/a/\"b""#);
        let bytes = PathBuf::from(OsString::from_vec(b"/\xff".to_vec()));
        assert_eq!(text(&bytes), "[47,255]");
        assert_eq!(read("[47,255]"), bytes);
        assert_eq!(read(r#""/a""#), Path::new("/a"));
    }

    #[test]
    fn a_path_that_an_older_version_wrote_is_read() {
        let old = serde_json::to_string(&OsString::from("/a")).unwrap();
        assert_eq!(old, r#"{"Unix":[47,97]}"#);
        assert_eq!(read(&old), Path::new("/a"));
    }
}

//! What is known of something that is live.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::process::{Namespaces, ProcessId};
use crate::container::Container;
use crate::error::Result;
use crate::image::Image;
use crate::values::{ContainerName, Digest, ImageName, JsonPath};

/// What a live record is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LiveKind {
    /// A mount of an image or a container.
    Mount,
    /// A container in which a program runs.
    Run,
}

/// What is about to be live, as its maker describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveRequest {
    /// What it is.
    pub kind: LiveKind,
    /// The container; none for an image that is mounted or run read-only.
    pub container: Option<ContainerName>,
    /// Whether the container goes with its process.
    pub temporary: bool,
    /// The image, or the name it had when the container was made.
    pub image: ImageName,
    /// Digest of the manifest of the image.
    pub manifest_digest: Digest,
    /// Where it is mounted, in the mount namespace of the process; for a mount.
    #[serde(
        default,
        serialize_with = "write_path",
        deserialize_with = "read_path",
        skip_serializing_if = "Option::is_none"
    )]
    pub target: Option<PathBuf>,
    /// What serves the files: `fuse` or `kernel`.
    pub backend: Option<String>,
    /// The program that is run and its arguments; empty for a mount.
    pub command: Vec<String>,
    /// The signal that asks the program to end, as the image names it, if not SIGTERM.
    pub stop_signal: Option<String>,
    /// For a running container: what the command that started it wants others to know, such as the
    /// configuration that a further process is started with. The store does not read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<serde_json::Value>,
    /// For a running container: the namespaces that its first process was started in, as links in
    /// /proc/PID/ns say them. That process may make others for itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
}

/// A live mount or container, as its record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveRecord {
    /// The name it is found by: that of its container, or a generated one.
    pub id: ContainerName,
    /// What it is.
    #[serde(flatten)]
    pub what: LiveRequest,
    /// The process that serves the mount, or attends to the container.
    pub process: ProcessId,
    /// The namespaces of that process when it registered.
    pub namespace: Namespaces,
    /// When it was registered, in RFC 3339.
    pub started: String,
    /// The first process of the container, by its number in the pid namespace of `process`; none for a
    /// mount, and until it is started.
    pub init: Option<ProcessId>,
}

impl LiveRequest {
    /// A container.
    pub fn of_container(kind: LiveKind, container: &Container, temporary: bool) -> Self {
        let record = &container.record;
        Self {
            container: Some(record.name.clone()),
            temporary,
            ..Self::of(kind, &record.image, record.manifest_digest)
        }
    }

    /// An image without a container.
    pub fn of_image(kind: LiveKind, image: &Image) -> Self {
        Self::of(kind, &image.name, image.manifest_digest)
    }

    pub(super) fn of(kind: LiveKind, image: &ImageName, manifest_digest: Digest) -> Self {
        Self {
            kind,
            container: None,
            temporary: false,
            image: image.clone(),
            manifest_digest,
            target: None,
            backend: None,
            command: Vec::new(),
            stop_signal: None,
            configuration: None,
            namespaces: Vec::new(),
        }
    }
}

impl LiveRecord {
    /// A descriptor of the process that serves it; `None` if that is gone, or in a pid namespace where
    /// its number says nothing here.
    pub fn open_process(&self) -> Option<OwnedFd> {
        self.is_in_own_pid_namespace()
            .then(|| self.process.open())
            .flatten()
    }

    /// A descriptor of the container's first process, likewise.
    pub fn open_init(&self) -> Option<OwnedFd> {
        self.is_in_own_pid_namespace()
            .then(|| self.init?.open())
            .flatten()
    }

    /// Whether the numbers of its processes are numbers in the pid namespace of this process, too.
    pub fn is_in_own_pid_namespace(&self) -> bool {
        Namespaces::own().is_ok_and(|own| own.pid == self.namespace.pid)
    }

    /// Whether it is called so: by its id, or by the name of its container.
    pub fn is_called(&self, name: &str) -> bool {
        let container = self.what.container.as_ref();
        self.id.as_str() == name || container.is_some_and(|container| container.as_str() == name)
    }
}

fn write_path<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path.as_deref().map(JsonPath::from).serialize(to)
}

fn read_path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    Ok(Option::<JsonPath>::deserialize(from)?.map(PathBuf::from))
}

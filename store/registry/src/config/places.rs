//! The paths of all files of settings.

use std::env;
use std::path::{Path, PathBuf};

use super::Proxies;

/// Which certificates of authorities are trusted for every registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Roots {
    /// The system's, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    #[default]
    System,
    /// Those of a file in PEM.
    File(PathBuf),
}

/// Where settings are looked for. Only [`Places::from_env`] reads the environment.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The system's settings, `/etc`.
    pub etc: PathBuf,
    /// The user's settings, `~/.config`.
    pub config: Option<PathBuf>,
    /// The user's cache, `~/.cache`, which has short names that were chosen before.
    pub cache: Option<PathBuf>,
    /// What lasts as long as the session, `$XDG_RUNTIME_DIR`.
    pub runtime: Option<PathBuf>,
    /// Docker's settings of the user, `$DOCKER_CONFIG` or `~/.docker`.
    pub docker: Option<PathBuf>,
    /// The one file with credentials, from `$REGISTRY_AUTH_FILE` or an option. No other is read then.
    pub auth_file: Option<PathBuf>,
    /// `$CONTAINERS_REGISTRIES_CONF`, instead of the user's and the system's.
    pub registries_conf: Option<PathBuf>,
    /// The directory of the credential helpers, instead of `$PATH`.
    pub helpers: Option<PathBuf>,
    /// The authorities.
    pub roots: Roots,
    /// The proxies.
    pub proxies: Proxies,
}

impl Places {
    /// Those of the calling user.
    pub fn from_env() -> Self {
        let path = |name: &str| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let home = path("HOME");
        let below_home = |name: &str| home.as_ref().map(|home| home.join(name));
        Self {
            etc: PathBuf::from("/etc"),
            config: path("XDG_CONFIG_HOME").or_else(|| below_home(".config")),
            cache: path("XDG_CACHE_HOME").or_else(|| below_home(".cache")),
            runtime: path("XDG_RUNTIME_DIR"),
            docker: path("DOCKER_CONFIG").or_else(|| below_home(".docker")),
            auth_file: path("REGISTRY_AUTH_FILE"),
            registries_conf: path("CONTAINERS_REGISTRIES_CONF"),
            helpers: None,
            roots: Roots::System,
            proxies: Proxies::from_env(),
        }
    }

    /// Those below one directory, each at the place that its name says.
    pub fn below(root: &Path) -> Self {
        Self {
            etc: root.join("etc"),
            config: Some(root.join("config")),
            cache: Some(root.join("cache")),
            runtime: Some(root.join("runtime")),
            docker: Some(root.join("docker")),
            ..Self::default()
        }
    }

    /// A file of the user and the same one of the system, below their `containers`.
    pub(super) fn of_containers(&self, name: &str) -> Vec<PathBuf> {
        let bases = self.config.iter().chain([&self.etc]);
        bases
            .map(|base| base.join("containers").join(name))
            .collect()
    }
}

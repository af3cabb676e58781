//! registries.conf: endpoints, mirrors, and what is blocked. See containers-registries.conf(5).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::name::Name;
use crate::{Error, ShortNameMode};

use super::{Places, files_in, invalid, read_text, short_names};

/// Where an image can be fetched from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The host and the path there.
    pub name: Name,
    /// Whether certificates are not verified, and plain HTTP is allowed.
    pub insecure: bool,
    /// Whether it stands in for the registry that the reference names.
    pub is_mirror: bool,
}

/// One file in TOML.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "kebab-case")]
struct Document {
    unqualified_search_registries: Option<Vec<String>>,
    short_name_mode: Option<ShortNameMode>,
    registry: Vec<Registry>,
    aliases: BTreeMap<String, String>,
    /// The table of version 1 of the format.
    registries: Option<toml::Value>,
}

/// What is set for the references below a prefix.
#[derive(Clone, Debug, Deserialize, Default)]
#[serde(default, rename_all = "kebab-case")]
struct Registry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror: Vec<Mirror>,
    mirror_by_digest_only: bool,
}

/// A mirror of a registry.
#[derive(Clone, Debug, Deserialize, Default)]
#[serde(default, rename_all = "kebab-case")]
struct Mirror {
    location: String,
    insecure: bool,
    pull_from_mirror: Option<PullFrom>,
}

/// For which references a mirror is asked.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum PullFrom {
    All,
    DigestOnly,
    TagOnly,
}

/// The settings of all registries.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    registries: Vec<Registry>,
    search: Vec<String>,
    mode: ShortNameMode,
    aliases: BTreeMap<String, String>,
}

impl Registries {
    /// Reads registries.conf, the files of registries.conf.d, and the short names chosen before.
    ///
    /// # Errors
    /// [`Error::Config`] if a file is no TOML of version 2 of the format; [`Error::Io`] if one cannot be read.
    pub fn load(places: &Places) -> Result<Self, Error> {
        let mut all = Self::default();
        let main = match &places.registries_conf {
            Some(path) => vec![path.clone()],
            None => places.of_containers("registries.conf"),
        };
        for path in main {
            if all.merge_file(&path)? {
                break;
            }
        }
        for path in drop_ins(places)? {
            all.merge_file(&path)?;
        }
        let chosen = short_names::load_chosen(places)?;
        all.aliases.extend(chosen);
        Ok(all)
    }

    /// Adds what a file says, which wins over what is there. Returns false if there is no file.
    fn merge_file(&mut self, path: &Path) -> Result<bool, Error> {
        let Some(text) = read_text(path)? else {
            return Ok(false);
        };
        let document: Document =
            toml::from_str(&text).map_err(|error| invalid(path, error.message()))?;
        if document.registries.is_some() {
            return Err(invalid(
                path,
                "it has version 1 of its format: write [[registry]] tables",
            ));
        }
        for mut registry in document.registry {
            registry.complete().map_err(|why| invalid(path, why))?;
            self.registries
                .retain(|known| known.prefix != registry.prefix);
            self.registries.push(registry);
        }
        self.search = document
            .unqualified_search_registries
            .unwrap_or_else(|| self.search.clone());
        self.mode = document.short_name_mode.unwrap_or(self.mode);
        self.aliases.extend(document.aliases);
        // An empty alias takes one from another file away.
        self.aliases.retain(|_, name| !name.is_empty());
        Ok(true)
    }

    /// The endpoints of a repository in the order to ask them: its mirrors, then itself. A mirror may serve
    /// only references by digest, or only those by tag.
    ///
    /// # Errors
    /// [`Error::Blocked`] if the registry is blocked, [`Error::InvalidName`] if a location is no repository.
    pub fn endpoints(&self, name: &Name, by_digest: bool) -> Result<Vec<Endpoint>, Error> {
        let Some(registry) = self.find(name)? else {
            return Ok(vec![plain(name)]);
        };
        let serves = |mirror: &&Mirror| match mirror.pull_from_mirror {
            Some(PullFrom::DigestOnly) => by_digest,
            Some(PullFrom::TagOnly) => !by_digest,
            Some(PullFrom::All) => true,
            None => by_digest || !registry.mirror_by_digest_only,
        };
        let mirrors = registry.mirror.iter().filter(serves);
        let mut endpoints = mirrors
            .map(|mirror| registry.endpoint(name, &mirror.location, mirror.insecure, true))
            .collect::<Result<Vec<_>, _>>()?;
        endpoints.push(registry.endpoint(name, &registry.location, registry.insecure, false)?);
        Ok(endpoints)
    }

    /// The endpoint to push a repository to: mirrors are only for pulling.
    ///
    /// # Errors
    /// As [`Registries::endpoints`].
    pub fn push_endpoint(&self, name: &Name) -> Result<Endpoint, Error> {
        match self.find(name)? {
            Some(registry) => registry.endpoint(name, &registry.location, registry.insecure, false),
            None => Ok(plain(name)),
        }
    }

    /// The full names that a short name stands for, in the order to try them: its alias, or one in each of the
    /// registries that are searched. Empty without such settings.
    ///
    /// # Errors
    /// [`Error::InvalidName`] if one of them is no repository.
    pub fn short_name(&self, short: &str) -> Result<Vec<Name>, Error> {
        if let Some(full) = self.aliases.get(short) {
            return Name::parse(full).map(|name| vec![name]);
        }
        let full = |host: &String| match (host.as_str(), short.contains('/')) {
            ("docker.io", false) => Name::new(host, &format!("library/{short}")),
            // A registry to search may have a path.
            _ => Name::parse(&format!("{host}/{short}")),
        };
        self.search.iter().map(full).collect()
    }

    /// What to do if a short name stands for several.
    pub fn short_name_mode(&self) -> ShortNameMode {
        self.mode
    }

    /// The settings with the longest prefix of a name, unless the registry is blocked.
    fn find(&self, name: &Name) -> Result<Option<&Registry>, Error> {
        let full = name.to_string();
        let matching = self
            .registries
            .iter()
            .filter(|registry| registry.covers(&full));
        let best = matching.max_by_key(|registry| registry.prefix.len());
        match best {
            Some(registry) if registry.blocked => Err(Error::Blocked { name: full }),
            other => Ok(other),
        }
    }
}

impl Registry {
    /// Fills in the one of prefix and location that the file leaves out.
    fn complete(&mut self) -> Result<(), &'static str> {
        for location in [&mut self.prefix, &mut self.location] {
            *location = location.trim_end_matches('/').to_owned();
        }
        if self.prefix.is_empty() {
            self.prefix = self.location.clone();
        }
        let has_wildcard = self.prefix.starts_with("*.");
        if self.location.is_empty() && !has_wildcard {
            self.location = self.prefix.clone();
        }
        if self.prefix.is_empty() {
            return Err("a [[registry]] has neither a prefix nor a location");
        }
        if self.prefix.contains("://") || self.location.contains("://") {
            return Err("prefixes and locations have no scheme such as https://");
        }
        match self.mirror.iter().any(|mirror| mirror.location.is_empty()) {
            true => Err("a [[registry.mirror]] has no location"),
            false => Ok(()),
        }
    }

    /// Whether the prefix covers a full name.
    fn covers(&self, full: &str) -> bool {
        if let Some(domain) = self.prefix.strip_prefix('*') {
            let host = full.split('/').next().unwrap_or_default();
            let (bare, _) = crate::name::split_port(host);
            return host.ends_with(domain) || bare.ends_with(domain);
        }
        // A prefix ends where a part of the name does: a host without its port is another host.
        full.strip_prefix(&self.prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The endpoint of a name at a location, which takes the place of the prefix.
    fn endpoint(
        &self,
        name: &Name,
        location: &str,
        insecure: bool,
        is_mirror: bool,
    ) -> Result<Endpoint, Error> {
        let full = name.to_string();
        let rest = match self.prefix.starts_with('*') {
            // For a wildcard the location takes the place of the host.
            true => full.get(name.host().len()..),
            false => full.strip_prefix(&self.prefix),
        };
        let place = match location {
            "" => full.clone(),
            _ => format!(
                "{}{}",
                location.trim_end_matches('/'),
                rest.unwrap_or_default()
            ),
        };
        Ok(Endpoint {
            name: Name::parse(&place)?,
            insecure,
            is_mirror,
        })
    }
}

/// The endpoint that a name itself says.
fn plain(name: &Name) -> Endpoint {
    Endpoint {
        name: name.clone(),
        insecure: false,
        is_mirror: false,
    }
}

/// The files of registries.conf.d: the system's, then the user's, each sorted by name.
fn drop_ins(places: &Places) -> Result<Vec<PathBuf>, Error> {
    let mut paths = Vec::new();
    for dir in places.of_containers("registries.conf.d").iter().rev() {
        paths.extend(files_in(dir, "conf")?);
    }
    Ok(paths)
}

#[cfg(test)]
#[path = "registries_tests.rs"]
mod tests;

//! `--volume`, `--mount` and `--tmpfs`: what is mounted into a container besides its image.

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use oci_spec::runtime::{Mount, MountBuilder};

use crate::error::{Context, Result};

/// One mount that a user asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserMount {
    kind: Kind,
    /// An absolute path in the container without `.` and `..`.
    target: PathBuf,
    /// In the words of the OCI runtime specification.
    options: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// A directory or file of the caller; relative to the working directory.
    Bind(PathBuf),
    Tmpfs,
}

/// Options of a bind mount that are passed on. `z`, `Z` (labels of SELinux) and `U` (chown of the source)
/// are not among them: plyfs does neither, and says so.
const BIND_WORDS: [&str; 16] = [
    "ro",
    "rw",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "bind",
    "rbind",
    "private",
    "rprivate",
    "slave",
    "rslave",
    "unbindable",
    "runbindable",
];

/// Options of a tmpfs; those with a value are passed to the file system.
const TMPFS_WORDS: [&str; 9] = [
    "ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "noatime",
];
const TMPFS_VALUES: [&str; 6] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks"];

impl UserMount {
    /// Reads `SRC:DST[:OPTIONS]`.
    pub(crate) fn volume(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let (source, target, options) = (parts.next(), parts.next(), parts.next());
        let (Some(source), Some(target), None) = (source, target, parts.next()) else {
            return Err("give SRC:DST or SRC:DST:OPTIONS".to_owned());
        };
        if !source.contains('/') && source != "." && source != ".." {
            return Err(format!(
                "{source:?} is no path: plyfs has no named volumes; give a directory, such as ./{source}"
            ));
        }
        let words = options.into_iter().flat_map(|options| options.split(','));
        Self::bind(source, target, words)
    }

    /// Reads `DST[:OPTIONS]` of `--tmpfs`.
    pub(crate) fn tmpfs(text: &str) -> Result<Self, String> {
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        Self::in_memory(target, options.split(',').filter(|word| !word.is_empty()))
    }

    fn bind<'w>(
        source: &str,
        target: &str,
        words: impl Iterator<Item = &'w str>,
    ) -> Result<Self, String> {
        let mut options = Vec::new();
        for word in words.filter(|word| !word.is_empty()) {
            match word {
                "z" | "Z" => {
                    return Err(format!(
                        "the option {word} relabels files for SELinux, which plyfs does not do; leave it away"
                    ));
                }
                "U" => {
                    return Err(
                        "the option U changes owners of the source, which plyfs does not do; leave it \
                         away"
                            .to_owned(),
                    );
                }
                "shared" | "rshared" => {
                    return Err(
                        "mounts made in the container cannot appear on this machine (shared); choose \
                         rslave or rprivate"
                            .to_owned(),
                    );
                }
                _ if BIND_WORDS.contains(&word) => options.push(word.to_owned()),
                _ => return Err(format!("unknown option {word:?}")),
            }
        }
        // As in Podman: what comes from outside brings no power along unless asked for.
        for (default, others) in [
            ("rbind", &["bind", "rbind"][..]),
            ("nosuid", &["suid", "nosuid"]),
            ("nodev", &["dev", "nodev"]),
            (
                "rprivate",
                &[
                    "private",
                    "rprivate",
                    "slave",
                    "rslave",
                    "unbindable",
                    "runbindable",
                ],
            ),
        ] {
            if !options.iter().any(|word| others.contains(&word.as_str())) {
                options.push(default.to_owned());
            }
        }
        Ok(Self {
            kind: Kind::Bind(PathBuf::from(source)),
            target: target_path(target)?,
            options,
        })
    }

    fn in_memory<'w>(target: &str, words: impl Iterator<Item = &'w str>) -> Result<Self, String> {
        let mut options: Vec<String> = Vec::new();
        for word in words {
            let name = word.split_once('=').map_or(word, |(name, _)| name);
            let known = if word.contains('=') {
                TMPFS_VALUES.contains(&name)
            } else {
                TMPFS_WORDS.contains(&name)
            };
            if !known {
                return Err(format!("unknown option {word:?}"));
            }
            options.push(word.to_owned());
        }
        for (default, other) in [("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec")] {
            if !options.iter().any(|word| word == default || word == other) {
                options.push(default.to_owned());
            }
        }
        if !options.iter().any(|word| word.starts_with("mode=")) {
            options.push("mode=1777".to_owned());
        }
        Ok(Self {
            kind: Kind::Tmpfs,
            target: target_path(target)?,
            options,
        })
    }

    /// Where it is mounted.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// The entry of the configuration. Relative sources are below `directory`.
    pub(super) fn to_mount(&self, directory: &Path) -> Result<Mount> {
        let builder = MountBuilder::default()
            .destination(&self.target)
            .options(self.options.clone());
        let builder = match &self.kind {
            Kind::Bind(source) => builder.typ("bind").source(absolute(directory, source)),
            Kind::Tmpfs => builder.typ("tmpfs").source("tmpfs"),
        };
        builder.build().context("describe a mount")
    }
}

impl FromStr for UserMount {
    type Err = String;

    /// Reads `type=bind,src=SRC,dst=DST[,ro][,...]` or `type=tmpfs,dst=DST[,tmpfs-size=N][,...]`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (mut kind, mut source, mut target) = (None, None, None);
        let mut options: Vec<String> = Vec::new();
        for field in text.split(',').filter(|field| !field.is_empty()) {
            match field.split_once('=').unwrap_or((field, "")) {
                ("type", value) => kind = Some(value.to_owned()),
                ("src" | "source", value) => source = Some(value.to_owned()),
                ("dst" | "destination" | "target", value) => target = Some(value.to_owned()),
                ("ro" | "readonly", value) => options.push(read_only(value)?.to_owned()),
                ("rw", _) => options.push("rw".to_owned()),
                ("bind-propagation", value) => options.push(value.to_owned()),
                ("bind-nonrecursive", "" | "true") => options.push("bind".to_owned()),
                ("tmpfs-size", value) => options.push(format!("size={value}")),
                ("tmpfs-mode", value) => options.push(format!("mode={value}")),
                _ => options.push(field.to_owned()),
            }
        }
        let target = target.ok_or("dst= is missing: where to mount in the container")?;
        let words = options.iter().map(String::as_str);
        match kind.as_deref() {
            Some("bind") => {
                let source = source.ok_or("src= is missing: what to mount")?;
                Self::bind(&source, &target, words)
            }
            Some("tmpfs") if source.is_some() => Err("a tmpfs has no src=".to_owned()),
            Some("tmpfs") => Self::in_memory(&target, words),
            Some(kind) => Err(format!(
                "type={kind} is not possible; plyfs mounts type=bind and type=tmpfs"
            )),
            None => Err("type= is missing: bind or tmpfs".to_owned()),
        }
    }
}

/// A path without `.`, for messages.
fn absolute(directory: &Path, path: &Path) -> PathBuf {
    directory.join(path).components().collect()
}

fn read_only(value: &str) -> Result<&'static str, String> {
    match value {
        "" | "true" | "1" => Ok("ro"),
        "false" | "0" => Ok("rw"),
        _ => Err(format!("ro takes true or false, not {value:?}")),
    }
}

/// A place in a container: absolute, and not the root itself.
fn target_path(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    let plain = |part: &Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    if !path.is_absolute() || !path.components().all(|part| plain(&part)) {
        return Err(format!(
            "{text:?} is no absolute path in the container without \"..\""
        ));
    }
    if path.parent().is_none() {
        return Err("nothing can be mounted on / of the container".to_owned());
    }
    Ok(path.components().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(mount: Result<UserMount, String>) -> String {
        let mount = mount.unwrap();
        let options = mount.options.join(",");
        match mount.kind {
            Kind::Bind(source) => {
                format!(
                    "{} on {} {options}",
                    source.display(),
                    mount.target.display()
                )
            }
            Kind::Tmpfs => format!("tmpfs on {} {options}", mount.target.display()),
        }
    }

    #[test]
    fn volumes_are_read_as_podman_reads_them() {
        assert_eq!(
            shown(UserMount::volume("/a:/b")),
            "/a on /b rbind,nosuid,nodev,rprivate"
        );
        assert_eq!(
            shown(UserMount::volume("./a:/b//c/")),
            "./a on /b/c rbind,nosuid,nodev,rprivate"
        );
        assert_eq!(
            shown(UserMount::volume("/a:/b:ro,suid,rslave")),
            "/a on /b ro,suid,rslave,rbind,nodev"
        );
    }

    #[test]
    fn mounts_are_read_as_podman_reads_them() {
        assert_eq!(
            shown("type=bind,src=/a,target=/b,ro=true".parse()),
            "/a on /b ro,rbind,nosuid,nodev,rprivate"
        );
        assert_eq!(
            shown("type=tmpfs,dst=/t,tmpfs-size=1m,exec".parse()),
            "tmpfs on /t size=1m,exec,nosuid,nodev,mode=1777"
        );
        assert_eq!(
            shown(UserMount::tmpfs("/t:size=4k,mode=700")),
            "tmpfs on /t size=4k,mode=700,nosuid,nodev,noexec"
        );
    }

    #[test]
    fn what_cannot_be_mounted_is_refused_with_the_reason() {
        for (text, why) in [
            ("/a", "SRC:DST"),
            ("/a:/b:ro:x", "SRC:DST"),
            ("name:/b", "named volumes"),
            ("/a:b", "absolute"),
            ("/a:/b/../c", "absolute"),
            ("/a:/", "on /"),
            ("/a:/b:Z", "SELinux"),
            ("/a:/b:U", "owners"),
            ("/a:/b:nonsense", "nonsense"),
            ("/a:/b:rshared", "rslave"),
        ] {
            let error = UserMount::volume(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        for (text, why) in [
            ("src=/a,dst=/b", "type="),
            ("type=volume,src=a,dst=/b", "type=volume"),
            ("type=bind,dst=/b", "src="),
            ("type=bind,src=/a", "dst="),
            ("type=tmpfs,src=/a,dst=/b", "no src="),
            ("type=bind,src=/a,dst=/b,ro=x", "true or false"),
        ] {
            let error = text.parse::<UserMount>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}

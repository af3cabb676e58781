//! Tests of the reader of registries.conf.

use std::fs;

use super::*;

/// What Fedora and Debian install, shortened.
const DISTRIBUTION: &str = r#"
# For more information on this configuration file, see containers-registries.conf(5).
unqualified-search-registries = ["registry.fedoraproject.org", "registry.access.redhat.com", "docker.io"]
short-name-mode = "enforcing"

[[registry]]
prefix = "example.com/foo"
insecure = false
blocked = false
location = "internal-registry-for-example.net/bar"

[[registry.mirror]]
location = "example-mirror-0.local/mirror-for-foo"
[[registry.mirror]]
location = "example-mirror-1.local/mirrors/foo"
insecure = true
pull-from-mirror = "digest-only"

[[registry]]
location = "registry.lan:5000"
insecure = true

[[registry]]
prefix = "*.evil.example"
blocked = true

[[registry]]
prefix = "*.wild.example"
insecure = true
[[registry.mirror]]
location = "mirror.example/wild"
"#;

const ALIASES: &str = r#"
[aliases]
  # almalinux
  "almalinux" = "docker.io/library/almalinux"
  "fedora" = "registry.fedoraproject.org/fedora"
"#;

fn load(files: &[(&str, &str)]) -> Result<Registries, Error> {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    Registries::load(&Places::below(root.path()))
}

fn names(endpoints: &[Endpoint]) -> Vec<String> {
    endpoints
        .iter()
        .map(|endpoint| endpoint.name.to_string())
        .collect()
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

#[test]
fn no_file_means_the_registry_itself() {
    let all = load(&[]).unwrap();
    let endpoints = all
        .endpoints(&name("docker.io/library/debian"), false)
        .unwrap();
    assert_eq!(names(&endpoints), ["docker.io/library/debian"]);
    assert!(!endpoints[0].insecure && !endpoints[0].is_mirror);
    assert!(all.short_name("debian").unwrap().is_empty());
}

#[test]
fn mirrors_come_in_their_order_before_the_location() {
    let all = load(&[("etc/containers/registries.conf", DISTRIBUTION)]).unwrap();
    let by_tag = all.endpoints(&name("example.com/foo/a/b"), false).unwrap();
    let main = "internal-registry-for-example.net/bar/a/b";
    assert_eq!(
        names(&by_tag),
        ["example-mirror-0.local/mirror-for-foo/a/b", main]
    );
    let by_digest = all.endpoints(&name("example.com/foo/a/b"), true).unwrap();
    assert_eq!(by_digest.len(), 3);
    assert!(by_digest[1].insecure && by_digest[1].is_mirror && !by_digest[2].is_mirror);
    assert_eq!(
        all.push_endpoint(&name("example.com/foo/a")).unwrap().name,
        name("internal-registry-for-example.net/bar/a")
    );
    // A prefix ends where a part of a name ends.
    let other = all.endpoints(&name("example.com/foobar"), false).unwrap();
    assert_eq!(names(&other), ["example.com/foobar"]);
}

#[test]
fn ports_and_wildcards_are_matched() {
    let all = load(&[("etc/containers/registries.conf", DISTRIBUTION)]).unwrap();
    assert!(all.endpoints(&name("registry.lan:5000/x"), false).unwrap()[0].insecure);
    assert!(!all.endpoints(&name("registry.lan/x"), false).unwrap()[0].insecure);
    let blocked = all
        .endpoints(&name("a.b.evil.example/x"), false)
        .unwrap_err();
    assert!(matches!(blocked, Error::Blocked { .. }), "{blocked}");
    assert!(all.endpoints(&name("evil.example/x"), false).is_ok());
    let wild = all.endpoints(&name("r.wild.example:444/x"), false).unwrap();
    assert_eq!(
        names(&wild),
        ["mirror.example/wild/x", "r.wild.example:444/x"]
    );
    assert!(wild[1].insecure);
}

#[test]
fn short_names_are_aliases_or_searched() {
    let all = load(&[
        ("etc/containers/registries.conf", DISTRIBUTION),
        (
            "etc/containers/registries.conf.d/000-shortnames.conf",
            ALIASES,
        ),
        (
            "cache/containers/short-name-aliases.conf",
            "[aliases]\nchosen = \"quay.io/a/chosen\"\n",
        ),
    ])
    .unwrap();
    assert_eq!(
        all.short_name("fedora").unwrap(),
        [name("registry.fedoraproject.org/fedora")]
    );
    assert_eq!(
        all.short_name("chosen").unwrap(),
        [name("quay.io/a/chosen")]
    );
    let searched = all.short_name("tool").unwrap();
    assert_eq!(searched.len(), 3);
    assert_eq!(searched[2], name("docker.io/library/tool"));
    assert_eq!(all.short_name_mode(), ShortNameMode::Enforcing);
}

#[test]
fn the_user_wins_over_the_system_and_drop_ins_over_both() {
    let all = load(&[
        ("etc/containers/registries.conf", DISTRIBUTION),
        (
            "config/containers/registries.conf",
            "unqualified-search-registries = ['quay.io']\nshort-name-mode = 'disabled'",
        ),
        (
            "etc/containers/registries.conf.d/1.conf",
            "[[registry]]\nlocation = 'a.io'\nblocked = true",
        ),
        (
            "config/containers/registries.conf.d/1.conf",
            "[[registry]]\nlocation = 'a.io'\ninsecure = true",
        ),
        ("config/containers/registries.conf.d/notes.txt", "not read"),
    ])
    .unwrap();
    assert_eq!(all.short_name("x").unwrap(), [name("quay.io/x")]);
    assert_eq!(all.short_name_mode(), ShortNameMode::Disabled);
    assert!(all.endpoints(&name("a.io/x"), false).unwrap()[0].insecure);
    // The system's file was not read.
    assert!(all.endpoints(&name("x.evil.example/x"), false).is_ok());
}

#[test]
fn wrong_files_are_named() {
    for (text, part) in [
        ("[registries.search]\nregistries = ['a']", "version 1"),
        (
            "[[registry]]\ninsecure = true",
            "neither a prefix nor a location",
        ),
        ("[[registry]]\nlocation = 'https://a.io'", "scheme"),
        (
            "[[registry]]\nlocation = 'a.io'\n[[registry.mirror]]\ninsecure = true",
            "no location",
        ),
        ("[[registry]\n", ""),
        ("short-name-mode = 'maybe'", ""),
    ] {
        let error = load(&[("etc/containers/registries.conf", text)])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("registries.conf: ") && error.contains(part),
            "{error}"
        );
        assert!(!error.contains('\n'), "{error}");
    }
}

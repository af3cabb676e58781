//! Every form an image can have outside the store, and how one of several is chosen.

use std::fs;
use std::path::Path;

use crate::support::tarball::Tar;
use crate::support::{self, World, import, message, request};
use plyfs_store::fixture::{Config, Entry, ImageBuilder, Layer};
use plyfs_store::{Compression, Digest, Error, Imported, Ownership, Platform, Silent};
use serde_json::{Value, json};

/// An image of two layers that tells from which text it was made.
fn image(text: &str) -> ImageBuilder {
    let base = Layer::new([Entry::dir("etc"), Entry::file("etc/base", "base")]);
    let top = Layer::new([Entry::file("top", text)]);
    ImageBuilder::new()
        .layer(base, Compression::Gzip)
        .layer(top, Compression::Zstd)
}

fn for_platform(text: &str, platform: &str) -> ImageBuilder {
    let platform: Platform = platform.parse().unwrap();
    image(text).config(Config {
        platform,
        ..Config::default()
    })
}

/// What the topmost layer of an image says.
fn top(world: &World, name: &str) -> String {
    fs::read_to_string(world.layers(name).pop().unwrap().join("top")).unwrap()
}

fn source(form: &str, path: &Path, tag: &str) -> String {
    match tag {
        "" => format!("{form}:{}", path.display()),
        tag => format!("{form}:{}:{tag}", path.display()),
    }
}

fn said(result: Result<Imported, Error>) -> String {
    message(&result.unwrap_err())
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Writes a document among the blobs of a layout, and returns its descriptor.
fn add_blob(dir: &Path, media_type: &str, document: &Value) -> Value {
    let bytes = serde_json::to_vec(document).unwrap();
    let digest = Digest::of(&bytes);
    fs::write(dir.join("blobs/sha256").join(digest.hex()), &bytes).unwrap();
    json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
}

#[test]
fn every_form_and_compression_gives_the_same_layer() {
    let world = World::new();
    let mut layers = Vec::new();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let layer = Layer::new([Entry::file("top", "the same")]);
        let image = ImageBuilder::new().layer(layer, compression);
        let name = format!("{compression:?}");
        let (dir, oci, docker) = (
            world.path(&format!("{name}.d")),
            world.path(&format!("{name}-oci.tar")),
            world.path(&format!("{name}-docker.tar")),
        );
        image.write_oci(&dir, Some("1")).unwrap();
        image.write_oci_archive(&oci, Some("1")).unwrap();
        image
            .write_docker_archive(&docker, Some("docker:1"))
            .unwrap();
        for (form, path) in [
            ("oci", dir),
            ("oci-archive", oci),
            ("docker-archive", docker),
        ] {
            let imported = import(&world.store(), &source(form, &path, "")).unwrap();
            assert_eq!(
                top(&world, imported.name.as_str()),
                "the same",
                "{form} {name}"
            );
            layers.push(world.layers(imported.name.as_str()));
        }
    }
    layers.dedup();
    assert_eq!(layers.len(), 1, "one layer directory for all");
    world.assert_untouched("all forms");
}

#[test]
fn names_follow_from_sources() {
    let world = World::new();
    let dir = world.path("some.dir");
    image("1").write_oci(&dir, Some("short")).unwrap();
    image("2")
        .write_oci(&dir, Some("quay.io/full/name:2"))
        .unwrap();
    image("3").write_oci(world.path("unnamed"), None).unwrap();
    image("4")
        .write_docker_archive(world.path("a.tar"), Some("docker.io/library/deb:4"))
        .unwrap();
    image("5")
        .write_docker_archive(world.path("no tag!.tar"), None)
        .unwrap();
    let store = world.store();
    for (form, path, tag, name) in [
        ("oci", "some.dir", "short", "some.dir:short"),
        (
            "oci",
            "some.dir",
            "quay.io/full/name:2",
            "quay.io/full/name:2",
        ),
        ("oci", "unnamed", "", "unnamed:latest"),
        ("docker-archive", "a.tar", "", "deb:4"),
        ("docker-archive", "a.tar", "deb:4", "deb:4"),
        ("docker-archive", "no tag!.tar", "", "no-tag:latest"),
    ] {
        let imported = import(&store, &source(form, &world.path(path), tag)).unwrap();
        assert_eq!(imported.name.as_str(), name);
    }
    let mut named = request(
        &source("oci", &world.path("unnamed"), ""),
        Ownership::Override,
    );
    named.name = Some("my/own:name".parse().unwrap());
    assert_eq!(
        store.import(&named, &Silent).unwrap().name.as_str(),
        "my/own:name"
    );
}

#[test]
fn a_name_moves_to_the_image_imported_last() {
    let world = World::new();
    for text in ["first", "second"] {
        let dir = world.path(text);
        image(text).write_oci(&dir, Some("same:1")).unwrap();
        import(&world.store(), &source("oci", &dir, "")).unwrap();
        assert_eq!(top(&world, "same:1"), text);
    }
    assert_eq!(world.store().images().unwrap().len(), 1);
}

#[test]
fn one_of_several_images_must_be_named() {
    let world = World::new();
    let dir = world.path("two");
    image("1").write_oci(&dir, Some("one")).unwrap();
    image("2").write_oci(&dir, Some("two")).unwrap();
    let store = world.store();
    let several = said(import(&store, &source("oci", &dir, "")));
    assert!(
        several.contains("holds several images, and one must be named; there is one, two"),
        "{several}"
    );
    let unknown = said(import(&store, &source("oci", &dir, "three")));
    assert!(unknown.contains("no image \"three\" in "), "{unknown}");
    assert!(unknown.ends_with("; there is one, two"), "{unknown}");
    import(&store, &source("oci", &dir, "two")).unwrap();
    assert_eq!(top(&world, "two:two"), "2");
}

#[test]
fn the_platform_is_chosen_through_nested_indexes() {
    let world = World::new();
    let dir = world.path("multi");
    let host = Platform::host().to_string();
    let platforms = [
        "linux/s390x",
        "linux/arm/v6",
        "linux/arm/v7",
        "windows/amd64",
        &host,
    ];
    for platform in platforms {
        for_platform(platform, platform)
            .write_oci(&dir, Some(&platform.replace('/', "-")))
            .unwrap();
    }
    // All of them into an index of their own, and that into another, beside an attestation.
    let index_type = "application/vnd.oci.image.index.v1+json";
    let mut manifests = read_json(&dir.join("index.json"))["manifests"]
        .as_array()
        .unwrap()
        .clone();
    let attestation = add_blob(
        &dir,
        "application/vnd.oci.image.manifest.v1+json",
        &json!({}),
    );
    manifests.push(attestation);
    manifests.last_mut().unwrap()["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    let index = json!({"schemaVersion": 2, "mediaType": index_type, "manifests": manifests});
    let inner = add_blob(&dir, index_type, &index);
    let mut outer = add_blob(
        &dir,
        index_type,
        &json!({"schemaVersion": 2, "manifests": [inner]}),
    );
    outer["annotations"] = json!({"org.opencontainers.image.ref.name": "multi:1"});
    let top_index = json!({"schemaVersion": 2, "manifests": [outer]});
    fs::write(dir.join("index.json"), top_index.to_string()).unwrap();

    let store = world.store();
    let import_for = |platform: Option<&str>| {
        let mut request = request(&source("oci", &dir, ""), Ownership::Override);
        request.platform = platform.map(|text| text.parse().unwrap());
        store.import(&request, &Silent)
    };
    for (wanted, found) in [
        (None, host.as_str()),
        (Some("linux/s390x"), "linux/s390x"),
        (Some("linux/arm"), "linux/arm/v7"),
        (Some("linux/arm/v6"), "linux/arm/v6"),
        (Some("windows/amd64"), "windows/amd64"),
    ] {
        import_for(wanted).unwrap();
        assert_eq!(top(&world, "multi:1"), found);
        assert_eq!(store.images().unwrap()[0].platform.to_string(), found);
    }
    let none = said(import_for(Some("linux/riscv64")));
    assert!(
        none.contains("no image for linux/riscv64; there is one for "),
        "{none}"
    );
    assert!(none.contains("linux/arm/v6, linux/arm/v7"), "{none}");
    assert!(!none.contains("unknown"), "{none}");
}

#[test]
fn a_single_image_for_another_platform_is_taken_unless_one_was_asked_for() {
    let world = World::new();
    let dir = world.path("src");
    for_platform("x", "linux/s390x")
        .write_oci(&dir, Some("a:1"))
        .unwrap();
    let taken_unless_asked = || {
        import(&world.store(), &source("oci", &dir, "")).unwrap();
        let mut request = request(&source("oci", &dir, ""), Ownership::Override);
        request.platform = Some("linux/arm64".parse().unwrap());
        let other = said(world.store().import(&request, &Silent));
        assert!(
            other.contains("no image for linux/arm64; there is one for linux/s390x"),
            "{other}"
        );
    };
    // Whether the index says what it is for or not, and with an attestation beside it or not.
    taken_unless_asked();
    let mut index = read_json(&dir.join("index.json"));
    let mut attestation = index["manifests"][0].clone();
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    index["manifests"].as_array_mut().unwrap().push(attestation);
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    taken_unless_asked();
    let manifests = index["manifests"].as_array_mut().unwrap();
    manifests.pop();
    manifests[0].as_object_mut().unwrap().remove("platform");
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    taken_unless_asked();
}

#[test]
fn indexes_without_end_are_refused() {
    let world = World::new();
    let dir = world.path("src");
    image("x").write_oci(&dir, Some("a:1")).unwrap();
    let index_type = "application/vnd.oci.image.index.v1+json";
    let mut index = read_json(&dir.join("index.json"));
    for _ in 0..10 {
        let inner = add_blob(&dir, index_type, &index);
        index = json!({"schemaVersion": 2, "manifests": [inner]});
    }
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    let deep = said(import(&world.store(), &source("oci", &dir, "")));
    assert!(deep.contains("too deep to follow"), "{deep}");
}

#[test]
fn docker_media_types_are_understood() {
    let world = World::new();
    let dir = world.path("src");
    let layer = Layer::new([Entry::file("top", "docker")]);
    let image = ImageBuilder::new().layer(layer, Compression::Gzip);
    image.write_oci(&dir, Some("a:1")).unwrap();
    let mut index = read_json(&dir.join("index.json"));
    let digest = index["manifests"][0]["digest"]
        .as_str()
        .unwrap()
        .replace("sha256:", "");
    let mut manifest = read_json(&dir.join("blobs/sha256").join(digest));
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    manifest["mediaType"] = json!(docker);
    manifest["config"]["mediaType"] = json!("application/vnd.docker.container.image.v1+json");
    let layer = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    manifest["layers"][0]["mediaType"] = json!(layer);
    manifest["layers"][0]["urls"] = json!(["https://example.com/layer"]);
    let manifest = add_blob(&dir, docker, &manifest);
    let list = "application/vnd.docker.distribution.manifest.list.v2+json";
    let mut list = add_blob(
        &dir,
        list,
        &json!({
            "schemaVersion": 2, "mediaType": list, "manifests": [manifest],
        }),
    );
    list["annotations"] = json!({"io.containerd.image.name": "docker.io/library/a:1"});
    index["manifests"] = json!([list]);
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    import(
        &world.store(),
        &source("oci", &dir, "docker.io/library/a:1"),
    )
    .unwrap();
    assert_eq!(top(&world, "a:1"), "docker");
}

#[test]
fn archives_may_be_compressed_and_have_prefixed_names() {
    use std::io::Write;
    let world = World::new();
    let plain = world.path("plain.tar");
    image("packed")
        .write_oci_archive(&plain, Some("a:1"))
        .unwrap();
    let bytes = fs::read(&plain).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&bytes).unwrap();
    fs::write(world.path("a.tar.gz"), gzip.finish().unwrap()).unwrap();
    fs::write(
        world.path("a.tar.zst"),
        zstd::stream::encode_all(&bytes[..], 1).unwrap(),
    )
    .unwrap();
    for name in ["a.tar.gz", "a.tar.zst"] {
        let store = plyfs_store::Store::open(world.path(&format!("store-{name}"))).unwrap();
        import(&store, &source("oci-archive", &world.path(name), "")).unwrap();
        assert_eq!(store.images().unwrap().len(), 1);
        assert_eq!(
            fs::read_dir(store.path().join("staging")).unwrap().count(),
            0
        );
    }
    // As `tar -C dir -cf x.tar .` writes it.
    let dir = world.path("dir");
    image("dotted").write_oci(&dir, Some("a:1")).unwrap();
    let mut tar = Tar::new().dir("./").dir("./blobs/").dir("./blobs/sha256/");
    support::visit(&dir, &mut |path, stat| {
        if stat.is_file() {
            let name = format!("./{}", path.strip_prefix(&dir).unwrap().display());
            tar = std::mem::take(&mut tar).file(name, &fs::read(path).unwrap());
        }
    });
    fs::write(world.path("dotted.tar"), tar.end()).unwrap();
    import(
        &world.store(),
        &source("oci-archive", &world.path("dotted.tar"), ""),
    )
    .unwrap();
    assert_eq!(top(&world, "a:1"), "dotted");
}

/// The parts of a `docker save` archive, to be put together in different ways.
struct DockerParts {
    config: Vec<u8>,
    config_name: String,
    layers: Vec<Vec<u8>>,
}

fn docker_parts(layers: &[&str]) -> DockerParts {
    let layers: Vec<_> = layers
        .iter()
        .map(|text| Tar::new().file("top", text.as_bytes()).end())
        .collect();
    let diff_ids: Vec<_> = layers
        .iter()
        .map(|layer| Digest::of(layer).to_string())
        .collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {"Env": null, "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "docker_version": "1.0", "container_config": {"Hostname": "x"},
    });
    let config = serde_json::to_vec(&config).unwrap();
    let config_name = format!("{}.json", Digest::of(&config).hex());
    DockerParts {
        config,
        config_name,
        layers,
    }
}

fn docker_manifest(parts: &DockerParts, layers: &[&str]) -> Vec<u8> {
    let item = json!({"Config": parts.config_name, "RepoTags": ["d:1"], "Layers": layers});
    serde_json::to_vec(&json!([item])).unwrap()
}

#[test]
fn layers_of_docker_archives_may_be_links_to_one_another() {
    let world = World::new();
    let parts = docker_parts(&["bottom", "middle", "bottom"]);
    let tar = Tar::new()
        .dir("a")
        .file("a/layer.tar", &parts.layers[0])
        .file("b/layer.tar", &parts.layers[1])
        .symlink("c/layer.tar", "../d/layer.tar")
        .hard_link("d/layer.tar", "a/layer.tar")
        .file(&parts.config_name, &parts.config)
        .file(
            "manifest.json",
            &docker_manifest(&parts, &["a/layer.tar", "b/layer.tar", "c/layer.tar"]),
        );
    let path = world.path("d.tar");
    fs::write(&path, tar.end()).unwrap();
    let imported = import(&world.store(), &source("docker-archive", &path, "")).unwrap();
    assert_eq!((imported.layers, imported.unpacked), (3, 2));
    assert_eq!(top(&world, "d:1"), "bottom");
    // Every link of the chain has to stay in the archive.
    for (target, said_so) in [
        ("../../d/layer.tar", "missing"),
        ("../c/layer.tar", "in a circle"),
    ] {
        let tar = Tar::new()
            .file("a/layer.tar", &parts.layers[0])
            .file("b/layer.tar", &parts.layers[1])
            .symlink("c/layer.tar", target)
            .file(&parts.config_name, &parts.config)
            .file(
                "manifest.json",
                &docker_manifest(&parts, &["a/layer.tar", "b/layer.tar", "c/layer.tar"]),
            );
        fs::write(&path, tar.end()).unwrap();
        let store = plyfs_store::Store::open(world.path("other")).unwrap();
        let message = said(import(&store, &source("docker-archive", &path, "")));
        assert!(message.contains(said_so), "{message}");
    }
    world.assert_untouched("links in an archive");
}

#[test]
fn newer_docker_archives_keep_blobs_by_digest() {
    let world = World::new();
    let parts = docker_parts(&["plain", "compressed"]);
    let compressed = zstd::stream::encode_all(&parts.layers[1][..], 1).unwrap();
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::of(bytes).hex());
    let (first, second) = (blob(&parts.layers[0]), blob(&compressed));
    let parts = DockerParts {
        config_name: blob(&parts.config),
        ..parts
    };
    let archive = |second_bytes: &[u8]| {
        Tar::new()
            .file(&first, &parts.layers[0])
            .pax(&[(b"path", second.as_bytes())])
            .file("x", second_bytes)
            .file(&parts.config_name, &parts.config)
            .file(
                "manifest.json",
                &docker_manifest(&parts, &[&first, &second]),
            )
            .end()
    };
    let path = world.path("d.tar");
    fs::write(&path, archive(&compressed)).unwrap();
    import(&world.store(), &source("docker-archive", &path, "d:1")).unwrap();
    assert_eq!(top(&world, "d:1"), "compressed");
    let layers = read_store_manifest(&world)["layers"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(
        layers[0]["mediaType"],
        "application/vnd.oci.image.layer.v1.tar"
    );
    assert_eq!(
        layers[1]["mediaType"],
        "application/vnd.oci.image.layer.v1.tar+zstd"
    );
    // A blob that is not what its name says is refused, even if it unpacks to the right layer.
    let other = zstd::stream::encode_all(&parts.layers[1][..], 9).unwrap();
    let other = if other == compressed {
        parts.layers[1].clone()
    } else {
        other
    };
    fs::write(&path, archive(&other)).unwrap();
    let store = plyfs_store::Store::open(world.path("other")).unwrap();
    let message = said(import(&store, &source("docker-archive", &path, "")));
    assert!(message.contains("is corrupt: its digest is"), "{message}");
}

/// The manifest of the only image in the store.
fn read_store_manifest(world: &World) -> Value {
    let index = read_json(&world.path("store/index.json"));
    let digest = index["manifests"][0]["digest"]
        .as_str()
        .unwrap()
        .replace("sha256:", "");
    read_json(&world.path("store/blobs/sha256").join(digest))
}

#[test]
fn what_is_no_image_is_refused_with_a_reason() {
    let world = World::new();
    let dir = world.path("empty");
    fs::create_dir(&dir).unwrap();
    fs::write(world.path("text"), "hello, this is no archive at all").unwrap();
    fs::write(world.path("empty.tar"), Tar::new().end()).unwrap();
    fs::write(world.path("cut.tar.gz"), b"\x1f\x8b\x08\0\0\0\0\0\0\0").unwrap();
    let store = world.store();
    for (form, path, expected) in [
        (
            "oci",
            "empty",
            "is not an OCI image layout: it has no file oci-layout",
        ),
        ("oci", "missing", "cannot open "),
        (
            "oci",
            "text",
            "is not an OCI image layout: it is no directory",
        ),
        ("oci-archive", "missing", "cannot open "),
        (
            "oci-archive",
            "empty",
            "is not an archive of an image: it is a directory",
        ),
        ("oci-archive", "text", "is not an archive of an image"),
        ("oci-archive", "empty.tar", "is not an OCI image layout"),
        ("oci-archive", "cut.tar.gz", "is not an archive of an image"),
        (
            "docker-archive",
            "empty.tar",
            "is not an archive of docker save: it has no manifest.json",
        ),
    ] {
        let message = said(import(&store, &source(form, &world.path(path), "")));
        assert!(message.contains(expected), "{form} {path}: {message}");
        world.assert_untouched(path);
    }
}

#[test]
fn documents_that_are_two_things_are_refused() {
    // CVE-2021-41190, and names of digests that are paths (CVE-2024-3727).
    let world = World::new();
    let dir = world.path("src");
    type Change = fn(&mut Value, &mut Value);
    let changes: [(Change, &str); 12] = [
        (
            |_, m| m["manifests"] = json!([]),
            "it is both a manifest and an index",
        ),
        (
            |_, m| m["Manifests"] = json!([]),
            "it is both a manifest and an index",
        ),
        (
            |_, m| m["LAYERS"] = json!([]),
            "the field \"LAYERS\" is misspelt",
        ),
        (
            |_, m| m["mediaType"] = json!("application/vnd.oci.image.index.v1+json"),
            "its media type is that of an index, but it is a manifest",
        ),
        (
            |_, m| m["mediaType"] = json!("text/plain"),
            "its media type \"text/plain\" is unknown",
        ),
        (
            |i, _| i["mediaType"] = json!("application/vnd.oci.image.index.v1+json"),
            "its media type is that of an index, but it is a manifest",
        ),
        (
            |_, m| m["schemaVersion"] = json!(1),
            "schema version 1 is not supported",
        ),
        (
            |_, m| m["config"]["mediaType"] = json!("application/vnd.oci.empty.v1+json"),
            "not an image, but an artifact",
        ),
        (
            |_, m| {
                m["layers"][0]["mediaType"] =
                    json!("application/vnd.oci.image.layer.v1.tar+gzip+encrypted");
            },
            "are not supported",
        ),
        (
            |_, m| m["config"]["digest"] = json!("sha256:../../../canary/file"),
            "\"sha256:../../../canary/file\" is not a digest",
        ),
        (
            |_, m| m["layers"][1]["digest"] = json!("sha512:00"),
            "is not a SHA-256 digest",
        ),
        (
            |_, m| drop(m["layers"].as_array_mut().unwrap().pop()),
            "it has 1 layers, but its configuration names 2",
        ),
    ];
    for (change, expected) in changes {
        if dir.exists() {
            fs::remove_dir_all(&dir).unwrap();
        }
        image("x").write_oci(&dir, Some("a:1")).unwrap();
        let mut index = read_json(&dir.join("index.json"));
        let digest = index["manifests"][0]["digest"]
            .as_str()
            .unwrap()
            .replace("sha256:", "");
        let mut manifest = read_json(&dir.join("blobs/sha256").join(digest));
        change(&mut index["manifests"][0], &mut manifest);
        let media_type = index["manifests"][0]["mediaType"]
            .as_str()
            .unwrap()
            .to_owned();
        index["manifests"][0] = add_blob(&dir, &media_type, &manifest);
        fs::write(dir.join("index.json"), index.to_string()).unwrap();
        let message = said(import(&world.store(), &source("oci", &dir, "")));
        assert!(message.contains(expected), "{expected}: {message}");
        world.assert_untouched(expected);
    }
    assert!(world.store().images().unwrap().is_empty());
}

#[test]
fn digests_and_diff_ids_never_become_paths_unchecked() {
    let world = World::new();
    let dir = world.path("src");
    image("x").write_oci(&dir, Some("a:1")).unwrap();
    let good = fs::read_to_string(dir.join("index.json")).unwrap();
    let digest = serde_json::from_str::<Value>(&good).unwrap()["manifests"][0]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let hex = digest.strip_prefix("sha256:").unwrap();
    for bad in [
        "sha256:../../x".to_owned(),
        format!(
            "sha256:{}",
            hex.to_uppercase()
                .replace(|c: char| c.is_ascii_digit(), "A")
        ),
        format!("sha256:{}", &hex[1..]),
        format!("sha256:{hex}00"),
        format!("sha256:../{}", &hex[3..]),
        "sha256:".to_owned(),
    ] {
        fs::write(dir.join("index.json"), good.replace(&digest, &bad)).unwrap();
        let message = said(import(&world.store(), &source("oci", &dir, "")));
        assert!(message.contains("is not a digest"), "{message}");
    }
    // A DiffID in a configuration.
    let mut index: Value = serde_json::from_str(&good).unwrap();
    let mut manifest = read_json(&dir.join("blobs/sha256").join(hex));
    let config = manifest["config"]["digest"]
        .as_str()
        .unwrap()
        .replace("sha256:", "");
    let mut config = read_json(&dir.join("blobs/sha256").join(config));
    config["rootfs"]["diff_ids"][0] = json!("sha256:../../../../canary");
    let media_type = manifest["config"]["mediaType"].as_str().unwrap().to_owned();
    manifest["config"] = add_blob(&dir, &media_type, &config);
    let media_type = index["manifests"][0]["mediaType"]
        .as_str()
        .unwrap()
        .to_owned();
    index["manifests"][0] = add_blob(&dir, &media_type, &manifest);
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    let message = said(import(&world.store(), &source("oci", &dir, "")));
    assert!(
        message.contains("\"sha256:../../../../canary\" is not a digest"),
        "{message}"
    );
    world.assert_untouched("a DiffID");
}

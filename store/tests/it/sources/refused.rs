//! Sources that are refused.

use super::*;

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

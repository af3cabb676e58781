//! Platforms and nested indexes.

use super::*;

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

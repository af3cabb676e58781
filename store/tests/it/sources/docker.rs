//! What Docker writes.

use super::*;

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

//! The store as other tools see it: an OCI image layout, read here by the specification alone.

use std::fs;
use std::path::Path;

use crate::support::{self, World, import};
use plyfs_store::fixture::{Config, Entry, ImageBuilder, Layer};
use plyfs_store::{Compression, Digest, Error, NameError};
use serde_json::Value;
use sha2::Digest as _;

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A blob by its descriptor, with everything the specification asks for checked.
fn blob(store: &Path, descriptor: &Value) -> Vec<u8> {
    let digest = descriptor["digest"].as_str().unwrap();
    let (algorithm, hex) = digest.split_once(':').unwrap();
    let bytes = fs::read(store.join("blobs").join(algorithm).join(hex)).unwrap();
    assert_eq!(bytes.len() as u64, descriptor["size"].as_u64().unwrap());
    let hash: Vec<_> = sha2::Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hash.concat(), hex);
    bytes
}

fn image(text: &str) -> ImageBuilder {
    ImageBuilder::new()
        .layer(Layer::new([Entry::file("f", text)]), Compression::Gzip)
        .layer(Layer::new([Entry::file("g", text)]), Compression::Zstd)
        .layer(Layer::new([Entry::file("h", text)]), Compression::None)
        .config(Config {
            cmd: vec!["sh".into()],
            ..Config::default()
        })
}

#[test]
fn the_store_is_an_image_layout() {
    let world = World::new();
    let names = ["quay.io/some/image:1", "local:2"];
    for name in names {
        let dir = world.path("src");
        image(name).write_oci(&dir, Some(name)).unwrap();
        import(&world.store(), &format!("oci:{}:{name}", dir.display())).unwrap();
    }
    let docker = world.path("d.tar");
    image("docker")
        .write_docker_archive(&docker, Some("docker:3"))
        .unwrap();
    import(
        &world.store(),
        &format!("docker-archive:{}", docker.display()),
    )
    .unwrap();

    let store = world.path("store");
    assert_eq!(
        read_json(&store.join("oci-layout"))["imageLayoutVersion"],
        "1.0.0"
    );
    let index = read_json(&store.join("index.json"));
    assert_eq!(index["schemaVersion"], 2);
    let manifests = index["manifests"].as_array().unwrap();
    let mut found = Vec::new();
    for descriptor in manifests {
        let name = &descriptor["annotations"]["org.opencontainers.image.ref.name"];
        found.push(name.as_str().unwrap());
        let manifest: Value = serde_json::from_slice(&blob(&store, descriptor)).unwrap();
        assert_eq!(descriptor["mediaType"], manifest["mediaType"]);
        let config: Value = serde_json::from_slice(&blob(&store, &manifest["config"])).unwrap();
        let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap();
        let layers = manifest["layers"].as_array().unwrap();
        assert_eq!((diff_ids.len(), layers.len()), (3, 3));
        for (layer, diff_id) in layers.iter().zip(diff_ids) {
            let bytes = blob(&store, layer);
            let media_type = layer["mediaType"].as_str().unwrap();
            let archive = match media_type.rsplit('+').next().unwrap() {
                "gzip" => {
                    let mut archive = Vec::new();
                    let mut decoder = flate2::bufread::GzDecoder::new(&bytes[..]);
                    std::io::Read::read_to_end(&mut decoder, &mut archive).unwrap();
                    archive
                }
                "zstd" => zstd::stream::decode_all(&bytes[..]).unwrap(),
                _ => bytes,
            };
            assert_eq!(Digest::of(&archive).to_string(), diff_id.as_str().unwrap());
        }
    }
    assert_eq!(found, [names[0], names[1], "docker:3"]);
}

#[test]
fn an_image_is_found_by_its_shorter_names() {
    let world = World::new();
    for name in [
        "docker.io/library/debian:latest",
        "localhost/own:1",
        "plain:latest",
    ] {
        let dir = world.path("src");
        image(name).write_oci(&dir, Some(name)).unwrap();
        import(&world.store(), &format!("oci:{}:{name}", dir.display())).unwrap();
    }
    let store = world.store();
    for (short, full) in [
        ("debian", "docker.io/library/debian:latest"),
        ("debian:latest", "docker.io/library/debian:latest"),
        ("own:1", "localhost/own:1"),
        ("plain", "plain:latest"),
        ("plain:latest", "plain:latest"),
    ] {
        let image = store.image(short).unwrap();
        assert_eq!(image.name.as_str(), full);
        assert_eq!(image.layers.len(), 3);
        assert_eq!(image.chain_ids[0], image.layers[0].diff_id);
        assert_eq!(
            image
                .config
                .config()
                .as_ref()
                .unwrap()
                .cmd()
                .as_deref()
                .unwrap(),
            ["sh"]
        );
    }
    for (unknown, said) in [
        (
            "debain:11",
            "there is no image \"debain:11\"; there is docker.io/library/debian:latest, ",
        ),
        (
            "own:2",
            "there is no image \"own:2\"; there is localhost/own:1",
        ),
    ] {
        let error = store.image(unknown).unwrap_err();
        assert!(matches!(error, Error::Name(NameError::UnknownImage { .. })));
        assert!(support::message(&error).starts_with(said), "{error}");
    }
    assert!(matches!(
        store.image("../x"),
        Err(Error::Name(NameError::Image(_)))
    ));
    let empty = plyfs_store::Store::open(world.path("empty")).unwrap();
    let error = empty.image("debian").unwrap_err();
    assert_eq!(
        support::message(&error),
        "there is no image \"debian\"; the store is empty"
    );
}

#[test]
fn a_list_of_images_says_what_they_are() {
    let world = World::new();
    let dir = world.path("src");
    image("x").write_oci(&dir, Some("b:1")).unwrap();
    import(&world.store(), &format!("oci:{}", dir.display())).unwrap();
    // What another tool may have written there.
    let path = world.path("store/index.json");
    let mut index = read_json(&path);
    let mut other = index["manifests"][0].clone();
    other["annotations"]["org.opencontainers.image.ref.name"] = "gone:1".into();
    other["digest"] = Digest::of(b"not there").to_string().into();
    index["manifests"].as_array_mut().unwrap().push(other);
    fs::write(&path, index.to_string()).unwrap();
    let images = world.store().images().unwrap();
    assert_eq!(
        images.len(),
        1,
        "an image without a manifest is passed over"
    );
    let image = &images[0];
    assert_eq!((image.name.as_str(), image.layers), ("b:1", 3));
    assert_eq!(image.created.as_deref(), Some("1970-01-01T00:00:00Z"));
    assert_eq!(image.platform, plyfs_store::Platform::host());
    assert_eq!(image.size, 3 * 2048);
    assert!(image.compressed_size > 2048 && image.compressed_size < image.size);
    // The entry of the other tool is still there after the next import.
    import(&world.store(), &format!("oci:{}", dir.display())).unwrap();
    assert_eq!(read_json(&path)["manifests"].as_array().unwrap().len(), 2);
}

//! What builders and registries write that no specification has, and that other tools take.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::support::tarball::{Header, Tar};
use crate::support::{self, World, import, message};
use plyfs_store::{Digest, Ownership, Source};
use serde_json::{Value, json};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A layout made by hand.
struct Layout {
    dir: PathBuf,
}

impl Layout {
    fn new(world: &World, name: &str) -> Self {
        let dir = world.path(name);
        fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { dir }
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        fs::write(self.dir.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    }

    /// Writes an index with these entries.
    fn index(&self, entries: &[Value]) {
        let index = json!({"schemaVersion": 2, "manifests": entries});
        fs::write(self.dir.join("index.json"), index.to_string()).unwrap();
    }

    /// Writes an image of these documents, as text, in which CONFIG stands for the descriptor of the
    /// configuration. Returns the descriptor of the manifest.
    fn image(&self, config: &str, manifest: &str) -> Value {
        let config = self.blob(CONFIG, config.as_bytes()).to_string();
        let manifest = manifest.replace("CONFIG", &config);
        let mut entry = self.blob(MANIFEST, manifest.as_bytes());
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": "app:1"});
        self.index(std::slice::from_ref(&entry));
        entry
    }

    fn source(&self) -> String {
        format!("oci:{}", self.dir.display())
    }
}

/// A configuration that names these layers.
fn config(diff_ids: &[Digest]) -> String {
    let diff_ids: Vec<_> = diff_ids.iter().map(ToString::to_string).collect();
    json!({
        "architecture": "amd64", "os": "linux", "config": {"Env": ["A=1"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The archive of a layer with one file.
fn archive(text: &str) -> Vec<u8> {
    Tar::new().file("top", text.as_bytes()).end()
}

fn top(layers: &[PathBuf]) -> String {
    fs::read_to_string(layers.last().unwrap().join("top")).unwrap()
}

/// An archive of docker save whose layer is this member.
fn docker_save(path: &Path, layer: &[u8], diff_id: Digest) {
    let config = config(&[diff_id]);
    let list = json!([{"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["l.tar"]}]);
    let tar = Tar::new()
        .file("c.json", config.as_bytes())
        .file("l.tar", layer)
        .file("manifest.json", list.to_string().as_bytes());
    fs::write(path, tar.end()).unwrap();
}

#[test]
fn layers_may_be_xz_or_bzip2() {
    let layer = archive("packed");
    for (name, bytes) in [("xz", xz(&layer)), ("bzip2", bzip2(&layer))] {
        for suffix in ["", "+gzip"] {
            let world = World::new();
            let layout = Layout::new(&world, "layout");
            let blob = layout.blob(&format!("{LAYER}{suffix}"), &bytes);
            let manifest = format!(r#"{{"schemaVersion":2,"config":CONFIG,"layers":[{blob}]}}"#);
            layout.image(&config(&[Digest::of(&layer)]), &manifest);
            import(&world.store(), &layout.source()).unwrap();
            assert_eq!(top(&world.layers("app:1")), "packed", "{name}");
            // The image can be saved with what is in the layer, and imported again.
            let saved = world.path("saved.tar");
            let target = format!("docker-archive:{}", saved.display());
            let target = Source::parse(&target).unwrap();
            world.store().save("app:1", &target).unwrap();
            let other = plyfs_store::Store::open(world.path("other")).unwrap();
            import(&other, &format!("docker-archive:{}", saved.display())).unwrap();
            assert_eq!(
                top(&[other.image("app:1").unwrap().layers[0].path.clone()]),
                "packed"
            );
        }
        let world = World::new();
        let path = world.path("docker.tar");
        docker_save(&path, &bytes, Digest::of(&layer));
        import(
            &world.store(),
            &format!("docker-archive:{}", path.display()),
        )
        .unwrap();
        assert_eq!(top(&world.layers("app:1")), "packed", "{name}");
    }
}

#[test]
fn whole_archives_may_be_xz_or_bzip2() {
    for (name, pack) in [
        ("app.tar.xz", xz as fn(&[u8]) -> Vec<u8>),
        ("app.tar.bz2", bzip2),
    ] {
        let world = World::new();
        let plain = world.path("plain");
        let layer = archive("packed");
        docker_save(&plain, &layer, Digest::of(&layer));
        let path = world.path(name);
        fs::write(&path, pack(&fs::read(&plain).unwrap())).unwrap();
        import(
            &world.store(),
            &format!("docker-archive:{}", path.display()),
        )
        .unwrap();
        assert_eq!(top(&world.layers("app:1")), "packed", "{name}");
        world.assert_untouched(name);
        // One that is damaged is refused.
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.len() / 2;
        bytes.truncate(at);
        fs::write(&path, bytes).unwrap();
        let source = format!("docker-archive:{}", path.display());
        let error = import(&world.store(), &source).unwrap_err();
        assert!(
            message(&error).contains("is not an archive of an image"),
            "{error}"
        );
        world.assert_untouched(name);
    }
}

/// Layers that grow without end are stopped in every compression.
#[test]
fn a_bomb_of_xz_or_bzip2_is_stopped() {
    let layer = Tar::new().file("zeros", &vec![0; 32 << 20]).end();
    for bytes in [xz(&layer), bzip2(&layer)] {
        assert!(bytes.len() < 64 << 10);
        let world = World::new();
        let layout = Layout::new(&world, "layout");
        let blob = layout.blob(LAYER, &bytes);
        let manifest = format!(r#"{{"schemaVersion":2,"config":CONFIG,"layers":[{blob}]}}"#);
        layout.image(&config(&[Digest::of(&layer)]), &manifest);
        let mut request = support::request(&layout.source(), Ownership::Override);
        request.limits.layer_bytes = 1 << 20;
        let refused = world.store().import(&request, &plyfs_store::Silent);
        assert!(message(&refused.unwrap_err()).contains("unpacks to more than 1048576 bytes"));
        world.assert_untouched("a bomb");
    }
}

/// `FROM scratch` with nothing but settings.
#[test]
fn an_image_may_have_no_layers() {
    let world = World::new();
    let store = world.store();
    let manifests = [r#","layers":[]"#, r#","layers":null"#, ""];
    let rootfs = [
        r#","rootfs":{"type":"layers","diff_ids":[]}"#,
        r#","rootfs":{"type":"layers","diff_ids":null}"#,
        r#","rootfs":{"type":"layers"}"#,
        r#","rootfs":{}"#,
        "",
    ];
    for layers in manifests {
        for rootfs in rootfs {
            let layout = Layout::new(&world, "layout");
            let config = format!(
                r#"{{"architecture":"amd64","os":"linux","created":null,"history":null,"config":{{"Env":["A=1"],"OnBuild":null,"Cmd":null}}{rootfs}}}"#
            );
            let manifest = format!(r#"{{"schemaVersion":2,"config":CONFIG{layers}}}"#);
            layout.image(&config, &manifest);
            import(&store, &layout.source()).unwrap();
            let image = store.image("app:1").unwrap();
            assert!(image.layers.iter().all(plyfs_store::LayerPath::is_stand_in));
            assert_eq!(fs::read_dir(&image.layers[0].path).unwrap().count(), 0);
            assert!(image.chain_ids.is_empty());
            let env = image.config.config().as_ref().unwrap().env().clone();
            assert_eq!(env.unwrap(), ["A=1"]);
            let container = store
                .create_container(None, &image, Ownership::Override)
                .unwrap();
            assert!(container.record.diff_ids.is_empty());
            let again = store.container(&container.record.name).unwrap();
            assert!(again.layers[0].is_stand_in());
        }
    }
    let config = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers"}}"#;
    for layers in [json!({"Layers": null}), json!({}), json!({"Layers": []})] {
        let mut item = json!({"Config": "c.json", "RepoTags": ["empty:latest"]});
        item.as_object_mut()
            .unwrap()
            .extend(layers.as_object().unwrap().clone());
        let tar = Tar::new().file("c.json", config.as_bytes());
        let tar = tar.file("manifest.json", json!([item]).to_string().as_bytes());
        fs::write(world.path("docker.tar"), tar.end()).unwrap();
        import(
            &store,
            &format!("docker-archive:{}", world.path("docker.tar").display()),
        )
        .unwrap();
        assert!(store.image("empty").unwrap().layers[0].is_stand_in());
    }
    // What is left out otherwise is an error still.
    let layout = Layout::new(&world, "layout");
    let layer = archive("x");
    let blob = layout.blob(LAYER, &layer);
    let manifest = format!(r#"{{"schemaVersion":2,"config":CONFIG,"layers":[{blob}]}}"#);
    layout.image(config, &manifest);
    let refused = message(&import(&store, &layout.source()).unwrap_err());
    assert!(
        refused.contains("it has 1 layers, but its configuration names 0"),
        "{refused}"
    );
}

#[test]
fn configurations_may_hold_nulls_and_doubled_keys_and_lack_a_platform() {
    let world = World::new();
    let store = world.store();
    let layer = archive("x");
    let layout = Layout::new(&world, "layout");
    let blob = layout.blob(LAYER, &layer);
    let diff_id = Digest::of(&layer);
    let rootfs = format!(r#""rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}"#);
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":null,"annotations":null,"layers":[],"config":CONFIG,"layers":[{blob}],"layers":[{blob}]}}"#
    );
    for config in [
        r#""architecture":"amd64","os":"linux","config":{"Volumes":{"/data":null,"/config":{}},"ExposedPorts":{"80/tcp":null},"Labels":null,"Entrypoint":null,"User":null,"WorkingDir":null,"Healthcheck":null}"#,
        r#""architecture":"amd64","architecture":"amd64","os":"linux","os":"linux","config":{"User":"a","User":"b"}"#,
        r#""os":"linux","config":{}"#,
        r#""config":null,"history":[{"created":null,"created_by":null,"empty_layer":null}]"#,
        r#""architecture":null,"os":null"#,
    ] {
        layout.image(&format!("{{{config},{rootfs}}}"), &manifest);
        let imported = import(&store, &layout.source()).unwrap();
        let image = store.image("app:1").unwrap();
        assert_eq!(image.layers.len(), 1, "{config}");
        let text = serde_json::to_value(&image.config).unwrap();
        if config.contains("Volumes") {
            let set = text["config"]["Volumes"].clone();
            assert!(set.to_string().contains("/data"), "{set}");
            assert!(
                text["config"]["ExposedPorts"]
                    .to_string()
                    .contains("80/tcp")
            );
        }
        if config.contains("\"a\"") {
            assert_eq!(text["config"]["User"], "b");
        }
        // The documents themselves stay as they are, and the image can be found again.
        assert_eq!(
            store.images().unwrap()[0].manifest_digest,
            imported.manifest_digest
        );
    }
}

/// Imports a layer and returns its directory.
fn layer_of(world: &World, archive: &[u8]) -> PathBuf {
    for ownership in support::ownerships() {
        world.import_archive(archive, ownership).unwrap();
    }
    world.layer()
}

#[test]
fn a_size_on_what_has_no_data_is_ignored() {
    let world = World::new();
    let mut link = Header::new("l", b'2');
    link.link("f").size(77);
    let tar = Tar::new()
        .header(Header::new("d", b'5').size(4096))
        .header(&link)
        .file("d/f", b"kept");
    let layer = layer_of(&world, &tar.end());
    assert_eq!(fs::read_to_string(layer.join("d/f")).unwrap(), "kept");
    assert_eq!(fs::read_link(layer.join("l")).unwrap(), Path::new("f"));
}

#[test]
fn data_after_the_end_and_missing_padding_are_ignored() {
    let world = World::new();
    let end = [0; 1024];
    let after = Tar::new().file("f", b"kept").raw(&end).file("hidden", b"x");
    let layer = layer_of(&world, &after.raw(b"garbage").cut());
    assert_eq!(fs::read_to_string(layer.join("f")).unwrap(), "kept");
    assert!(!layer.join("hidden").exists());
    let unpadded = Tar::new()
        .header(Header::new("f", b'0').size(4))
        .raw(b"kept");
    let layer = layer_of(&world, &unpadded.cut());
    assert_eq!(fs::read_to_string(layer.join("f")).unwrap(), "kept");
    // Data itself may not be missing.
    let cut = Tar::new()
        .header(Header::new("f", b'0').size(5))
        .raw(b"kept");
    let error = world
        .import_archive(&cut.cut(), Ownership::Override)
        .unwrap_err();
    assert!(
        message(&error).contains("ends in the middle of an entry"),
        "{error}"
    );
}

#[test]
fn several_extended_headers_and_long_names_are_read() {
    let world = World::new();
    let gnu = |name: &[u8]| {
        Tar::new()
            .entry(&Header::new("././@LongLink", b'L'), name)
            .cut()
    };
    let tar = Tar::new()
        .pax(&[(b"path", b"wrong"), (b"SCHILY.xattr.user.x", b"y")])
        .pax(&[(b"path", b"two-headers")])
        .file("x", b"1")
        .raw(&gnu(b"gnu-name\0"))
        .pax(&[(b"path", b"pax-name"), (b"mtime", b"5")])
        .file("y", b"2");
    let layer = layer_of(&world, &tar.end());
    assert_eq!(fs::read_to_string(layer.join("two-headers")).unwrap(), "1");
    assert_eq!(fs::read_to_string(layer.join("gnu-name")).unwrap(), "2");
    assert_eq!(fs::read_dir(&layer).unwrap().count(), 2);
}

#[test]
fn a_file_may_have_a_trailing_slash() {
    let world = World::new();
    let tar = Tar::new().file("d/", b"").file("e/", b"data");
    let layer = layer_of(&world, &tar.end());
    assert!(layer.join("d").is_file());
    assert_eq!(fs::read_to_string(layer.join("e")).unwrap(), "data");
}

#[test]
fn links_to_files_of_aufs_are_kept_and_its_directory_goes() {
    let world = World::new();
    let tar = Tar::new()
        .dir(".wh..wh.plnk")
        .file(".wh..wh.plnk/1.2", b"plink")
        .file(".wh..wh.plnk/3.4", b"unused")
        .file(".wh..wh.aufs", b"")
        .hard_link("one", ".wh..wh.plnk/1.2")
        .dir("d")
        .hard_link("d/two", "/.wh..wh.plnk/1.2");
    let layer = layer_of(&world, &tar.end());
    assert_eq!(fs::read_to_string(layer.join("one")).unwrap(), "plink");
    assert_eq!(fs::read_to_string(layer.join("d/two")).unwrap(), "plink");
    let mut names: Vec<_> = fs::read_dir(&layer)
        .unwrap()
        .map(|one| one.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["d", "one"]);
}

#[test]
fn a_member_may_be_in_an_archive_twice_if_it_is_the_same() {
    let world = World::new();
    let layer = archive("shared");
    let config = config(&[Digest::of(&layer)]);
    let list = json!([{"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["l.tar"]}]);
    let list = list.to_string();
    let tar = |again: &[u8]| {
        Tar::new()
            .file("l.tar", &layer)
            .file("c.json", config.as_bytes())
            .file("l.tar", again)
            .file("./c.json", config.as_bytes())
            .file("manifest.json", list.as_bytes())
            .end()
    };
    let path = world.path("docker.tar");
    let source = format!("docker-archive:{}", path.display());
    fs::write(&path, tar(&layer)).unwrap();
    import(&world.store(), &source).unwrap();
    assert_eq!(top(&world.layers("app:1")), "shared");
    for other in [archive("others"), Vec::new()] {
        fs::write(&path, tar(&other)).unwrap();
        let error = import(&world.store(), &source).unwrap_err();
        assert!(
            message(&error).contains("it holds \"l.tar\" twice"),
            "{error}"
        );
    }
}

#[test]
fn an_entry_with_another_digest_does_not_stand_in_the_way() {
    let world = World::new();
    let store = world.store();
    let layout = Layout::new(&world, "layout");
    let layer = archive("x");
    let blob = layout.blob(LAYER, &layer);
    let manifest = format!(r#"{{"schemaVersion":2,"config":CONFIG,"layers":[{blob}]}}"#);
    let entry = layout.image(&config(&[Digest::of(&layer)]), &manifest);
    let mut other = entry.clone();
    other["digest"] = json!(format!("sha512:{}", "0".repeat(128)));
    other["annotations"] = json!({"org.opencontainers.image.ref.name": "other:1"});
    layout.index(&[other.clone(), entry.clone()]);
    for tag in ["", ":app:1"] {
        import(&store, &format!("{}{tag}", layout.source())).unwrap();
        assert_eq!(top(&world.layers("app:1")), "x");
    }
    let refused = message(&import(&store, &format!("{}:other:1", layout.source())).unwrap_err());
    assert!(
        refused.contains("a digest of another kind than SHA-256"),
        "{refused}"
    );
    layout.index(std::slice::from_ref(&other));
    let refused = message(&import(&store, &layout.source()).unwrap_err());
    assert!(
        refused.contains("a digest of another kind than SHA-256"),
        "{refused}"
    );
    // In the index of the store it stays, whatever is written there.
    let path = world.path("store/index.json");
    let read = || -> Value { serde_json::from_slice(&fs::read(&path).unwrap()).unwrap() };
    let mut index = read();
    index["manifests"]
        .as_array_mut()
        .unwrap()
        .push(other.clone());
    fs::write(&path, index.to_string()).unwrap();
    layout.index(&[entry]);
    let mut named = support::request(&layout.source(), Ownership::Override);
    named.name = Some("again".parse().unwrap());
    store.import(&named, &plyfs_store::Silent).unwrap();
    let manifests = read()["manifests"].as_array().unwrap().clone();
    assert_eq!(manifests.len(), 3);
    assert!(manifests.contains(&other));
}

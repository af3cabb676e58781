//! Damaged and mismatched blobs.

use super::*;

#[test]
fn damaged_blobs_are_told_apart() {
    type Damage = fn(&mut Layout);
    let damages: [(&str, Damage, &str); 9] = [
        (
            "a byte in the middle of a layer",
            |layout| {
                layout.change(1, |bytes| {
                    let at = bytes.len() / 2;
                    bytes[at] ^= 0x10
                })
            },
            "is corrupt: its digest is sha256:",
        ),
        (
            "the last byte of a layer",
            |layout| layout.change(2, |bytes| *bytes.last_mut().unwrap() ^= 1),
            "is corrupt: its digest is sha256:",
        ),
        (
            "a layer that is cut",
            |layout| layout.change(1, |bytes| bytes.truncate(bytes.len() - 100)),
            " bytes instead of ",
        ),
        (
            "a layer that is longer",
            |layout| layout.change(1, |bytes| bytes.extend([0; 512])),
            " bytes instead of ",
        ),
        (
            "a layer that is missing",
            |layout| fs::remove_file(layout.layer(1)).unwrap(),
            " is missing",
        ),
        (
            "a size in the manifest that is wrong",
            |layout| {
                let size = layout.manifest["layers"][1]["size"].as_u64().unwrap();
                layout.manifest["layers"][1]["size"] = json!(size + 1);
                layout.write_manifest();
            },
            " bytes instead of ",
        ),
        (
            "a configuration that is damaged",
            |layout| {
                let path = blob(&layout.dir, &layout.manifest["config"]["digest"]);
                let text = fs::read_to_string(&path).unwrap().replace("linux", "Linux");
                fs::write(path, text).unwrap();
            },
            "is corrupt: its digest is sha256:",
        ),
        (
            "a configuration that is missing",
            |layout| {
                fs::remove_file(blob(&layout.dir, &layout.manifest["config"]["digest"])).unwrap()
            },
            " is missing",
        ),
        (
            "a manifest that is damaged",
            |layout| {
                let index = read_json(&layout.dir.join("index.json"));
                let path = blob(&layout.dir, &index["manifests"][0]["digest"]);
                let text = fs::read_to_string(&path)
                    .unwrap()
                    .replace("\"schemaVersion\":2", "\"schemaVersion\":3");
                fs::write(path, text).unwrap();
            },
            "is corrupt: its digest is sha256:",
        ),
    ];
    for compression in COMPRESSIONS {
        for (what, damage, expected) in &damages {
            let world = World::new();
            let mut layout = Layout::new(&world, compression);
            damage(&mut layout);
            let store = world.store();
            let index = fs::read(world.path("store/index.json")).unwrap();
            let message = message(&import(&store, &layout.source()).unwrap_err());
            assert!(
                message.contains(expected),
                "{what}, {compression:?}: {message}"
            );
            assert!(
                message.contains("sha256:"),
                "{what} does not say which: {message}"
            );
            assert_eq!(fs::read(world.path("store/index.json")).unwrap(), index);
            world.assert_untouched(what);
            let good = Layout::new(&world, compression);
            import(&store, &good.source()).unwrap();
            assert_eq!(
                fs::read(world.layers("a:1")[1].join("f1")).unwrap(),
                content(1)
            );
        }
    }
}

#[test]
fn a_layer_must_be_the_one_its_configuration_names() {
    for compression in COMPRESSIONS {
        let world = World::new();
        let mut layout = Layout::new(&world, compression);
        let other = Tar::new().file("other", b"x").end();
        let other = EncodedLayer::from_archive(&other, compression).unwrap();
        layout.replace(1, &other.blob);
        let message = message(&import(&world.store(), &layout.source()).unwrap_err());
        assert!(message.contains("it unpacks to "), "{message}");
        assert!(message.contains(&other.diff_id.to_string()), "{message}");
        world.assert_untouched("a wrong DiffID");
    }
}

#[test]
fn a_layer_is_verified_even_if_one_of_that_name_is_there() {
    // The layer is in the store already; the blob that claims to be it is another.
    let world = World::new();
    let store = world.store();
    import(&store, &Layout::new(&world, Compression::Gzip).source()).unwrap();
    let mut layout = Layout::new(&world, Compression::Gzip);
    let other = Tar::new().file("other", b"x").end();
    let other = EncodedLayer::from_archive(&other, Compression::Gzip).unwrap();
    layout.replace(1, &other.blob);
    let refused = message(&import(&store, &layout.source()).unwrap_err());
    assert!(refused.contains("it unpacks to "), "{refused}");
    world.assert_untouched("a blob that claims to be another");
}

#[test]
fn blobs_and_layers_that_are_there_do_not_make_an_image_of_any_pairing() {
    let world = World::new();
    let store = world.store();
    import(&store, &Layout::new(&world, Compression::Zstd).source()).unwrap();
    let mut layout = Layout::new(&world, Compression::Zstd);
    let layers = layout.manifest["layers"].as_array_mut().unwrap();
    layers.swap(0, 1);
    layout.write_manifest();
    let refused = message(&import(&store, &layout.source()).unwrap_err());
    assert!(refused.contains("it unpacks to "), "{refused}");
    world.assert_untouched("swapped layers");
    // The same layer from another blob is verified once, and then known.
    let gzip = Layout::new(&world, Compression::Gzip).source();
    for read in [true, false] {
        let watcher = Watcher::default();
        let imported = store
            .import(&request(&gzip, Ownership::Override), &watcher)
            .unwrap();
        assert_eq!(imported.unpacked, 0);
        assert_eq!(watcher.read.load(Ordering::SeqCst) > 0, read);
    }
}

#[test]
fn compressed_streams_are_read_to_their_end() {
    for (compression, garbage) in [
        (Compression::Gzip, &b"garbage"[..]),
        (Compression::Gzip, &[0; 512]),
        (Compression::Zstd, b"garbage"),
        (Compression::Zstd, &[0; 512]),
    ] {
        let world = World::new();
        let mut layout = Layout::new(&world, compression);
        let mut bytes = fs::read(layout.layer(1)).unwrap();
        bytes.extend(garbage);
        layout.replace(1, &bytes);
        let refused = message(&import(&world.store(), &layout.source()).unwrap_err());
        assert!(refused.contains("it is not valid "), "{refused}");
        world.assert_untouched("garbage after a stream");
        // Cut, with right digest and size.
        let mut layout = Layout::new(&world, compression);
        let bytes = fs::read(layout.layer(1)).unwrap();
        layout.replace(1, &bytes[..bytes.len() - 6]);
        let refused = message(&import(&world.store(), &layout.source()).unwrap_err());
        assert!(refused.contains("it is not valid "), "{refused}");
        world.assert_untouched("a stream that is cut");
    }
}

/// Registries and builders recompress layers and leave the media type, and skopeo and Podman take
/// them: the DiffID says whether the right layer came out.
#[test]
fn a_media_type_may_name_another_compression() {
    let oci = "application/vnd.oci.image.layer.v1.tar";
    let docker = "application/vnd.docker.image.rootfs.diff.tar";
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        for media_type in [
            oci.to_owned(),
            format!("{oci}+gzip"),
            format!("{oci}+zstd"),
            format!("{oci}+gzip; charset=utf-8"),
            docker.to_owned(),
            format!("{docker}.gzip"),
            String::new(),
            "application/octet-stream".to_owned(),
        ] {
            let world = World::new();
            let mut layout = Layout::new(&world, compression);
            layout.manifest["layers"][0]["mediaType"] = json!(media_type);
            layout.write_manifest();
            let imported = import(&world.store(), &layout.source()).unwrap();
            assert_eq!(imported.unpacked, imported.layers, "{media_type}");
        }
    }
    for media_type in [
        format!("{oci}+gzip+encrypted"),
        "application/vnd.oci.image.layer.v1.squashfs".to_owned(),
        "application/vnd.oci.image.config.v1+json".to_owned(),
    ] {
        let world = World::new();
        let mut layout = Layout::new(&world, Compression::Gzip);
        layout.manifest["layers"][0]["mediaType"] = json!(media_type);
        layout.write_manifest();
        let refused = message(&import(&world.store(), &layout.source()).unwrap_err());
        assert!(refused.contains(" are not supported"), "{refused}");
        world.assert_untouched("a media type of something else");
    }
}

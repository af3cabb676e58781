//! Imports that are interrupted, or run at the same time.

use super::*;

#[test]
fn an_interrupted_import_is_finished_without_reading_twice() {
    let world = World::new();
    let layout = Layout::new(&world, Compression::Gzip);
    let store = world.store();
    let request = request(&layout.source(), Ownership::Override);
    let stopped = Watcher {
        stop_after: Some(1),
        ..Watcher::default()
    };
    let error = store.import(&request, &stopped).unwrap_err();
    assert!(matches!(error, Error::Interrupted), "{error}");
    world.assert_untouched("an interrupted import");
    assert!(store.images().unwrap().is_empty());
    let done = fs::read_dir(world.path("store/layers/sha256"))
        .unwrap()
        .count();
    assert!((1..3).contains(&done), "{done} layers");
    // The source of what is published is not even needed any more.
    for at in 0..3 {
        let hex = layout.layer(at).file_name().unwrap().to_owned();
        if world.path("store/blobs/sha256").join(hex).exists() {
            fs::remove_file(layout.layer(at)).unwrap();
        }
    }
    let again = Watcher::default();
    let imported = store.import(&request, &again).unwrap();
    assert_eq!((imported.layers, imported.unpacked), (3, 3 - done));
    assert_eq!(
        again
            .planned
            .lock()
            .iter()
            .filter(|present| **present)
            .count(),
        done
    );
    for at in 0..3 {
        let bytes = fs::read(world.layers("a:1")[at].join(format!("f{at}"))).unwrap();
        assert_eq!(bytes, content(at as u64));
    }
    let third = Watcher::default();
    assert_eq!(store.import(&request, &third).unwrap().unpacked, 0);
    assert_eq!(third.read.load(Ordering::SeqCst), 0, "read what was there");
}

#[test]
fn leftovers_of_dead_processes_are_removed_and_those_of_living_ones_are_not() {
    let world = World::new();
    let store = world.store();
    let staging = world.path("store/staging");
    fs::create_dir_all(staging.join("4194999-0/layer-0/diff/d")).unwrap();
    fs::write(staging.join("4194999-0/layer-0/diff/f"), "x").unwrap();
    let alive = staging.join("4194998-0");
    fs::create_dir(&alive).unwrap();
    let lock = fs::File::open(&alive).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let layout = Layout::new(&world, Compression::Zstd);
    import(&store, &layout.source()).unwrap();
    let left: Vec<_> = fs::read_dir(&staging)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(left, [alive]);
    drop(lock);
    import(&store, &layout.source()).unwrap();
    world.assert_untouched("leftovers");
}

#[test]
fn a_store_survives_every_half_finished_publication() {
    // What a crash between two renames leaves: a blob without its layer, a layer without its blob,
    // both without an index.
    let world = World::new();
    let layout = Layout::new(&world, Compression::Gzip);
    let complete = Store::open(world.path("complete")).unwrap();
    import(&complete, &layout.source()).unwrap();
    let names = |kind: &str| -> Vec<PathBuf> {
        let dir = fs::read_dir(world.path("complete").join(kind)).unwrap();
        dir.map(|entry| entry.unwrap().path()).collect()
    };
    let layers = names("layers/sha256");
    for lost in [layers.clone(), names("blobs/sha256")].concat() {
        let store = Store::open(world.path("half")).unwrap();
        import(&store, &layout.source()).unwrap();
        let gone = world
            .path("half")
            .join(lost.strip_prefix(world.path("complete")).unwrap());
        if gone.is_dir() {
            fs::remove_dir_all(&gone).unwrap();
        } else {
            fs::remove_file(&gone).unwrap();
        }
        fs::write(
            world.path("half/index.json"),
            r#"{"schemaVersion":2,"manifests":[]}"#,
        )
        .unwrap();
        let imported = import(&store, &layout.source()).unwrap();
        assert_eq!(imported.unpacked, usize::from(layers.contains(&lost)));
        assert!(gone.exists());
        assert_eq!(store.image("a:1").unwrap().layers.len(), 3);
        fs::remove_dir_all(world.path("half")).unwrap();
    }
}

#[test]
fn imports_at_the_same_time_all_succeed() {
    let world = World::new();
    let layout = Layout::new(&world, Compression::Gzip);
    let docker = world.path("d.tar");
    image(Compression::None)
        .write_docker_archive(&docker, Some("docker:1"))
        .unwrap();
    let store = world.store();
    std::thread::scope(|scope| {
        for at in 0..6 {
            let (store, layout, docker) = (&store, &layout, &docker);
            scope.spawn(move || {
                let source = match at % 2 {
                    0 => layout.source(),
                    _ => format!("docker-archive:{}", docker.display()),
                };
                let mut request = request(&source, Ownership::Override);
                request.name = Some(format!("name:{at}").parse().unwrap());
                store.import(&request, &Silent).unwrap();
                // What is named is whole, at any time.
                for image in store.images().unwrap() {
                    let image = store.image(image.name.as_str()).unwrap();
                    for (at, layer) in image.layers.iter().enumerate() {
                        assert!(layer.path.join(format!("f{at}")).exists());
                    }
                }
            });
        }
    });
    assert_eq!(store.images().unwrap().len(), 6);
    assert_eq!(
        fs::read_dir(world.path("store/layers/sha256"))
            .unwrap()
            .count(),
        3
    );
    world.assert_untouched("imports at the same time");
}

#[test]
fn the_source_is_not_shared_with_the_store() {
    // A process that can write the source cannot change what was verified.
    let world = World::new();
    let layout = Layout::new(&world, Compression::Gzip);
    let store = world.store();
    import(&store, &layout.source()).unwrap();
    for at in 0..3 {
        let hex = layout.layer(at).file_name().unwrap().to_owned();
        fs::write(layout.layer(at), b"changed afterwards").unwrap();
        let kept = fs::read(world.path("store/blobs/sha256").join(&hex)).unwrap();
        assert_eq!(Digest::of(&kept).hex(), hex.to_str().unwrap());
    }
}

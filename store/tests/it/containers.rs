//! Containers: made, found, locked, removed.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::support::{self, World, has_xattrs, import, is_root, message, record, request};
use plyfs_store::fixture::{Entry, ImageBuilder, Layer};
use plyfs_store::{
    Compression, ContainerError, ContainerName, Error, Image, Ownership, Silent, Store,
};

fn store_with_image(world: &World, name: &str) -> (Store, Image) {
    let layer = Layer::new([Entry::file("f", name)]);
    let image = ImageBuilder::new().layer(layer, Compression::Zstd);
    let dir = world.path("src");
    image.write_oci(&dir, Some(name)).unwrap();
    let store = world.store();
    import(&store, &format!("oci:{}:{name}", dir.display())).unwrap();
    let image = store.image(name).unwrap();
    (store, image)
}

fn name(text: &str) -> ContainerName {
    text.parse().unwrap()
}

#[test]
fn a_container_is_made_found_and_removed() {
    let world = World::new();
    let (store, image) = store_with_image(&world, "a:1");
    let made = store
        .create_container(Some(&name("web")), &image, Ownership::Override)
        .unwrap();
    assert!(made.upper.is_dir() && made.work.is_dir());
    assert_eq!(fs::read_dir(&made.upper).unwrap().count(), 0);
    assert_eq!(made.record.manifest_digest, image.manifest_digest);
    assert_eq!(made.layers, image.layers);
    let found = store.container(&name("web")).unwrap();
    assert_eq!((&found.record, &found.upper), (&made.record, &made.upper));
    let taken = store.create_container(Some(&name("web")), &image, Ownership::Override);
    let taken = taken.unwrap_err();
    assert!(matches!(taken, Error::Container(ContainerError::Exists(_))));
    assert_eq!(message(&taken), "there is a container \"web\" already");
    fs::create_dir_all(made.upper.join("a/b")).unwrap();
    fs::write(made.upper.join("a/b/c"), "x").unwrap();
    store.remove_container(&name("web")).unwrap();
    world.assert_untouched("a removed container");
    assert!(!world.path("store/containers/web").exists());
    for error in [
        store.container(&name("web")).unwrap_err(),
        store.remove_container(&name("web")).unwrap_err(),
        found.lock().unwrap_err(),
    ] {
        assert!(
            matches!(error, Error::Container(ContainerError::Unknown(_))),
            "{error}"
        );
    }
}

/// As `cp -a` of its directory leaves it: both had one upper directory, whose lock each took under its own name.
#[test]
fn a_copied_container_does_not_lead_into_the_original() {
    let world = World::new();
    let (store, image) = store_with_image(&world, "a:1");
    let web = Some(name("web"));
    let made = store.create_container(web.as_ref(), &image, Ownership::Override);
    let record = made.unwrap().upper.with_file_name("container.json");
    let copy = world.path("store/containers/copy");
    fs::create_dir_all(copy.join("upper")).unwrap();
    fs::copy(record, copy.join("container.json")).unwrap();
    let error = store.container(&name("copy")).unwrap_err();
    assert!(
        message(&error).ends_with("is damaged: it is the record of container web"),
        "{error}"
    );
    let listed = store.containers().unwrap();
    let listed: Vec<_> = listed.iter().map(|record| record.name.as_str()).collect();
    assert_eq!(listed, ["web"]);
    store.remove_container(&name("copy")).unwrap();
    store.container(&name("web")).unwrap();
}

#[test]
fn names_are_generated_and_free() {
    let world = World::new();
    let (store, image) = store_with_image(&world, "a:1");
    let mut names = Vec::new();
    for _ in 0..50 {
        let made = store
            .create_container(None, &image, Ownership::Override)
            .unwrap();
        names.push(made.record.name);
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 50);
    let listed: Vec<_> = store
        .containers()
        .unwrap()
        .into_iter()
        .map(|one| one.name)
        .collect();
    assert_eq!(listed, names);
    world.assert_untouched("containers");
}

#[test]
fn a_container_outlives_the_name_of_its_image() {
    let world = World::new();
    let (store, image) = store_with_image(&world, "a:1");
    store
        .create_container(Some(&name("old")), &image, Ownership::Override)
        .unwrap();
    let layer = Layer::new([Entry::file("f", "new")]);
    let newer = ImageBuilder::new().layer(layer, Compression::Zstd);
    newer.write_oci(world.path("newer"), Some("a:1")).unwrap();
    import(&store, &format!("oci:{}", world.path("newer").display())).unwrap();
    assert_ne!(
        store.image("a:1").unwrap().manifest_digest,
        image.manifest_digest
    );
    let found = store.container(&name("old")).unwrap();
    assert_eq!(found.record.manifest_digest, image.manifest_digest);
    let of_container = store.container_image(&found.record).unwrap();
    assert_eq!(of_container.layers, image.layers);
    assert_eq!(of_container.config, image.config);
    assert_eq!(
        fs::read_to_string(found.layers[0].path.join("f")).unwrap(),
        "a:1"
    );
}

#[test]
fn a_container_in_use_is_not_removed() {
    let world = World::new();
    let (store, image) = store_with_image(&world, "a:1");
    let container = store
        .create_container(Some(&name("c")), &image, Ownership::Override)
        .unwrap();
    let lock = container.lock().unwrap();
    for error in [
        store.remove_container(&name("c")).unwrap_err(),
        store.container(&name("c")).unwrap().lock().unwrap_err(),
    ] {
        assert!(
            matches!(error, Error::Container(ContainerError::Busy(_))),
            "{error}"
        );
        assert_eq!(message(&error), "the container \"c\" is in use");
    }
    drop(lock);
    drop(container.lock().unwrap());
    store.remove_container(&name("c")).unwrap();
}

#[test]
fn the_upper_root_is_that_of_the_image() {
    let world = World::new();
    if !has_xattrs(&world.path("."), this_test!()) {
        return;
    }
    // The root is described in the middle layer only.
    let image = ImageBuilder::new()
        .layer(Layer::new([Entry::dir(".").mode(0o700)]), Compression::None)
        .layer(
            Layer::new([Entry::dir(".").owner(5, 6).mode(0o711)]),
            Compression::None,
        )
        .layer(Layer::new([Entry::file("f", "x")]), Compression::None);
    image.write_oci(world.path("src"), Some("a:1")).unwrap();
    let source = format!("oci:{}", world.path("src").display());
    let store = world.store();
    import(&store, &source).unwrap();
    let image = store.image("a:1").unwrap();
    let made = store
        .create_container(None, &image, Ownership::Override)
        .unwrap();
    assert_eq!(record(&made.upper).as_deref(), Some("5:6:711"));
    assert_eq!(made.upper.metadata().unwrap().mode() & 0o7777, 0o711);
    if !is_root() {
        support::skip(this_test!(), "not run as root");
        return;
    }
    let store = Store::open(world.path("real")).unwrap();
    store
        .import(&request(&source, Ownership::Real), &Silent)
        .unwrap();
    let image = store.image("a:1").unwrap();
    let made = store
        .create_container(None, &image, Ownership::Real)
        .unwrap();
    let stat = made.upper.metadata().unwrap();
    assert_eq!(
        (stat.uid(), stat.gid(), stat.mode() & 0o7777),
        (5, 6, 0o711)
    );
    assert_eq!(record(&made.upper), None);
}

#[test]
fn closed_and_deep_directories_do_not_keep_a_container() {
    let world = World::new();
    let (store, image) = store_with_image(&world, "a:1");
    let made = store
        .create_container(Some(&name("c")), &image, Ownership::Override)
        .unwrap();
    // As the kernel leaves its work directory.
    let closed = made.work.join("work");
    fs::create_dir(&closed).unwrap();
    rustix::fs::chmod(&closed, rustix::fs::Mode::empty()).unwrap();
    let deep = vec!["d"; 400].join("/");
    fs::create_dir_all(made.upper.join(deep)).unwrap();
    store.remove_container(&name("c")).unwrap();
    world.assert_untouched("a closed directory");
}

#[test]
fn a_temporary_container_goes_with_its_user() {
    let world = World::new();
    let (store, image) = store_with_image(&world, "a:1");
    let container = store
        .temporary_container(None, &image, Ownership::Override)
        .unwrap();
    fs::write(container.upper.join("f"), b"x").unwrap();
    let lock = container.lock().unwrap();
    assert!(store.containers().unwrap().is_empty());
    // Others at work in the store leave it alone.
    let other = store.create_container(None, &image, Ownership::Override);
    store.remove_container(&other.unwrap().record.name).unwrap();
    let upper = container.upper.clone();
    assert!(upper.join("f").exists());
    drop((lock, container));
    assert!(!upper.exists());
    world.assert_untouched("a temporary container");
}

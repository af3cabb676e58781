//! What is healed, and what goes on beside damage.

use super::*;

#[test]
fn importing_an_image_again_heals_it() {
    let world = world(&mut Numbers(11));
    let before = snapshot(&world);
    let layer = top_layer(&world, "b:test");
    type Damage<'a> = (&'a str, Box<dyn Fn() + 'a>);
    let damages: [Damage; 8] = [
        (
            "a flipped manifest",
            Box::new(|| flip_in(&document(&world, "b:test", None))),
        ),
        (
            "an empty configuration",
            Box::new(|| fs::write(document(&world, "b:test", Some("config")), "").unwrap()),
        ),
        (
            "a missing configuration",
            Box::new(|| fs::remove_file(document(&world, "b:test", Some("config"))).unwrap()),
        ),
        (
            "an empty record",
            Box::new(|| fs::write(layer.join("layer.json"), "").unwrap()),
        ),
        (
            "no record",
            Box::new(|| fs::remove_file(layer.join("layer.json")).unwrap()),
        ),
        (
            "a flipped file",
            Box::new(|| flip_in(&layer.join("diff/d-b/large"))),
        ),
        (
            "no tree",
            Box::new(|| fs::remove_dir_all(layer.join("diff")).unwrap()),
        ),
        (
            "a directory in the place of a blob",
            Box::new(|| {
                let path = document(&world, "b:test", Some("config"));
                fs::remove_file(&path).unwrap();
                fs::create_dir(&path).unwrap();
            }),
        ),
    ];
    for (what, damage) in damages {
        damage();
        assert_eq!(check(&world, &[]).0, 4, "{what}");
        let output = world.import(&source(&world, "b")).output().unwrap();
        assert!(output.status.success(), "{what}: {}", text(&output.stderr));
        assert_eq!(check(&world, &[]), (0, vec![]), "{what}");
        let after = snapshot(&world);
        assert!(after == before, "{what}: {:?}", differing(&before, &after));
    }
}

#[test]
fn a_damaged_layer_blob_is_replaced_by_an_import() {
    let world = world(&mut Numbers(12));
    let before = snapshot(&world);
    let size = |path: &PathBuf| fs::metadata(path).unwrap().len();
    let blobs = fs::read_dir(world.store("blobs/sha256")).unwrap();
    let largest = blobs
        .map(|blob| blob.unwrap().path())
        .max_by_key(size)
        .unwrap();
    flip_in(&largest);
    let found = check(&world, &["--repair"]);
    assert_eq!((found.0, found.1.len()), (4, 1), "{found:?}");
    for name in IMAGES {
        succeed(&mut world.import(&source(&world, name)));
    }
    assert_eq!(check(&world, &[]), (0, vec![]));
    assert!(snapshot(&world) == before);
}

#[test]
fn damage_of_one_image_stops_no_other() {
    let world = world(&mut Numbers(13));
    // Beyond repair: nothing can be read of the manifest of d.
    fs::write(document(&world, "d:test", None), [0; 500]).unwrap();
    let (status, found) = check(&world, &["--repair"]);
    assert_eq!((status, found.len()), (4, 1), "{found:?}");
    // The image of the container stays; another one goes, with its own layer and no other.
    let layers = world.names("layers/sha256").len();
    succeed(&mut world.plyfs(["rmi", "c:test"]));
    assert_eq!(world.names("layers/sha256").len(), layers - 1);
    for name in ["a:test", "b:test", "e:test"] {
        assert!(save(&world, name).is_some(), "{name}");
    }
    fs::write(top_layer(&world, "e:test").join("layer.json"), "").unwrap();
    succeed(&mut world.plyfs(["df", "-v"]));
    succeed(&mut world.plyfs(["prune"]));
    assert_eq!(world.names("layers/sha256").len(), layers - 1);
    succeed(&mut world.plyfs(["rmi", "--force", "d:test"]));
    succeed(&mut world.plyfs(["rmi", "b:test", "e:test"]));
    succeed(&mut world.plyfs(["rm", "box"]));
    succeed(&mut world.plyfs(["rmi", "a:test"]));
    succeed(&mut world.plyfs(["prune"]));
    assert_eq!(world.names("layers/sha256"), [""; 0]);
    assert_eq!(check(&world, &[]), (0, vec![]));
}

#[test]
fn a_container_with_a_lost_record_can_be_removed() {
    let world = world(&mut Numbers(14));
    fs::write(world.store("containers/box/container.json"), "").unwrap();
    let (status, found) = check(&world, &["--repair"]);
    assert_eq!((status, found.len()), (4, 1), "{found:?}");
    // Until it is removed it is not known which layers it needs.
    let layers = world.names("layers/sha256").len();
    succeed(&mut world.plyfs(["rmi", "--force", "a:test"]));
    assert_eq!(world.names("layers/sha256").len(), layers);
    assert_eq!(succeed(&mut world.plyfs(["rm", "--all"])), "box\n");
    succeed(&mut world.plyfs(["prune"]));
    assert_eq!(world.names("layers/sha256").len(), layers - 1);
}

#[test]
fn a_lost_record_of_places_does_not_keep_a_container_from_use() {
    let world = world(&mut Numbers(19));
    fs::write(world.store("containers/box/places.json"), "").unwrap();
    let (_, said) = fail(&mut world.plyfs(["commit", "box", "made"]));
    assert!(said.contains("fsck --repair"), "{said}");
    assert_eq!(check(&world, &["--repair"]).0, 1);
    succeed(&mut world.plyfs(["commit", "box", "made"]));
    assert_eq!(check(&world, &[]), (0, vec![]));
}

#[test]
fn a_pipe_in_the_place_of_a_record_does_not_keep_commands_waiting() {
    let world = world(&mut Numbers(21));
    for record in [
        "containers/box/places.json",
        "containers/box/container.json",
    ] {
        let path = world.store(record);
        fs::remove_file(&path).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let (_, said) = fail(&mut world.plyfs(["commit", "box", "made"]));
        assert!(said.contains("no regular file"), "{said}");
    }
    // One is repaired, and the other cannot be.
    assert_eq!(check(&world, &["--repair"]).0, 5);
    succeed(&mut world.plyfs(["rm", "box"]));
    assert_eq!(check(&world, &[]), (0, vec![]));
}

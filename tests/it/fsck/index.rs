//! The index and its copy.

use super::*;

#[test]
fn a_lost_index_is_made_again_from_the_manifests() {
    let world = world(&mut Numbers(15));
    for is_there in [true, false] {
        for name in ["index.json", "index.copy"] {
            match is_there {
                true => fs::write(world.store(name), "").unwrap(),
                false => fs::remove_file(world.store(name)).unwrap(),
            }
        }
        for words in [
            &["images"][..],
            &["import", &source(&world, "a")],
            &["rmi", "a:test"],
        ] {
            let (_, said) = fail(&mut world.plyfs(words));
            let fault = if is_there { "is damaged" } else { "is missing" };
            assert!(said.contains(&format!("index.json {fault}")), "{said}");
            assert!(said.contains("\"plyfs fsck --repair\""), "{said}");
        }
        assert_eq!(check(&world, &["--repair"]).0, 1);
    }
    let found = images(&world);
    assert_eq!(found.len(), IMAGES.len());
    assert!(
        found.keys().all(|name| name.starts_with("recovered:")),
        "{found:?}"
    );
    // Names can be given again, by hand or by an import.
    let recovered = found.keys().next().unwrap();
    succeed(&mut world.plyfs(["tag", recovered, "named:again"]));
    assert_eq!(images(&world).len(), IMAGES.len() + 1);
    for name in IMAGES {
        succeed(&mut world.import(&source(&world, name)));
    }
    assert_eq!(check(&world, &[]), (0, vec![]));
}

#[test]
fn a_missing_index_is_not_called_damaged() {
    let world = world(&mut Numbers(19));
    fs::remove_file(world.store("index.json")).unwrap();
    let output = world.plyfs(["images"]).output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success());
    assert!(
        said.contains("index.json is missing; its copy is used")
            && said.contains("plyfs fsck --repair"),
        "{said}"
    );
    let (status, said) = run(&world, ["fsck", "--repair"]);
    assert_eq!(status, 1);
    assert!(
        said.contains("index.json is missing; repaired from its copy"),
        "{said}"
    );
    assert!(world.store("index.json").exists());
}

//! Forms and compressions.

use super::*;

#[test]
fn every_form_and_compression_gives_the_same_layer() {
    let world = World::new();
    let mut layers = Vec::new();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let layer = Layer::new([Entry::file("top", "the same")]);
        let image = ImageBuilder::new().layer(layer, compression);
        let name = format!("{compression:?}");
        let (dir, oci, docker) = (
            world.path(&format!("{name}.d")),
            world.path(&format!("{name}-oci.tar")),
            world.path(&format!("{name}-docker.tar")),
        );
        image.write_oci(&dir, Some("1")).unwrap();
        image.write_oci_archive(&oci, Some("1")).unwrap();
        image
            .write_docker_archive(&docker, Some("docker:1"))
            .unwrap();
        for (form, path) in [
            ("oci", dir),
            ("oci-archive", oci),
            ("docker-archive", docker),
        ] {
            let imported = import(&world.store(), &source(form, &path, "")).unwrap();
            assert_eq!(
                top(&world, imported.name.as_str()),
                "the same",
                "{form} {name}"
            );
            layers.push(world.layers(imported.name.as_str()));
        }
    }
    layers.dedup();
    assert_eq!(layers.len(), 1, "one layer directory for all");
    world.assert_untouched("all forms");
}

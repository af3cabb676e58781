//! Containers that are kept.

use super::*;

#[test]
fn a_container_is_kept_and_found_again() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    // One that was not to be kept is gone.
    said_nothing(&world, &[], "echo gone >/tmp/f");
    said_nothing(&world, &[], "[[ ! -e /tmp/f ]]");
    assert_nothing_left(&world);

    let change = "echo changed >/etc/text; exit 4";
    let (status, line) = fail(&mut script(&world, &["--keep"], change));
    assert_eq!(status, 4);
    let name = line.rsplit(' ').next().unwrap();
    assert_eq!(world.names("containers"), [name], "{line}");
    assert_eq!(
        said(&world, &["--container", name], "echo $(</etc/text)"),
        "changed\n"
    );
    said_nothing(&world, &[], "[[ $(</etc/text) == 'no program' ]]");

    said_nothing(
        &world,
        &["--container", "mine"],
        "[[ $HOSTNAME == mine ]] && echo 1 >/tmp/f",
    );
    assert_eq!(
        said(&world, &["--container", "mine"], "echo $(</tmp/f)"),
        "1\n"
    );
    let mut both = vec![name.to_owned(), "mine".to_owned()];
    both.sort();
    assert_eq!(world.names("containers"), both);

    // It stands on its image, whatever has the name of that now.
    let other = ImageBuilder::new().layer(program::bash().unwrap(), Compression::None);
    world.with_image("box", &other);
    let (status, line) = fail(&mut script(&world, &["--container", "mine"], "true"));
    assert_eq!(status, 125);
    assert!(line.contains("another image"), "{line}");
}

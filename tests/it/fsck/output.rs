//! What people read.

use super::*;

#[test]
fn the_help_of_fsck_has_its_exit_statuses() {
    let help = succeed(&mut plyfs(["fsck", "--help"]));
    let help: Vec<&str> = help.split_whitespace().collect();
    let help = help.join(" ");
    assert!(
        help.contains("4 if something is damaged and was not repaired"),
        "{help}"
    );
}

#[test]
fn what_people_read_is_a_line_for_each_object() {
    let world = world(&mut Numbers(18));
    let said = succeed(&mut world.plyfs(["fsck"]));
    assert!(
        said.starts_with("checked 5 images, 1 containers, ") && said.ends_with(": no damage\n"),
        "{said}"
    );
    flip_in(&top_layer(&world, "b:test").join("diff/d-b/large"));
    let (status, said) = run(&world, ["fsck", "b:test"]);
    assert_eq!(status, 4);
    assert!(
        said.contains("/d-b/large: has other data (needed by image b:test)\n"),
        "{said}"
    );
    let (status, said) = run(&world, ["fsck", "c:test"]);
    assert_eq!((status, said.lines().count()), (0, 1), "{said}");
    let (status, said) = run(&world, ["fsck", "--repair"]);
    assert_eq!(status, 1);
    assert!(said.contains("; repaired from blob sha256:"), "{said}");
    assert_eq!(fail(&mut world.plyfs(["fsck", "nothing"])).0, 8);
    assert_eq!(fail(&mut world.plyfs(["fsck", "--no-such"])).0, 16);
    assert_eq!(fail(&mut world.plyfs(["fsck", "--from", "oci:x"])).0, 16);
}

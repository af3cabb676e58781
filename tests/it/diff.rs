//! `plyfs diff`.

use std::fs;

use crate::support::container::{change, mounted, world};
use crate::support::*;

/// What a walk of the whole image would find, in the letters of `docker diff`.
const CHANGED: &str = "\
C /dir-to-file
D /etc/deleted
C /etc
C /etc/changed
C /etc/mode
C /file-to-dir
A /file-to-dir/in
D /gone
C /links
C /links/one
D /moved
A /new
A /new/empty
A /new/fifo
A /new/first
A /new/link
A /new/second
D /removed-again
A /renamed
A /renamed/a
A /renamed/from-top
A /renamed/sub
A /renamed/sub/c
C /replaced
C /replaced/both
D /replaced/only-old
A /replaced/only-new
";

fn sorted(lines: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = lines
        .lines()
        // Devices cannot be made everywhere.
        .filter(|line| *line != "A /new/null")
        .collect();
    lines.sort_by_key(|line| line.split_once(' ').unwrap().1);
    lines
}

#[test]
fn every_change_is_listed_and_nothing_else() {
    inside(this_test!(), || {
        let world = world();
        mounted(&world, &["--container", "c", "box:test"], |_| {});
        assert_eq!(succeed(&mut world.plyfs(["diff", "c"])), "");
        change(&world, "c");
        let before = world.snapshot();
        let said = succeed(&mut world.plyfs(["diff", "c"]));
        assert_eq!(sorted(&said), sorted(CHANGED));
        tree::assert_same(&before, &world.snapshot());
        let json = succeed(&mut world.plyfs(["diff", "--json", "c"]));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json.as_array().unwrap().len(), said.lines().count());
        assert_eq!(json[0]["kind"], "C");
        // A container that is mounted is listed, too.
        mounted(&world, &["--container", "c"], |at| {
            fs::write(at.join("while\x1bmounted"), "").unwrap();
            fs::remove_dir_all(at.join("new")).unwrap();
            let said = succeed(&mut world.plyfs(["diff", "c"]));
            assert!(said.contains("A /while\\u{1b}mounted\n"), "{said}");
            assert!(!said.contains("/new\n"), "{said}");
        });
    });
}

#[test]
fn an_unknown_container_is_one_line() {
    inside(this_test!(), || {
        let world = world();
        let (status, said) = fail(&mut world.plyfs(["diff", "missing"]));
        assert_eq!(status, 1);
        assert!(
            said.contains("there is no container \"missing\"; there are none"),
            "{said}"
        );
        mounted(&world, &["--container", "c", "box:test"], |_| {});
        let (_, said) = fail(&mut world.plyfs(["diff", "missing"]));
        assert!(said.ends_with("\"missing\", but c"), "{said}");
    });
}

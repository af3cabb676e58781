//! Trees that are larger, deeper or of more layers than usual.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::support::*;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat};

const MANY: usize = 100_000;

#[test]
fn a_directory_has_a_hundred_thousand_names() {
    inside(this_test!(), || {
        let mut stack = Stack::new(2);
        for layer in [0, 1] {
            fs::create_dir(stack.lower(layer, "d")).unwrap();
        }
        for i in 0..MANY {
            File::create(stack.lower(i % 2, &format!("d/file-{i}"))).unwrap();
        }
        stack.mount();
        let names = || -> BTreeSet<String> {
            let entries = fs::read_dir(stack.merged("d")).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let all: Vec<_> = names.collect();
            let once: BTreeSet<_> = all.iter().cloned().collect();
            assert_eq!(all.len(), once.len(), "a name is listed twice");
            once
        };
        assert_eq!(names().len(), MANY);
        fs::write(stack.merged("d/file-7"), "written").unwrap();
        fs::remove_file(stack.merged("d/file-8")).unwrap();
        fs::rename(stack.merged("d/file-9"), stack.merged("d/moved")).unwrap();
        let now = names();
        assert_eq!(now.len(), MANY - 1);
        assert!(now.contains("moved") && !now.contains("file-9") && !now.contains("file-8"));
        stack.unmount();
    });
}

const DEPTH: usize = 64;

/// The directory so many levels down, whose path would be too long for a system call.
fn down(root: &Path, levels: usize, make: bool) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = openat(CWD, root, flags, Mode::empty()).unwrap();
    for level in 0..levels {
        let name = name(level);
        if make {
            rustix::fs::mkdirat(&dir, &name, Mode::RWXU).unwrap();
        }
        dir = openat(&dir, &name, flags, Mode::empty()).unwrap();
    }
    dir
}

fn name(level: usize) -> String {
    format!("{level:0>255}")
}

fn write(dir: &OwnedFd, name: &str, text: &str) {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, Mode::RUSR | Mode::WUSR).unwrap();
    File::from(file).write_all(text.as_bytes()).unwrap();
}

fn read(dir: &OwnedFd, name: &str) -> String {
    let file = openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let mut text = String::new();
    File::from(file).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_path_has_64_levels_of_255_bytes() {
    inside(this_test!(), || {
        let mut stack = Stack::new(2);
        let long = name(1000);
        write(&down(&stack.lower(1, ""), DEPTH, true), &long, "bottom");
        write(&down(&stack.lower(0, ""), DEPTH / 2, true), &long, "middle");
        stack.mount();
        let bottom = down(&stack.merged(""), DEPTH, false);
        assert_eq!(read(&bottom, &long), "bottom");
        write(&bottom, &long, "changed");
        write(&bottom, "new", "new");
        drop(bottom);
        for _ in 0..2 {
            let bottom = down(&stack.merged(""), DEPTH, false);
            assert_eq!(read(&bottom, &long), "changed");
            assert_eq!(read(&bottom, "new"), "new");
            assert_eq!(
                read(&down(&stack.merged(""), DEPTH / 2, false), &long),
                "middle"
            );
            drop(bottom);
            stack.unmount();
            stack.mount();
        }
        // Moved away from the layers below, with all that is in it.
        fs::rename(stack.merged(&name(0)), stack.merged("moved")).unwrap();
        assert!(!stack.merged(&name(0)).exists());
        fs::rename(stack.merged("moved"), stack.merged(&name(0))).unwrap();
        let bottom = down(&stack.merged(""), DEPTH, false);
        assert_eq!(read(&bottom, "new"), "new");
        rustix::fs::unlinkat(&bottom, &long, AtFlags::empty()).unwrap();
        drop(bottom);
        succeed(
            std::process::Command::new("rm")
                .arg("-r")
                .arg(stack.merged(&name(0))),
        );
        assert_eq!(fs::read_dir(stack.merged("")).unwrap().count(), 0);
        stack.unmount();
    });
}

#[test]
fn five_hundred_layers_are_mounted_and_one_more_is_not() {
    inside(this_test!(), || {
        let mut stack = Stack::new(501);
        for layer in 0..500 {
            put(&stack.lower(layer, &format!("d/only{layer}")), "only");
            put(&stack.lower(layer, "d/all"), &layer.to_string());
            put(&stack.lower(layer, &format!("apart{layer}/f")), "");
        }
        let (_, line) = fail(plyfs(["mount", "-o", &stack.options()]).arg(stack.merged("")));
        assert!(line.contains("500"), "{line}");
        let last = stack.lower(500, "");
        let options = stack.options().replace(&format!(":{}", last.display()), "");
        succeed(plyfs(["mount", "-o", &options]).arg(stack.merged("")));
        stack.mounted_by_other();
        assert_eq!(fs::read_dir(stack.merged("d")).unwrap().count(), 501);
        assert_eq!(fs::read_dir(stack.merged("")).unwrap().count(), 501);
        assert_eq!(fs::read(stack.merged("d/all")).unwrap(), b"0");
        assert_eq!(fs::read(stack.merged("d/only499")).unwrap(), b"only");
        fs::remove_dir_all(stack.merged("d")).unwrap();
        fs::create_dir(stack.merged("d")).unwrap();
        assert_eq!(fs::read_dir(stack.merged("d")).unwrap().count(), 0);
        stack.unmount();
    });
}

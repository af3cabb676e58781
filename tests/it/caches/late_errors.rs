//! Errors that come late, and what readers see then.

use super::*;

/// A stack whose lower file `f` of a megabyte cannot be copied up.
fn too_large() -> Stack {
    let stack = Stack::new(1);
    put(&stack.lower(0, "f"), &"x".repeat(1 << 20));
    stack.upper_on_tmpfs("400k");
    stack
}

#[test]
fn a_refused_copy_up_fails_the_write_and_changes_no_file() {
    let name = this_test!();
    inside(name, || {
        let mut stack = too_large();
        stack.mount();
        for script in [
            "echo lost >>f",
            "echo lost | tee -a f >/dev/null",
            "dd if=/dev/zero of=f bs=10 count=1 conv=notrunc",
            "sh -c 'exec 3<>f; echo lost >&3'",
        ] {
            let output = within(20, script, &stack.merged(""));
            assert!(!output.status.success(), "{script}");
            let now = fs::read(stack.merged("f")).unwrap();
            assert_eq!(now.len(), 1 << 20, "{script}");
            assert!(now.iter().all(|byte| *byte == b'x'), "{script}");
        }
        // Other files still fit.
        fs::write(stack.merged("small"), "small").unwrap();
        stack.unmount();
        assert!(!stack.upper("f").exists());
        stack.drop_tmpfs();
    });
}

#[test]
fn what_a_mapping_could_not_store_is_not_shown_for_long() {
    let name = this_test!();
    inside(name, || {
        for options in ["", ",writeback=1"] {
            let mut stack = too_large();
            stack.mount_with(options);
            let file = File::options()
                .read(true)
                .write(true)
                .open(stack.merged("f"))
                .unwrap();
            let mut mapping = Mapping::new(&file, 8192, true).unwrap();
            mapping.store(100, b"lost").unwrap();
            assert!(file.sync_all().is_err(), "{options}");
            drop(mapping);
            let mut found = [0; 4];
            for _ in 0..100 {
                file.read_exact_at(&mut found, 100).unwrap();
                if found == *b"xxxx" {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            assert_eq!(&found, b"xxxx", "{options}");
            drop(file);
            stack.unmount();
            stack.drop_tmpfs();
        }
    });
}

#[test]
fn the_kernel_gathers_writes_only_if_asked_to() {
    inside(this_test!(), || {
        for (options, gathers) in [("", false), (",writeback=0", false), (",writeback=1", true)] {
            let mut stack = Stack::new(1);
            stack.mount_with(options);
            let mut file = File::create(stack.merged("f")).unwrap();
            file.write_all(b"content").unwrap();
            let stored = fs::read(stack.upper("f")).unwrap();
            assert_eq!(stored.is_empty(), gathers, "{options}");
        }
    });
}

//! Times of last change.

use super::*;

/// A kernel that gathers writes knows when a program wrote, and says so if it matters. The time the
/// data arrives must not show through, or a file would seem to change when no program touches it.
#[test]
fn gathered_writes_leave_the_time_of_change_alone() {
    let mut stack = Stack::new(1);
    stack.gathers = true;
    stack.open();
    stack.create("f", "text").unwrap();
    let old = SetAttr {
        mtime: Some(SetTime::At(Timestamp {
            secs: 1000,
            nanos: 5,
        })),
        ..SetAttr::default()
    };
    let id = stack.hold("f");
    let before = stack.setattr("f", old).unwrap();
    let gathered = WriteMode {
        gathered: true,
        ..WriteMode::default()
    };
    stack.fs().write(id, 0, b"T", gathered).unwrap();
    assert_eq!(stack.attr("f").unwrap().mtime, before.mtime);
    stack.fs().write(id, 0, b"t", WriteMode::default()).unwrap();
    assert!(stack.attr("f").unwrap().mtime > before.mtime);
}

/// Where nothing gathers writes but shared mappings, the kernel keeps no times: data that comes late is a change
/// when it comes, and so is a time that is set to what it is.
#[test]
fn without_a_writeback_cache_times_are_those_on_disk() {
    let mut stack = Stack::new(1);
    stack.open();
    stack.create("f", "text").unwrap();
    let id = stack.hold("f");
    let before = stack.fs().getattr(id).unwrap();
    std::thread::sleep(Duration::from_millis(30));
    let gathered = WriteMode {
        gathered: true,
        ..WriteMode::default()
    };
    stack.fs().write(id, 0, b"T", gathered).unwrap();
    let written = stack.fs().getattr(id).unwrap();
    assert!(written.mtime > before.mtime);
    std::thread::sleep(Duration::from_millis(30));
    let set = SetAttr {
        mtime: Some(SetTime::At(written.mtime)),
        ..SetAttr::default()
    };
    let now = stack.fs().setattr(&me(), id, &set).unwrap();
    assert_eq!(now.mtime, written.mtime);
    assert!(now.ctime > written.ctime);
}

/// The kernel's clock is a coarse one, and it says nothing if that has not moved on from the time of last
/// change that a lookup told: here of a file which was written right before the mount.
#[test]
fn gathered_writes_leave_the_time_that_a_lookup_told_alone() {
    let mut stack = Stack::new(1);
    stack.gathers = true;
    put(&stack.lower(0, "f"), "text");
    put(&stack.lower(0, "old"), "text");
    let old = fs::File::options()
        .write(true)
        .open(stack.lower(0, "old"))
        .unwrap();
    old.set_modified(SystemTime::now() - Duration::from_secs(60))
        .unwrap();
    stack.open();
    let id = stack.hold("f");
    let told = stack.attr("f").unwrap().mtime;
    std::thread::sleep(Duration::from_millis(30));
    let gathered = WriteMode {
        gathered: true,
        ..WriteMode::default()
    };
    stack.fs().write(id, 0, b"T", gathered).unwrap();
    assert_eq!(stack.attr("f").unwrap().mtime, told);
    // What is older than any clock is coarse: the kernel will say when.
    let id = stack.hold("old");
    stack.fs().write(id, 0, b"T", gathered).unwrap();
    assert!(stack.attr("old").unwrap().mtime > told);
}

/// A kernel that gathers writes sends the time of the last change when a name goes, as it was.
#[test]
fn a_removed_lower_file_is_not_copied_up_for_its_time() {
    let mut stack = Stack::new(1);
    stack.gathers = true;
    put(&stack.lower(0, "f"), "text");
    stack.open();
    let id = stack.hold("f");
    let before = stack.fs().getattr(id).unwrap();
    stack.unlink("f").unwrap();
    let set = SetAttr {
        mtime: Some(SetTime::At(before.mtime)),
        ..SetAttr::default()
    };
    assert_eq!(
        stack.fs().setattr(&me(), id, &set).unwrap().mtime,
        before.mtime
    );
    assert!(
        stack.fs().is_slow_to_change(id, Change::Data),
        "it was copied up"
    );
    assert_eq!(read_node(stack.fs(), id), b"text");
}

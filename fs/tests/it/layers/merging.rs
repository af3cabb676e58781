//! Merging layers.

use super::*;

#[test]
fn the_topmost_layer_wins_and_directories_are_merged() {
    let mut stack = Stack::new(3);
    put(&stack.lower(0, "d/both"), "top");
    put(&stack.lower(1, "d/both"), "middle");
    put(&stack.lower(1, "d/middle"), "middle");
    put(&stack.lower(2, "d/bottom"), "bottom");
    put(&stack.upper("d/upper"), "upper");
    stack.open();
    assert_eq!(stack.read("d/both"), "top");
    assert_eq!(stack.read("d/middle"), "middle");
    assert_eq!(stack.read("d/bottom"), "bottom");
    assert_eq!(stack.list("d"), ["both", "bottom", "middle", "upper"]);
    assert_eq!(stack.attr("d").unwrap().nlink, 1);
    assert_eq!(stack.attr("nothing"), Err(Errno::NOENT));
}

/// Lookups and changes read directories too, but no program asked for that.
#[test]
fn the_time_of_last_access_of_an_upper_directory_is_that_of_its_listing() {
    let name = this_test!();
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "merged/lower"), "lower");
    put(&stack.lower(0, "below/lower"), "lower");
    let long_ago = |dir: &Path| {
        let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        let times = fs::FileTimes::new().set_accessed(then);
        fs::File::open(dir).unwrap().set_times(times).unwrap();
    };
    let is_old = |dir: &Path| fs::metadata(dir).unwrap().atime() == 1_000_000_000;
    let upper = ["merged", "upper"].map(|dir| stack.upper(dir));
    for dir in &upper {
        put(&dir.join("file"), "upper");
        long_ago(dir);
        assert_eq!(fs::read_dir(dir).unwrap().count(), 1);
        if is_old(dir) {
            return skip(name, "the file system below is mounted with noatime");
        }
        long_ago(dir);
    }
    // Every time it is read is a time of access.
    let below = stack.lower(0, "below");
    let tomorrow = std::time::SystemTime::now() + std::time::Duration::from_secs(24 * 60 * 60);
    let times = fs::FileTimes::new().set_modified(tomorrow);
    fs::File::open(&below).unwrap().set_times(times).unwrap();
    stack.open();
    for (dir, path) in upper.iter().zip(["merged", "upper"]) {
        for missing in 0..50 {
            assert!(!stack.exists(&format!("{path}/missing{missing}")));
        }
        assert!(is_old(dir), "{path}: no program has listed it");
        stack.list(path);
        assert!(!is_old(dir), "{path} was listed");
        long_ago(dir);
        stack.list(path);
        assert!(!is_old(dir), "{path} was listed again");
    }
    let accessed = || fs::metadata(&below).unwrap().accessed().unwrap();
    let before = accessed();
    std::thread::sleep(std::time::Duration::from_millis(20));
    stack.list("below");
    assert_eq!(before, accessed(), "a lower directory is left alone");
}

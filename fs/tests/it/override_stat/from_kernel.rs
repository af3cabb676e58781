//! Records that users of the kernel's overlay wrote.

use super::*;

/// A stack whose upper layer the kernel's overlay has served, with attributes that its users wrote, and
/// a link out of it.
fn served_by_kernel() -> Stack {
    let stack = Stack::new(1);
    let outside = stack.lower(0, "outside");
    put(&outside, "");
    set_xattr(&outside, RECORD, "33:34:4755");
    put(&stack.upper("d/e/null"), "");
    set_xattr(&stack.upper("d/e/null"), RECORD, "0:0:666:char-1-3");
    set_xattr(&stack.upper("d/e/null"), "user.note", "kept");
    set_xattr(&stack.upper("d/e"), "user.fuseoverlayfs.opaque", "y");
    set_xattr(&stack.upper(""), RECORD, "0:0:755");
    std::os::unix::fs::symlink(&outside, stack.upper("d/link")).unwrap();
    let config = stack.config().upper.unwrap();
    let namespace = match own_record("").starts_with("trusted") {
        true => plyfs_format::names::Namespace::Trusted,
        false => plyfs_format::names::Namespace::User,
    };
    plyfs_fs::mark_served_by_kernel(&config.path, &config.work, namespace).unwrap();
    assert!(plyfs_fs::was_served_by_kernel(&config.path, None));
    assert!(plyfs_fs::was_served_by_kernel(
        &config.path,
        Some(&config.work)
    ));
    stack
}

#[test]
fn what_users_of_the_kernels_overlay_wrote_is_removed_before_records_are_believed() {
    let mut stack = served_by_kernel();
    stack.records = OverrideStatMode::Devices;
    let mut config = stack.config();
    config.marked_upper = plyfs_fs::MarkedUpper::Clean;
    // Nothing is believed, so nothing has to be removed.
    let mut unbelieving = config.clone();
    unbelieving.upper.as_mut().unwrap().records = OverrideStatMode::Untrusted;
    drop(plyfs_fs::Overlay::open(&unbelieving).unwrap());
    assert!(record_of(&stack.upper("d/e/null")).is_some());
    drop(plyfs_fs::Overlay::open(&config).unwrap());
    for path in ["", "d/e", "d/e/null"] {
        assert_eq!(record_of(&stack.upper(path)), None, "{path}");
    }
    assert_eq!(
        get_xattr(&stack.upper("d/e"), "user.fuseoverlayfs.opaque"),
        None
    );
    assert_eq!(
        get_xattr(&stack.upper("d/e/null"), "user.note").as_deref(),
        Some("kept")
    );
    assert!(
        record_of(&stack.lower(0, "outside")).is_some(),
        "a link was followed"
    );
    let upper = config.upper.as_ref().unwrap();
    assert!(!plyfs_fs::was_served_by_kernel(
        &upper.path,
        Some(&upper.work)
    ));
    // From here on they are of plyfs again.
    set_xattr(&stack.upper("d/e/null"), RECORD, "0:0:666:char-1-3");
    stack.open();
    assert_eq!(stack.attr("d/e/null").unwrap().kind, FileKind::Char);
}

#[test]
fn an_upper_directory_that_a_user_named_is_refused_with_what_the_kernels_users_wrote() {
    let mut stack = served_by_kernel();
    stack.records = OverrideStatMode::All;
    let error = plyfs_fs::Overlay::open(&stack.config()).unwrap_err();
    assert_eq!(error.errno(), Errno::PERM);
    let said = error.to_string();
    assert!(
        said.contains(RECORD) && said.contains("user.overlay.plyfs.kernel"),
        "{said}"
    );
    // Without any it is not.
    for path in ["", "d/e/null"] {
        rustix::fs::removexattr(stack.upper(path), RECORD).unwrap();
    }
    rustix::fs::removexattr(stack.upper("d/e"), "user.fuseoverlayfs.opaque").unwrap();
    stack.open();
    let upper = stack.config().upper.unwrap();
    assert!(!plyfs_fs::was_served_by_kernel(
        &upper.path,
        Some(&upper.work)
    ));
}

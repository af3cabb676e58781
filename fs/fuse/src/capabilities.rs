//! What the daemon asks the kernel for when a session starts (`FUSE_INIT`).

use std::io;

use fuser::{InitFlags, KernelConfig};

use super::options::Options;
use super::suppressed::SuppressedRequest;

/// The largest write the kernel is to send at once, in bytes. It has a limit of its own.
const MAX_WRITE: u32 = 1 << 20;

/// Asks for what these options need.
///
/// # Errors
/// `Unsupported` if the kernel has no passthrough and it is an option.
pub(crate) fn negotiate(options: &Options, config: &mut KernelConfig) -> io::Result<()> {
    if options.passthrough {
        require_passthrough(config).ok_or_else(no_passthrough)?;
    }
    for flag in wanted(options) {
        if config.add_capabilities(flag).is_err() {
            log::debug!("this kernel has no {flag:?}");
        }
    }
    if let Err(most) = config.set_max_write(MAX_WRITE) {
        log::debug!("the largest write is {most} bytes");
    }
    Ok(())
}

/// What is good to have.
fn wanted(options: &Options) -> Vec<InitFlags> {
    let sends = |request| options.enabled.has(request);
    let choices = [
        // The file system below applies the mask or the default ACL, whichever holds.
        (true, InitFlags::FUSE_DONT_MASK),
        (true, InitFlags::FUSE_PARALLEL_DIROPS),
        // File handles of a mount (name_to_handle_at(2)) would be numbers that it forgets.
        (true, InitFlags::FUSE_NO_EXPORT_SUPPORT),
        (options.allow_for_changes(), InitFlags::FUSE_AUTO_INVAL_DATA),
        // Data changes only through this mount, so there is nothing to guess from times.
        (
            !options.allow_for_changes(),
            InitFlags::FUSE_EXPLICIT_INVAL_DATA,
        ),
        (
            !sends(SuppressedRequest::Readlink),
            InitFlags::FUSE_CACHE_SYMLINKS,
        ),
        (
            !sends(SuppressedRequest::Opendir),
            InitFlags::FUSE_NO_OPENDIR_SUPPORT,
        ),
        (
            !sends(SuppressedRequest::Lookup),
            InitFlags::FUSE_DO_READDIRPLUS | InitFlags::FUSE_READDIRPLUS_AUTO,
        ),
        // Without it every write asks for capabilities first.
        (
            !sends(SuppressedRequest::Killpriv),
            InitFlags::FUSE_HANDLE_KILLPRIV_V2,
        ),
        (
            !options.passthrough && !sends(SuppressedRequest::Open),
            InitFlags::FUSE_NO_OPEN_SUPPORT,
        ),
        (options.acl, InitFlags::FUSE_POSIX_ACL),
        (options.writeback, InitFlags::FUSE_WRITEBACK_CACHE),
    ];
    let chosen = choices.into_iter().filter(|(wanted, _)| *wanted);
    chosen.map(|(_, flag)| flag).collect()
}

fn require_passthrough(config: &mut KernelConfig) -> Option<()> {
    config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).ok()?;
    // Without it the kernel would open the layer's file with O_TRUNC, and the daemon would not learn of that.
    config
        .add_capabilities(InitFlags::FUSE_ATOMIC_O_TRUNC)
        .ok()?;
    // Passes through what lies on no overlay and no other mount with passthrough; the daemon reads the rest.
    config.set_max_stack_depth(1).ok().map(drop)
}

fn no_passthrough() -> io::Error {
    let why = "this kernel has no FUSE passthrough; leave passthrough= away";
    io::Error::new(io::ErrorKind::Unsupported, why)
}

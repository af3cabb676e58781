//! How owners of files in layers are kept.

use plyfs_store::Ownership;

use crate::error::{CliError, Result};
use crate::{namespace, storage};

/// How owners of files in layers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OwnershipArg {
    Auto,
    Real,
    Override,
}

/// Decides how owners are kept, and enters a user namespace with subordinate ids if that lets them
/// be real.
pub(crate) fn choose_ownership(wanted: OwnershipArg) -> Result<Ownership> {
    if wanted == OwnershipArg::Override {
        return Ok(Ownership::Override);
    }
    if storage::ownership_here() == Ownership::Override
        && !rustix::process::geteuid().is_root()
        && namespace::has_subordinate_ids()
    {
        namespace::enter()?;
    }
    match (storage::ownership_here(), wanted) {
        (Ownership::Override, OwnershipArg::Real) => Err(CliError::new(
            "real owners need subordinate ids: have them set up (subuid(5), subgid(5), package \
             uidmap), or leave --ownership away",
        )),
        (ownership, _) => Ok(ownership),
    }
}

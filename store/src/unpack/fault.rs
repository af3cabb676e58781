//! How the parts of unpacking fail.

use crate::error::EntryFault;

pub(super) type Result<T> = std::result::Result<T, EntryFault>;

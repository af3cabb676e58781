//! When the data of a copy is durable.

use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

use crate::disk::copy_data::Copied;
use crate::disk::write_back::write_back_in_steps;
use crate::error::Result;
use crate::layer::upper::Upper;

impl Upper {
    /// Makes the data of a copy durable, if a power loss could show the copy without it otherwise.
    ///
    /// Where clones are ordered, whatever is done to the copy afterwards is durable only together with
    /// its data.
    pub(crate) fn sync_copy(&self, copy: BorrowedFd<'_>, copied: Copied) -> Result<()> {
        match copied {
            Copied::Nothing => Ok(()),
            Copied::Shared if self.orders_clones => {
                self.shares_at_once.store(true, Ordering::Relaxed);
                Ok(())
            }
            // Every system call counts for small files.
            Copied::Shared | Copied::Bytes if self.in_memory => Ok(()),
            Copied::Shared | Copied::Bytes => {
                // Nor need it be so for the next.
                self.shares_at_once.store(false, Ordering::Relaxed);
                write_back_in_steps(copy)?;
                rustix::fs::fsync(copy)
            }
        }
    }
}

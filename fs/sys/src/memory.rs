//! How memory is allocated and given back (mallopt(3), malloc_trim(3)); without effect where the C
//! library is not glibc.

/// Lets all threads share one heap, which grows and shrinks in large steps.
///
/// A heap for each thread grows page by page, with a system call each, and gives nothing back.
pub fn use_one_heap() {
    #[cfg(target_env = "gnu")]
    {
        const LARGE: libc::c_int = 1 << 20;
        // SAFETY: sets parameters of the allocator, under its own lock.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
            libc::mallopt(libc::M_TOP_PAD, LARGE);
        }
    }
}

/// Gives memory that is not used any more back to the system.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: works on the allocator's own memory, under its own lock.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_on_being_allocated() {
        use_one_heap();
        let blocks: Vec<Vec<u8>> = (0..1000).map(|i| vec![i as u8; 1000]).collect();
        assert!(
            blocks
                .iter()
                .enumerate()
                .all(|(i, block)| block[999] == i as u8)
        );
        drop(blocks);
        give_back();
    }
}

//! Filling a buffer from what may give less than is asked for.

/// Reads until the buffer is full or there is no more, and returns how much there was. `read` gets the position of
/// its buffer in the whole, in bytes.
///
/// # Errors
/// Those of `read`.
pub(crate) fn fill<E>(
    buffer: &mut [u8],
    mut read: impl FnMut(u64, &mut [u8]) -> Result<usize, E>,
) -> Result<usize, E> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match read(done as u64, rest)? {
            0 => break,
            count => done += count,
        }
    }
    Ok(done)
}

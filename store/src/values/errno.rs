//! Error numbers in words.

use rustix::io::Errno;

/// What the C library says of an error number, without its number.
pub(crate) fn reason(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    match text.find(" (os error") {
        Some(end) => text.get(..end).unwrap_or(&text).to_owned(),
        None => text,
    }
}

/// The number behind an error of the standard library; `IO` if it has none.
pub(crate) fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_no_numbers() {
        assert_eq!(reason(Errno::NOENT), "No such file or directory");
        assert_eq!(reason(Errno::NOSPC), "No space left on device");
    }
}

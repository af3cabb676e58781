//! Content-Range of answers, and Range of uploads.

/// The bytes that an answer has, from `start` to before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContentRange {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// The size of the whole, unless the server does not know it.
    pub(crate) total: Option<u64>,
}

impl ContentRange {
    /// Reads `bytes 0-99/200` or `bytes 0-99/*`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.trim().strip_prefix("bytes ")?.trim().split_once('/')?;
        let (start, end) = inclusive(range)?;
        let total = match total {
            "*" => None,
            total => Some(number(total)?),
        };
        let fits = total.is_none_or(|total| end <= total);
        fits.then_some(Self { start, end, total })
    }
}

/// How many bytes an upload has, by its Range: `0-99`, or `bytes=0-99`. `0-0` is none or one byte: registries do not
/// tell these apart.
pub(crate) fn uploaded(text: &str) -> Option<u64> {
    let text = text.trim();
    let (start, end) = inclusive(text.strip_prefix("bytes=").unwrap_or(text))?;
    match (start, end) {
        (0, 1) => Some(0),
        (0, end) => Some(end),
        _ => None,
    }
}

/// Reads `FIRST-LAST` as a start and what is behind the end.
fn inclusive(text: &str) -> Option<(u64, u64)> {
    let (first, last) = text.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last.checked_add(1)?))
}

/// Reads digits alone: `parse` takes a sign, too.
fn number(text: &str) -> Option<u64> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_strictly() {
        let range = |start, end, total| Some(ContentRange { start, end, total });
        assert_eq!(
            ContentRange::parse("bytes 0-99/200"),
            range(0, 100, Some(200))
        );
        assert_eq!(ContentRange::parse("bytes 5-5/*"), range(5, 6, None));
        for bad in [
            "",
            "bytes */200",
            "bytes 9-5/200",
            "bytes 0-200/200",
            "0-1/2",
            "bytes +0-1/2",
            "bytes 0-18446744073709551615/*",
        ] {
            assert_eq!(ContentRange::parse(bad), None, "{bad}");
        }
        assert_eq!(uploaded("0-99"), Some(100));
        assert_eq!(uploaded("bytes=0-99"), Some(100));
        assert_eq!(uploaded("0-0"), Some(0));
        assert_eq!(uploaded("5-9"), None);
    }
}

//! Numbers in headers.

use super::fault::Fault;
use crate::values::Timestamp;

/// A number field: octal digits, or with the highest bit set a binary number (GNU "base-256").
/// An empty field is zero.
pub(super) fn field(bytes: &[u8], name: &'static str) -> Result<u64, Fault> {
    u64::try_from(signed_field(bytes, name)?).map_err(|_| Fault::Range(name))
}

/// As [`field`], but base-256 numbers may be negative: times before 1970 are.
pub(super) fn signed_field(bytes: &[u8], name: &'static str) -> Result<i64, Fault> {
    match bytes.first() {
        Some(first) if first & 0x80 != 0 => base256(bytes).ok_or(Fault::Range(name)),
        _ => octal(bytes).ok_or(Fault::Number(name)),
    }
}

/// Octal digits, after spaces, up to a space, a NUL or the end of the field; behind them may be
/// spaces and NULs only.
fn octal(bytes: &[u8]) -> Option<i64> {
    let start = bytes.iter().position(|&byte| byte != b' ');
    let digits = start.and_then(|start| bytes.get(start..)).unwrap_or(&[]);
    let end = digits
        .iter()
        .position(|byte| matches!(byte, b' ' | 0))
        .unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    if rest.iter().any(|byte| !matches!(byte, b' ' | 0)) {
        return None;
    }
    digits.iter().try_fold(0_i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add((digit - b'0').into()),
        _ => None,
    })
}

/// A big-endian number in two's complement whose highest bit is only a mark; the one below it is
/// the sign.
fn base256(bytes: &[u8]) -> Option<i64> {
    let (first, rest) = bytes.split_first()?;
    // Shifts the mark out and spreads the sign.
    let first = i64::from((first << 1).cast_signed() >> 1);
    rest.iter().try_fold(first, |value, &byte| {
        value.checked_mul(256)?.checked_add(byte.into())
    })
}

/// A decimal number of digits only.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add((digit - b'0').into()),
        _ => None,
    })
}

/// A time in an extended header: seconds, with a sign and a fraction if need be. Digits after the
/// ninth of the fraction are dropped.
pub(super) fn time(text: &[u8]) -> Option<Timestamp> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match text.iter().position(|&byte| byte == b'.') {
        Some(dot) => (text.get(..dot)?, text.get(dot + 1..)?),
        None => (text, &b""[..]),
    };
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanoseconds = (0..9).fold(0, |value, place| {
        value * 10
            + fraction
                .get(place)
                .map_or(0, |digit| u32::from(digit - b'0'))
    });
    Some(match (negative, nanoseconds) {
        (false, _) => Timestamp {
            seconds,
            nanoseconds,
        },
        (true, 0) => Timestamp::from_seconds(-seconds),
        (true, _) => Timestamp {
            seconds: -seconds - 1,
            nanoseconds: 1_000_000_000 - nanoseconds,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_fields_are_digits_and_fill() {
        for (text, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"644", Some(0o644)),
            (b"77777777777\0", Some(0o77_777_777_777)),
            (b"\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"", Some(0)),
            (b"8\0", None),
            (b"-1\0", None),
            (b"+1\0", None),
            (b"0x1\0", None),
            (b"1 2\0", None),
            (b"1\0x", None),
            (b"7777777777777777777777777", None),
        ] {
            assert_eq!(octal(text), value, "{text:?}");
        }
    }

    #[test]
    fn binary_fields_have_a_sign() {
        let field12 = |first: u8, tail: &[u8]| {
            let mut bytes = [if first == 0xff { 0xff } else { 0 }; 12];
            bytes[0] = first;
            bytes[12 - tail.len()..].copy_from_slice(tail);
            base256(&bytes)
        };
        assert_eq!(field12(0x80, &[1, 0]), Some(256));
        assert_eq!(field12(0xff, &[0xff]), Some(-1));
        assert_eq!(field12(0xff, &[0]), Some(-256));
        assert_eq!(
            field12(0x80, &[0x7f, 255, 255, 255, 255, 255, 255, 255]),
            Some(i64::MAX)
        );
        assert_eq!(field12(0x80, &[0x80, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(field12(0xc0, &[0]), None);
        assert_eq!(field(&[0xff; 12], "size"), Err(Fault::Range("size")));
        assert_eq!(signed_field(&[0xff; 12], "mtime"), Ok(-1));
    }

    #[test]
    fn times_have_fractions_and_signs() {
        let at = |seconds, nanoseconds| {
            Some(Timestamp {
                seconds,
                nanoseconds,
            })
        };
        for (text, value) in [
            ("12", at(12, 0)),
            ("12.", at(12, 0)),
            ("12.5", at(12, 500_000_000)),
            ("12.123456789999", at(12, 123_456_789)),
            ("-1", at(-1, 0)),
            ("-0.25", at(-1, 750_000_000)),
            ("", None),
            (".5", None),
            ("1.-5", None),
            ("--1", None),
            ("1e3", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(time(text.as_bytes()), value, "{text}");
        }
    }
}

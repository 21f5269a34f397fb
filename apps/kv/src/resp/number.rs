//! Decimal numbers, as strictly as Redis reads them: no plus sign, no leading zero, no space.

/// The number that `text` is the only spelling of, or `None`.
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    match text {
        [b'-', digits @ ..] => {
            let magnitude = parse_u64(digits).filter(|&magnitude| magnitude > 0)?;
            0i64.checked_sub_unsigned(magnitude)
        }
        digits => parse_u64(digits).and_then(|number| i64::try_from(number).ok()),
    }
}

/// The number without a sign that `text` is the only spelling of, or `None`.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    match text {
        [] => None,
        [b'0'] => Some(0),
        [b'0', ..] => None,
        digits => digits.iter().try_fold(0u64, |number, &digit| {
            let value = digit.checked_sub(b'0').filter(|&value| value <= 9)?;
            number.checked_mul(10)?.checked_add(u64::from(value))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_spelling() {
        for number in [0, 1, -1, 10, i64::MAX, i64::MIN] {
            assert_eq!(parse_i64(number.to_string().as_bytes()), Some(number));
        }
        for text in
            ["", "-", "+1", "01", "-0", "-01", " 1", "1 ", "1a", "9223372036854775808", "1e3"]
        {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_i64(b"-9223372036854775809"), None);
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
    }
}

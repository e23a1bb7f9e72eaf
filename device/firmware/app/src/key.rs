//! Keys that a firmware is built with, from the environment of the build.

/// The bytes of a key in 64 hexadecimal digits.
pub(crate) const fn of_digits(digits: &[u8]) -> Option<[u8; 32]> {
    const fn digit(byte: u8) -> Option<u8> {
        match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            b'A'..=b'F' => Some(byte - b'A' + 10),
            _ => None,
        }
    }
    if digits.len() != 64 {
        return None;
    }
    let mut key = [0; 32];
    let mut at = 0;
    while at < 32 {
        match (digit(digits[2 * at]), digit(digits[2 * at + 1])) {
            (Some(high), Some(low)) => key[at] = high << 4 | low,
            _ => return None,
        }
        at += 1;
    }
    Some(key)
}

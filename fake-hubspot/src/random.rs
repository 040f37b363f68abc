//! Randomness, and the format of HubSpot's codes and refresh tokens.

/// Returns an array of random bytes.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

/// Fills the slice with random bytes.
pub(crate) fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system returns random bytes");
}

/// Formats `na1-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`: a data center's name, then sixteen bytes.
pub(crate) fn na1(bytes: [u8; 16]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(40);
    text.push_str("na1-");
    for (at, byte) in bytes.into_iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
    text
}

/// Returns the sixteen bytes of a text that [`na1`] wrote.
pub(crate) fn from_na1(text: &str) -> Option<[u8; 16]> {
    let mut digits = text
        .strip_prefix("na1-")?
        .chars()
        .filter(|letter| *letter != '-')
        .map(|letter| letter.to_digit(16).and_then(|digit| u8::try_from(digit).ok()));
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        *byte = digits.next()?? << 4 | digits.next()??;
    }
    digits.next().is_none().then_some(bytes)
}

//! Text in a fixed number of bytes, ended by a zero byte.

/// The longest prefix of `text` that fits, cut between characters, and its zero byte.
///
/// A zero byte within `text` ends it.
pub fn fixed<const N: usize>(text: &str) -> [i8; N] {
    let mut fixed = [0; N];
    let end = text.floor_char_boundary(N - 1);
    for (to, from) in fixed.iter_mut().zip(&text.as_bytes()[..end]) {
        *to = from.cast_signed();
    }
    fixed
}

/// The bytes before the zero byte.
pub fn bytes<const N: usize>(fixed: &[i8; N]) -> impl Iterator<Item = u8> {
    fixed
        .iter()
        .map(|byte| byte.cast_unsigned())
        .take_while(|byte| *byte != 0)
}

#[cfg(test)]
mod tests {
    use super::{bytes, fixed};

    fn kept<const N: usize>(text: &str) -> bool {
        bytes(&fixed::<N>(text)).eq(text.bytes())
    }

    #[test]
    fn keeps_what_fits() {
        assert!(kept::<4>(""));
        assert!(kept::<4>("abc"));
    }

    #[test]
    fn cuts_between_characters() {
        assert!(bytes(&fixed::<4>("abcd")).eq("abc".bytes()));
        assert!(bytes(&fixed::<4>("abé")).eq("ab".bytes()));
        assert!(bytes(&fixed::<4>("aé")).eq("aé".bytes()));
    }
}

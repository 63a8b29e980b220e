//! Searches that look at eight octets at once, as one word.
//!
//! A difference sets the highest bit of each octet that borrows. A borrow spreads to the octets behind alone, so that
//! the first octet that is marked is marked rightly.

const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

/// The position of the first control character but DEL.
#[inline]
pub(crate) fn find_control(text: &[u8]) -> Option<usize> {
    find(
        text,
        |word| word.wrapping_sub(0x20 * ONES) & !word & HIGH,
        |octet| octet < 0x20,
    )
}

/// The position of the first such octet.
#[inline]
pub(crate) fn find_octet(text: &[u8], wanted: u8) -> Option<usize> {
    find(
        text,
        |word| {
            let word = word ^ (u64::from(wanted) * ONES);
            word.wrapping_sub(ONES) & !word & HIGH
        },
        |octet| octet == wanted,
    )
}

#[inline(always)]
fn find(text: &[u8], marks: impl Fn(u64) -> u64, is: impl Fn(u8) -> bool) -> Option<usize> {
    let (words, rest) = text.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let marks = marks(u64::from_le_bytes(*word));
        if marks != 0 {
            return Some(8 * number + marks.trailing_zeros() as usize / 8);
        }
    }
    let found = rest.iter().position(|octet| is(*octet));
    found.map(|at| text.len() - rest.len() + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every octet at every place of a word and of the rest behind it, before and behind every other octet.
    #[test]
    fn as_octet_by_octet() {
        for length in [3, 8, 11, 16] {
            for place in 0..length {
                for octet in 0..=u8::MAX {
                    let mut text = vec![b'a'; length];
                    text[place] = octet;
                    for next in [octet.wrapping_add(1), octet.wrapping_sub(1), 0x80, 0xFF, 0] {
                        if let Some(behind) = text.get_mut(place + 1) {
                            *behind = next;
                        }
                        let control = text.iter().position(|octet| *octet < 0x20);
                        assert_eq!(find_control(&text), control, "{text:?}");
                        let colon = text.iter().position(|octet| *octet == b':');
                        assert_eq!(find_octet(&text, b':'), colon, "{text:?}");
                    }
                }
            }
        }
    }
}

//! Searches that look at a block of octets at once.
//!
//! The length of a word cannot be foretold: a loop over its octets costs more in the one mispredicted branch at its
//! end than in instructions. A block costs the same wherever the word ends in it.

use wide::u8x16;

/// Octets that are looked at together.
pub(crate) type Block = [u8; 16];

/// Marks the octets from `first` to `last`.
#[inline(always)]
pub(crate) fn in_range(octets: u8x16, first: u8, last: u8) -> u8x16 {
    (octets - u8x16::splat(first)).simd_le(u8x16::splat(last - first))
}

/// Marks the octets of the set.
#[inline(always)]
pub(crate) fn any_of<const N: usize>(octets: u8x16, set: &[u8; N]) -> u8x16 {
    set.iter().fold(u8x16::ZERO, |marks, octet| {
        marks | octets.simd_eq(u8x16::splat(*octet))
    })
}

/// The position of the first control character but DEL.
#[inline]
pub(crate) fn find_control(text: &[u8]) -> Option<usize> {
    find(
        text,
        |octets| in_range(octets, 0, 0x1F),
        |octet| octet < 0x20,
    )
}

/// The position of the first such octet.
#[inline]
pub(crate) fn find_octet(text: &[u8], wanted: u8) -> Option<usize> {
    find(
        text,
        |octets| any_of(octets, &[wanted]),
        |octet| octet == wanted,
    )
}

#[inline(always)]
fn find(text: &[u8], marks: impl Fn(u8x16) -> u8x16, is: impl Fn(u8) -> bool) -> Option<usize> {
    let (blocks, rest) = text.as_chunks();
    for (number, block) in blocks.iter().enumerate() {
        let marks = marks(u8x16::new(*block)).to_bitmask();
        if marks != 0 {
            return Some(number * size_of::<Block>() + marks.trailing_zeros() as usize);
        }
    }
    let found = rest.iter().position(|octet| is(*octet));
    found.map(|at| text.len() - rest.len() + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every octet at every place of a block and of the rest behind it.
    #[test]
    fn as_octet_by_octet() {
        for length in [3, 16, 21, 32] {
            for place in 0..length {
                for octet in 0..=u8::MAX {
                    let mut text = vec![b'a'; length];
                    text[place] = octet;
                    let control = text.iter().position(|octet| *octet < 0x20);
                    assert_eq!(find_control(&text), control, "{text:?}");
                    let colon = text.iter().position(|octet| *octet == b':');
                    assert_eq!(find_octet(&text, b':'), colon, "{text:?}");
                }
            }
        }
    }
}

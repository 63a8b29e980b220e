//! The character classes of the grammar, as one table of bits.

use crate::simd::{Block, any_of, in_range};
use wide::u8x16;

/// A set of octets: one or more bits of [`TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class(u32);

impl Class {
    /// `DIGIT`
    pub const DIGIT: Class = Class(1);
    /// `WSP = SP / HTAB`: what is left of `LWS` once the folds are gone.
    pub const WSP: Class = Class(1 << 1);
    /// `token = 1*(alphanum / "-" / "." / "!" / "%" / "*" / "_" / "+" / "`" / "'" / "~")`
    pub const TOKEN: Class = Class(1 << 2);
    /// Octets of a Call-ID: all visible ones, and octets from 0x80. RFC 3261 §25.1 has fewer (`word`), and
    /// §20.8 compares a Call-ID octet by octet: to every receiver it is opaque.
    pub const VISIBLE: Class = Class(1 << 3);
    /// `hostname`, `IPv4address`: alphanum, `-`, `.`; and `_`, which the field uses and DNS carries.
    pub const HOST: Class = Class(1 << 4);
    /// `user`, `password` but for `escaped`: unreserved, `& = + $ , ; ? /` and the colon between the two
    pub const USERINFO: Class = Class(1 << 5);
    /// The same as the field sends it, `#` above all (`sip:*#100@h`): all visible octets but `@ < > " [ ] \`
    /// and the `%` of an escape, and octets from 0x80
    pub const USER: Class = Class(1 << 16);
    /// `uri-parameters` but for `escaped`: unreserved, `[ ] / : & + $` and the `;` and `=` between them
    pub const URI_PARAM: Class = Class(1 << 6);
    /// `headers` of a URI but for `escaped`: unreserved, `[ ] / ? : + $`, the `&` and `=` between them, and the
    /// `@` and `;` that clients forget to escape in `?Replaces=`
    pub const URI_HEADER: Class = Class(1 << 7);
    /// `uric` of RFC 2396 but for `escaped`: unreserved and reserved; and the `[ ] #` of RFC 3986
    pub const URIC: Class = Class(1 << 8);
    /// `qdtext`: what stands in quotes but for `"` and `\`; any octet from 0x80 up, UTF-8 or not
    pub const QDTEXT: Class = Class(1 << 9);
    /// `TEXT-UTF8char` and blanks: all but control characters
    pub const TEXT: Class = Class(1 << 10);
    /// A parameter's value without quotes: `token`, `host`, and what else the field sends there;
    /// all visible octets but `" , ; < > \`, and octets from 0x80
    pub const VALUE: Class = Class(1 << 11);
    /// Octets of an unquoted display name: all text but `< > , ; "`. RFC 3261 §25.1 has tokens and blanks;
    /// softphones send raw UTF-8, `&`, `/`, `$` and `@` there.
    pub const DISPLAY: Class = Class(1 << 12);
    /// `ctext` but for the quoted pair and the nested comment
    pub const COMMENT: Class = Class(1 << 13);
    /// `HEXDIG`
    pub const HEX: Class = Class(1 << 14);
    /// `scheme` after its first letter: alphanum, `+`, `-`, `.`
    pub const SCHEME: Class = Class(1 << 15);

    /// Whether the set has this octet.
    #[inline(always)]
    pub fn has(self, octet: u8) -> bool {
        TABLE[octet as usize] & self.0 != 0
    }

    /// Whether all octets of the text are of the set.
    ///
    /// ```
    /// use sip_parser::Class;
    /// assert!(Class::TOKEN.all(b"z9hG4bK776asdhds"));
    /// assert!(!Class::TOKEN.all(b"z9hG4bK776;asdhds"));
    /// ```
    #[inline]
    pub fn all(self, text: &[u8]) -> bool {
        let (blocks, rest) = text.as_chunks();
        let each = |octets: &[u8]| {
            octets
                .iter()
                .fold(true, |all, octet| all & self.has(*octet))
        };
        blocks
            .iter()
            .all(|block: &Block| each(&block[self.usual_of(block)..]))
            && each(rest)
    }

    /// How many octets of the set `block` begins with, or fewer: of those only that are most of such text.
    #[inline(always)]
    pub(crate) fn usual_of(self, block: &Block) -> usize {
        let octets = u8x16::new(*block);
        let letters = || in_range(octets | u8x16::splat(0x20), b'a', b'z');
        let digits = || in_range(octets, b'0', b'9');
        let usual = match self {
            Class::TEXT | Class::QDTEXT | Class::COMMENT => {
                !(in_range(octets, 0, 0x1F) | any_of(octets, b"\"\\()\x7F"))
            }
            Class::URI_PARAM | Class::URI_HEADER | Class::URIC => {
                letters() | in_range(octets, b'-', b':') | any_of(octets, b"=")
            }
            Class::DIGIT | Class::HEX => digits(),
            Class::WSP => any_of(octets, b" \t"),
            _ => letters() | digits() | in_range(octets, b'-', b'.'),
        };
        (!usual.to_bitmask()).trailing_zeros() as usize
    }
}

const UNRESERVED: &[u8] = b"-_.!~*'()";

static TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        table[octet] = classes(octet as u8);
        octet += 1;
    }
    table
}

const fn classes(octet: u8) -> u32 {
    let alphanum = octet.is_ascii_alphanumeric();
    let unreserved = alphanum || among(UNRESERVED, octet);
    let token = alphanum || among(b"-.!%*_+`'~", octet);
    let blank = octet == b' ' || octet == b'\t';
    let visible = octet > 0x20 && octet < 0x7F;
    let text = visible || blank || octet >= 0x80;
    bit(Class::DIGIT, octet.is_ascii_digit())
        | bit(Class::WSP, blank)
        | bit(Class::TOKEN, token)
        | bit(Class::VISIBLE, visible || octet >= 0x80)
        | bit(Class::HOST, alphanum || among(b"-._", octet))
        | bit(Class::USERINFO, unreserved || among(b"&=+$,;?/:", octet))
        | bit(
            Class::USER,
            (visible || octet >= 0x80) && !among(b"@<>\"[]\\%", octet),
        )
        | bit(Class::URI_PARAM, unreserved || among(b"[]/:&+$;=", octet))
        | bit(
            Class::URI_HEADER,
            unreserved || among(b"[]/?:+$&=@;", octet),
        )
        | bit(Class::URIC, unreserved || among(b";/?:@&=+$,[]#", octet))
        | bit(Class::QDTEXT, text && octet != b'"' && octet != b'\\')
        | bit(Class::TEXT, text)
        | bit(
            Class::VALUE,
            (visible || octet >= 0x80) && !among(b"\",;<>\\", octet),
        )
        | bit(Class::DISPLAY, text && !among(b"<>,;\"", octet))
        | bit(Class::COMMENT, text && !among(b"()\\", octet))
        | bit(Class::HEX, octet.is_ascii_hexdigit())
        | bit(Class::SCHEME, alphanum || among(b"+-.", octet))
}

const fn bit(class: Class, member: bool) -> u32 {
    if member { class.0 } else { 0 }
}

const fn among(set: &[u8], octet: u8) -> bool {
    let mut index = 0;
    while index < set.len() {
        if set[index] == octet {
            return true;
        }
        index += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(class: Class) -> String {
        (0x21..0x7F)
            .filter(|octet| class.has(*octet))
            .map(char::from)
            .collect()
    }

    #[test]
    fn rfc3261_25_1_token() {
        let alphanum = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut expected: Vec<char> = format!("-.!%*_+`'~{alphanum}").chars().collect();
        expected.sort();
        assert_eq!(
            members(Class::TOKEN),
            expected.into_iter().collect::<String>()
        );
        assert!(!Class::TOKEN.has(b' ') && !Class::TOKEN.has(0x80) && !Class::TOKEN.has(0));
    }

    #[test]
    fn rfc3261_25_1_quoted_text_has_no_control_character() {
        for octet in 0..0x20 {
            assert_eq!(Class::QDTEXT.has(octet), octet == b'\t', "{octet}");
            assert_eq!(Class::TEXT.has(octet), octet == b'\t', "{octet}");
        }
        assert!(!Class::QDTEXT.has(0x7F) && !Class::TEXT.has(0x7F));
        assert!(Class::QDTEXT.has(0xC3));
    }

    #[test]
    fn what_is_usual_is_of_the_class() {
        for class in (0..17).map(|bit| Class(1 << bit)) {
            for octet in 0..=u8::MAX {
                let usual = class.usual_of(&[octet; 16]);
                assert!(usual == 0 || class.has(octet), "{class:?} {octet}");
            }
        }
    }

    /// One octet of any kind among usual ones, in a block and behind it.
    #[test]
    fn all_is_as_octet_by_octet() {
        for class in (0..17).map(|bit| Class(1 << bit)) {
            let usual = (0..=u8::MAX).find(|octet| class.has(*octet)).unwrap();
            for (length, place) in [(3, 1), (16, 0), (16, 9), (21, 15), (21, 20), (32, 31)] {
                for octet in 0..=u8::MAX {
                    let mut text = vec![usual; length];
                    text[place] = octet;
                    assert_eq!(class.all(&text), class.has(octet), "{class:?} {text:?}");
                }
            }
        }
    }

    #[test]
    fn rfc3261_19_1_2_component_sets() {
        for octet in b"<>\" %#^`{|}" {
            assert!(!Class::USERINFO.has(*octet), "{octet}");
            assert!(!Class::URI_PARAM.has(*octet), "{octet}");
            assert!(!Class::URI_HEADER.has(*octet), "{octet}");
        }
        assert!(!Class::USERINFO.has(b'@') && !Class::URI_PARAM.has(b'@'));
        assert!(Class::URI_HEADER.has(b'?') && !Class::URI_PARAM.has(b'?'));
    }

    #[test]
    fn a_user_part_as_the_field_sends_it() {
        for octet in 0..=u8::MAX {
            let refused = octet <= 0x20 || octet == 0x7F || b"@<>\"[]\\%".contains(&octet);
            assert_eq!(Class::USER.has(octet), !refused, "{octet}");
            assert!(
                !Class::USERINFO.has(octet) || Class::USER.has(octet),
                "{octet}"
            );
        }
    }
}

//! The octet classes that printing needs. Everything that goes out passes one of these checks, once a piece: no
//! value can end a header line or start another, and none is printed that the parser would refuse.

use super::{Place, Printed, Printer, Stopped, Wanted};
use crate::term::Raw;
use sip_parser::Class;

const TEXT: Wanted = Wanted::Words("text");
const TOKEN: Wanted = Wanted::Words("a token");
const WORD: Wanted = Wanted::Words("a word without blanks");
const LINE: Wanted = Wanted::Words("text without CR, LF or NUL");
const PRINTABLE: Wanted = Wanted::Words("text without control characters");
const NO_LINE_END: Wanted = Wanted::Words("text without CR or LF");
const TOKEN68: Wanted = Wanted::Words("base64 or another token68");

/// Whether all octets are good; without a way out, as texts are short and refusals rare.
#[inline]
fn each(text: &[u8], good: impl Fn(u8) -> bool) -> bool {
    text.iter().fold(true, |all, octet| all & good(*octet))
}

#[inline]
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && Class::TOKEN.all(text)
}

/// Whether the parser reads the text back as it is, where it stands as a value without quotes.
#[inline]
pub(super) fn is_bare(text: &[u8]) -> bool {
    !text.is_empty() && Class::VALUE.all(text)
}

/// What no line may hold. The parser hands on all else where it reads raw text.
#[inline]
pub(super) fn is_line(text: &[u8]) -> bool {
    each(text, |octet| octet != b'\r' && octet != b'\n' && octet != 0)
}

/// Whether all that is not of the class is an escape: `"%" HEXDIG HEXDIG`.
pub(super) fn is_escaped(class: Class, mut text: &[u8]) -> bool {
    loop {
        text = match text {
            [] => return true,
            [b'%', high, low, rest @ ..] if Class::HEX.has(*high) && Class::HEX.has(*low) => rest,
            [octet, rest @ ..] if class.has(*octet) => rest,
            _ => return false,
        }
    }
}

/// RFC7235§2.1 - `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`
fn is_token68(text: &[u8]) -> bool {
    let padding = text
        .iter()
        .rev()
        .take_while(|octet| **octet == b'=')
        .count();
    let digits = &text[..text.len() - padding];
    let digit = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~+/".contains(&octet);
    !digits.is_empty() && each(digits, digit)
}

impl<'a> Printer<'a> {
    pub(super) fn token(&mut self, term: Raw<'a>) -> Result<&'a [u8], Stopped> {
        let text = self.octets(term, TOKEN)?;
        match is_token(text) {
            true => self.put(text),
            false => return Err(self.refused(TOKEN, term)),
        }
        Ok(text)
    }

    /// RFC3261§25.1 - TEXT-UTF8-TRIM and Reason-Phrase: all but control characters
    pub(super) fn text(&mut self, term: Raw<'a>) -> Printed {
        let text = self.octets(term, TEXT)?;
        match Class::TEXT.all(text) {
            true => self.put(text),
            false if is_line(text) => return self.refuse(PRINTABLE, term),
            false => return self.refuse(LINE, term),
        }
        Ok(())
    }

    /// Text of which nothing is known: it may hold all but CR, LF and NUL.
    pub(super) fn line_text(&mut self, term: Raw<'a>, wanted: Wanted) -> Printed {
        let text = self.octets(term, wanted)?;
        match is_line(text) {
            true => self.put(text),
            false => return self.refuse(LINE, term),
        }
        Ok(())
    }

    /// A word that stands without quotes whatever it is.
    pub(super) fn word(&mut self, term: Raw<'a>) -> Printed {
        let text = self.octets(term, WORD)?;
        match is_bare(text) {
            true => self.put(text),
            false => return self.refuse(WORD, term),
        }
        Ok(())
    }

    pub(super) fn token68(&mut self, term: Raw<'a>) -> Printed {
        let text = self.octets(term, TOKEN68)?;
        match is_token68(text) {
            true => self.put(text),
            false => return self.refuse(TOKEN68, term),
        }
        Ok(())
    }

    /// The value of a parameter, or a word: as it is where that is read back as it is, else in quotes.
    #[inline]
    pub(super) fn param_value(&mut self, text: &'a [u8], term: Raw<'a>) -> Printed {
        match is_bare(text) {
            true => self.put(text),
            false => return self.quoted_text(text, term),
        }
        Ok(())
    }

    pub(super) fn quoted(&mut self, term: Raw<'a>) -> Printed {
        let text = self.octets(term, TEXT)?;
        self.quoted_text(text, term)
    }

    /// A quoted string. `"`, `\` and control characters become quoted pairs; CR and LF have no quoted form.
    ///
    /// A NUL has one, and RFC 4475 §3.1.1.2 sends it: what was read must be handed on. But it never goes out, as
    /// programs in C cut a text there; it is left out.
    pub(super) fn quoted_text(&mut self, text: &[u8], term: Raw<'a>) -> Printed {
        self.enclosed(b'"', text, b'"', Class::QDTEXT, term)
    }

    /// A comment; parentheses inside become quoted pairs.
    pub(super) fn comment(&mut self, term: Raw<'a>) -> Printed {
        let text = self.octets(term, TEXT)?;
        self.enclosed(b'(', text, b')', Class::COMMENT, term)
    }

    fn enclosed(
        &mut self,
        open: u8,
        text: &[u8],
        close: u8,
        plain: Class,
        term: Raw<'a>,
    ) -> Printed {
        self.out.push(open);
        if plain.all(text) {
            self.put(text);
        } else {
            for octet in text {
                match octet {
                    b'\r' | b'\n' => return self.refuse(NO_LINE_END, term),
                    0 => {}
                    octet if plain.has(*octet) => self.out.push(*octet),
                    // RFC3261§25.1 - quoted-pair has no octets from 0x80 on
                    0x80.. => return self.refuse(TEXT, term),
                    octet => self.out.extend_from_slice(&[b'\\', *octet]),
                }
            }
        }
        self.out.push(close);
        Ok(())
    }

    /// Prints with another name of the place for the error.
    pub(super) fn at<T>(
        &mut self,
        place: &'static str,
        print: impl FnOnce(&mut Self) -> Result<T, Stopped>,
    ) -> Result<T, Stopped> {
        let before = std::mem::replace(&mut self.place, Place::Words(place));
        let printed = print(self);
        if printed.is_ok() {
            self.place = before;
        }
        printed
    }
}

//! The octet classes that printing needs. Everything that goes out passes one of these checks, once a piece: no
//! value can end a header line or start another.

use super::{Place, Printed, Printer, Stopped, Wanted};
use crate::term::Raw;
use sip_parser::Class;

const TEXT: Wanted = Wanted::Words("text");
const TOKEN: Wanted = Wanted::Words("a token");
const WORD: Wanted = Wanted::Words("a word without blanks");
const LINE: Wanted = Wanted::Words("text without CR, LF or NUL");
const NO_LINE_END: Wanted = Wanted::Words("text without CR or LF");
const URI: Wanted = Wanted::Words("text without blanks, \"<\" or \">\"");
const HOST: Wanted = Wanted::Words("a host");

/// Whether all octets are good; without a way out, as texts are short and refusals rare.
#[inline]
fn each(text: &[u8], good: impl Fn(u8) -> bool) -> bool {
    text.iter().fold(true, |all, octet| all & good(*octet))
}

#[inline]
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && Class::TOKEN.all(text)
}

/// What no line may hold. HTAB and the other controls can't end a line and are let through in text.
#[inline]
fn is_line(text: &[u8]) -> bool {
    each(text, |octet| octet != b'\r' && octet != b'\n' && octet != 0)
}

/// Whether the text can stand in a URI between `<` and `>`, or in a request line.
#[inline]
pub(super) fn is_uri(text: &[u8]) -> bool {
    each(text, |octet| {
        octet > 0x20 && octet != b'<' && octet != b'>' && octet != 0x7F
    })
}

/// Whether all octets can be an IPv6 address's.
fn is_address(text: &[u8]) -> bool {
    each(text, |octet| {
        octet.is_ascii_hexdigit() || octet == b':' || octet == b'.'
    })
}

/// `[2001:db8::1]`
fn is_reference(text: &[u8]) -> bool {
    match text {
        [b'[', address @ .., b']'] => !address.is_empty() && is_address(address),
        _ => false,
    }
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

    /// Text that may hold all but CR, LF and NUL.
    pub(super) fn text(&mut self, term: Raw<'a>) -> Printed {
        let text = self.octets(term, TEXT)?;
        match is_line(text) {
            true => self.put(text),
            false => return self.refuse(LINE, term),
        }
        Ok(())
    }

    /// A word without quotes: not empty, no control characters and no blanks.
    pub(super) fn word(&mut self, term: Raw<'a>) -> Printed {
        let text = self.octets(term, WORD)?;
        match !text.is_empty() && each(text, |octet| octet > 0x20 && octet != 0x7F) {
            true => self.put(text),
            false => return self.refuse(WORD, term),
        }
        Ok(())
    }

    /// A part of a URI, which stands as it is; `term` is for the error.
    pub(super) fn uri_text(&mut self, text: &[u8], term: Raw<'a>) -> Printed {
        match is_uri(text) {
            true => self.put(text),
            false => return self.refuse(URI, term),
        }
        Ok(())
    }

    /// A host as it stands before a port: an IPv6 address gets its brackets.
    pub(super) fn host(&mut self, term: Raw<'a>) -> Printed {
        let text = self.octets(term, HOST)?;
        if !text.is_empty() && (Class::HOST.all(text) || is_reference(text)) {
            self.put(text);
        } else if text.contains(&b':') && is_address(text) {
            self.out.push(b'[');
            self.put(text);
            self.out.push(b']');
        } else {
            return self.refuse(HOST, term);
        }
        Ok(())
    }

    /// The value of a parameter: as it is where it is a token or an IPv6 reference, else in quotes.
    #[inline]
    pub(super) fn param_value(&mut self, text: &'a [u8], term: Raw<'a>) -> Printed {
        match is_token(text) || is_reference(text) {
            true => self.put(text),
            false => return self.quoted_text(text, term),
        }
        Ok(())
    }

    /// The value of a parameter that is an address: as it is with colons and brackets too.
    pub(super) fn address_value(&mut self, text: &'a [u8], term: Raw<'a>) -> Printed {
        let part = |octet: u8| Class::TOKEN.has(octet) || matches!(octet, b':' | b'[' | b']');
        match each(text, part) {
            true => self.put(text),
            false => return self.param_value(text, term),
        }
        Ok(())
    }

    pub(super) fn quoted(&mut self, term: Raw<'a>) -> Printed {
        let text = self.octets(term, TEXT)?;
        self.quoted_text(text, term)
    }

    /// A quoted string. `"`, `\` and control characters become quoted pairs. So does NUL, which the grammar
    /// allows there (RFC 4475 §3.1.1.2 sends one); CR and LF have no quoted form.
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
                    octet if plain.has(*octet) => self.out.push(*octet),
                    octet => self.out.extend_from_slice(&[b'\\', *octet]),
                }
            }
        }
        self.out.push(close);
        Ok(())
    }

    /// Prints with another name of the place for the error.
    pub(super) fn at(
        &mut self,
        place: &'static str,
        print: impl FnOnce(&mut Self) -> Printed,
    ) -> Printed {
        let before = std::mem::replace(&mut self.place, Place::Words(place));
        let printed = print(self);
        if printed.is_ok() {
            self.place = before;
        }
        printed
    }
}

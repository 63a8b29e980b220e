//! A reading position in the text of one header value, with the terminals of the grammar.
//!
//! Folds are gone before a cursor sees the text, so `LWS` is blanks.

use crate::chars::Class;
use crate::error::{Fault, Parsed};
use crate::fold::ESCAPED_FOLD;
use crate::tree::{Span, Text};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    /// The message, which mostly goes on behind the value.
    whole: &'a [u8],
    /// The message up to the end of this value, so that positions are those of the message.
    text: &'a [u8],
    pos: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    pub(crate) fn new(text: &'a [u8], span: Span) -> Cursor<'a> {
        Cursor {
            whole: text,
            text: &text[..span.end as usize],
            pos: span.start as usize,
        }
    }

    #[inline]
    pub(crate) fn pos(&self) -> usize {
        self.pos
    }

    #[inline]
    pub(crate) fn set_pos(&mut self, pos: usize) {
        self.pos = pos;
    }

    /// Passes over all that is left.
    pub(crate) fn set_end(&mut self) {
        self.pos = self.text.len();
    }

    /// The span without the blanks at its end.
    pub(crate) fn trim_end(&self, span: Span) -> Span {
        let blanks = |text: &[u8]| {
            let octets = text.iter().rev();
            octets.take_while(|octet| Class::WSP.has(**octet)).count()
        };
        Span {
            end: span.end - blanks(self.bytes(span)) as u32,
            ..span
        }
    }

    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.text[self.pos..]
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.get(self.pos).copied()
    }

    #[inline]
    pub(crate) fn at_end(&self) -> bool {
        self.pos >= self.text.len()
    }

    #[inline]
    pub(crate) fn bytes(&self, span: Span) -> &'a [u8] {
        span.of(self.text)
    }

    /// A cursor at this position whose text ends at `end`.
    #[inline]
    pub(crate) fn until(&self, end: usize) -> Cursor<'a> {
        Cursor {
            whole: self.whole,
            text: &self.text[..end],
            pos: self.pos,
        }
    }

    /// The text from `start` to here.
    #[inline]
    pub(crate) fn since(&self, start: usize) -> Span {
        Span::new(start, self.pos)
    }

    #[inline]
    pub(crate) fn fault<T>(&self) -> Parsed<T> {
        Err(Fault::Malformed(self.pos))
    }

    /// Takes this octet if it is next.
    #[inline]
    pub(crate) fn take(&mut self, octet: u8) -> bool {
        let found = self.peek() == Some(octet);
        self.pos += usize::from(found);
        found
    }

    /// Wants this octet next.
    #[inline]
    pub(crate) fn expect(&mut self, octet: u8) -> Parsed<()> {
        if self.take(octet) {
            Ok(())
        } else {
            self.fault()
        }
    }

    /// Takes this separator if it is next, with the `LWS` that may stand around it
    /// (`EQUAL`, `SEMI`, `COMMA`, `SLASH`, `COLON` of RFC 3261 §25.1).
    #[inline]
    pub(crate) fn take_separator(&mut self, octet: u8) -> bool {
        let start = self.pos;
        if !self.take(octet) {
            self.skip_blanks();
            if self.pos == start || !self.take(octet) {
                self.pos = start;
                return false;
            }
        }
        self.skip_blanks();
        true
    }

    #[inline]
    pub(crate) fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.pos += 1;
        }
    }

    /// Wants `LWS`.
    #[inline]
    pub(crate) fn blanks(&mut self) -> Parsed<()> {
        let start = self.pos;
        self.skip_blanks();
        if self.pos == start {
            self.fault()
        } else {
            Ok(())
        }
    }

    /// Takes all octets of the class that come next, perhaps none.
    #[inline]
    pub(crate) fn run(&mut self, class: Class) -> Span {
        let start = self.pos;
        while let Some(block) = self.whole[self.pos..].first_chunk() {
            let usual = class.usual_of(block);
            self.pos += usual;
            if self.pos >= self.text.len() {
                self.pos = self.text.len();
                return Span::new(start, self.pos);
            }
            // Octets that are not usual may come one after the other: the rest of the block is looked at once.
            for octet in &block[usual..] {
                if self.at_end() || !class.has(*octet) {
                    return Span::new(start, self.pos);
                }
                self.pos += 1;
            }
        }
        let rest = &self.text[self.pos..];
        let length = rest.iter().position(|octet| !class.has(*octet));
        self.pos += length.unwrap_or(rest.len());
        Span::new(start, self.pos)
    }

    /// Takes one or more octets of the class.
    #[inline]
    pub(crate) fn some(&mut self, class: Class) -> Parsed<Span> {
        let span = self.run(class);
        if span.is_empty() {
            self.fault()
        } else {
            Ok(span)
        }
    }

    #[inline]
    pub(crate) fn token(&mut self) -> Parsed<Span> {
        self.some(Class::TOKEN)
    }

    /// Takes octets of the class and `escaped = "%" HEXDIG HEXDIG`.
    #[inline]
    pub(crate) fn run_escaped(&mut self, class: Class) -> Parsed<Span> {
        let start = self.pos;
        self.run(class);
        while self.peek() == Some(b'%') {
            match self.text.get(self.pos + 1..self.pos + 3) {
                Some([high, low]) if Class::HEX.has(*high) && Class::HEX.has(*low) => {
                    self.pos += 3;
                    self.run(class);
                }
                _ => return self.fault(),
            }
        }
        Ok(self.since(start))
    }

    /// Takes `1*DIGIT` up to `most`; a larger number is a fault, as is one that would not fit.
    #[inline]
    pub(crate) fn number(&mut self, most: u32) -> Parsed<u32> {
        let start = self.pos;
        let mut value: u64 = 0;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            value = value * 10 + u64::from(digit - b'0');
            if value > u64::from(most) {
                return Err(Fault::Malformed(start));
            }
            self.pos += 1;
        }
        if self.pos == start {
            self.fault()
        } else {
            Ok(value as u32)
        }
    }

    /// Takes a `quoted-string`, its opening quote being next. The text comes without its quotes.
    #[inline]
    pub(crate) fn quoted_string(&mut self) -> Parsed<Text> {
        self.expect(b'"')?;
        let (text, closing) = self.escapable(Class::QDTEXT)?;
        if closing != b'"' {
            return self.fault();
        }
        self.pos += 1;
        Ok(text)
    }

    /// Takes octets of the class and `quoted-pair`s, up to an octet that is neither; gives that too.
    fn escapable(&mut self, class: Class) -> Parsed<(Text, u8)> {
        let start = self.pos;
        let mut escaped = false;
        loop {
            self.run(class);
            match self.peek() {
                Some(b'\\') => {
                    escaped = true;
                    self.pos += 1;
                    self.quoted_pair()?;
                }
                Some(octet) => {
                    return Ok((
                        Text {
                            span: self.since(start),
                            escaped,
                        },
                        octet,
                    ));
                }
                None => return self.fault(),
            }
        }
    }

    /// `quoted-pair = "\" (%x00-09 / %x0B-0C / %x0E-7F)`, its `\` being taken. Some senders escape octets from 0x80
    /// too; of these the one that stands for a fold is refused.
    fn quoted_pair(&mut self) -> Parsed<()> {
        match self.peek() {
            Some(octet) if !matches!(octet, b'\r' | b'\n' | ESCAPED_FOLD) => {
                self.pos += 1;
                Ok(())
            }
            _ => self.fault(),
        }
    }

    /// Takes a `comment`, its opening parenthesis being next; comments nest. The text comes without
    /// the outer parentheses. Depth is a counter, so that no nesting exhausts a stack.
    pub(crate) fn comment(&mut self) -> Parsed<Text> {
        self.expect(b'(')?;
        let start = self.pos;
        let mut depth = 1;
        let mut escaped = false;
        loop {
            let (text, octet) = self.escapable(Class::COMMENT)?;
            escaped |= text.escaped;
            match octet {
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => return self.fault(),
            }
            if depth == 0 {
                let text = Text {
                    span: self.since(start),
                    escaped,
                };
                self.pos += 1;
                return Ok(text);
            }
            self.pos += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(text: &str) -> Cursor<'_> {
        Cursor::new(text.as_bytes(), Span::new(0, text.len()))
    }

    #[test]
    fn rfc3261_25_1_quoted_string() {
        let text = Cursor::new(br#""a\"b" c"#, Span::new(0, 8))
            .quoted_string()
            .unwrap();
        assert_eq!((text.span, text.escaped), (Span::new(1, 5), true));
        for bad in ["\"open", "\"open\\", "\"open\\\"", "\"bell \u{7}\"", "no"] {
            assert!(cursor(bad).quoted_string().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rfc3261_25_1_comments_nest() {
        let mut cursor = cursor("(a (b \\) c) d) e");
        let text = cursor.comment().unwrap();
        assert_eq!((text.span, text.escaped), (Span::new(1, 13), true));
        assert_eq!(cursor.rest(), b" e");
        assert!(
            super::Cursor::new(b"((a)", Span::new(0, 4))
                .comment()
                .is_err()
        );
    }

    #[test]
    fn numbers_do_not_wrap() {
        assert_eq!(cursor("4294967295").number(u32::MAX), Ok(4_294_967_295));
        for bad in ["4294967296", "36893488147419103232", "", "-1", "+5", "x"] {
            assert!(cursor(bad).number(u32::MAX).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rfc3261_25_1_escaped_wants_two_digits() {
        assert!(cursor("a%41b").run_escaped(Class::USERINFO).is_ok());
        for bad in ["a%4", "a%", "%zz", "%4g"] {
            assert!(cursor(bad).run_escaped(Class::USERINFO).is_err(), "{bad:?}");
        }
    }
}

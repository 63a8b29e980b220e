//! Folded headers (RFC 3261 §7.3.1): a copy of the text in which each fold is one blank.

use crate::error::{Error, Reason};
use crate::limits;
use crate::lines::{is_escaped, line_end};
use crate::tree::Span;
use smallvec::SmallVec;

/// The copy, and where its pieces come from.
#[derive(Debug, Default)]
pub(crate) struct Unfolded {
    pub(crate) text: Vec<u8>,
    /// Position in the copy and in the input of each piece that was taken over whole.
    pieces: SmallVec<[(usize, usize); 16]>,
    /// Positions in the copy of the blanks that stand behind a `\`.
    escaped: Vec<usize>,
}

/// RFC3261§25.1 - a quoted-pair escapes neither CR nor LF, so a `\` before a fold is a fault in quotes, while
/// elsewhere it is text. Which it is only the value's grammar knows: until that has read it, an octet stands there
/// that is text too, that no quoted-pair may escape, and that no UTF-8 has.
pub(crate) const ESCAPED_FOLD: u8 = 0xFF;

impl Unfolded {
    /// Copies the start line and the header lines of `input` from `start` on, up to the blank line. Lines that no fold
    /// parts are copied as one piece.
    pub(crate) fn fill(&mut self, input: &[u8], start: usize) -> Result<Option<usize>, Error> {
        self.clear(input.len() - start);
        let (mut at, mut piece) = (start, start);
        let mut begins = true;
        loop {
            let line = line_end(input, at, &mut false)?;
            if line.end - start > limits::HEADERS_BYTES {
                return Err(Error::new(Reason::HeadersTooLarge, at));
            }
            // The rest of a folded line may be empty; that is no blank line.
            let blank = begins && line.end == at;
            if blank && input[at..].starts_with(b"\r\r") {
                // CRs alone are no blank line, whoever reads them.
                return Err(Error::new(Reason::InvalidHeaderLine, at));
            }
            let blanks = match line.next {
                Some(next) if !blank => blanks(&input[next..]),
                _ => 0,
            };
            if !begins && line.end == at && blanks == 0 {
                self.end_with_fold();
            }
            let Some(next) = line.next else {
                self.push(input, piece, line.end);
                return Ok(None);
            };
            if blank {
                self.push(input, piece, line.end);
                self.text.extend_from_slice(b"\r\n");
                return Ok(Some(next));
            }
            if blanks > 0 {
                if begins {
                    named(input, at, line.end)?;
                }
                self.push(input, piece, line.end);
                self.fold(is_escaped(input, line.end));
                piece = next + blanks;
            } else if next - line.end < b"\r\n".len() {
                self.push(input, piece, line.end);
                self.text.extend_from_slice(b"\r\n");
                piece = next;
            }
            begins = blanks == 0;
            at = next + blanks;
        }
    }

    fn clear(&mut self, octets: usize) {
        self.text.clear();
        self.text.reserve(octets.min(limits::HEADERS_BYTES));
        self.pieces.clear();
        self.escaped.clear();
    }

    /// Appends one value as it stands behind its name, without the blanks around it and without its folds; returns
    /// where it is.
    pub(crate) fn append(&mut self, value: &[u8]) -> Span {
        let start = self.text.len();
        let mut rest = trim(value);
        // A fold behind a `\` stays, and is refused: a quoted-pair escapes no line end.
        while let Some((at, end)) = fold(rest).filter(|(at, _)| !is_escaped(rest, *at)) {
            self.text.extend_from_slice(trim(&rest[..at]));
            self.text.push(b' ');
            rest = &rest[end..];
        }
        self.text.extend_from_slice(rest);
        Span::new(start, self.text.len())
    }

    fn push(&mut self, input: &[u8], start: usize, end: usize) {
        self.pieces.push((self.text.len(), start));
        self.text.extend_from_slice(&input[start..end]);
    }

    /// Puts the one blank there, if none stands there from the fold before.
    fn fold(&mut self, escaped: bool) {
        if self.ends_with_escaped_fold() {
            return;
        }
        if escaped {
            self.escaped.push(self.text.len());
            self.text.push(ESCAPED_FOLD);
            return;
        }
        // RFC3261§25.1 - LWS = [*WSP CRLF] 1*WSP: the blanks before the fold are part of it.
        while matches!(self.text.last(), Some(b' ' | b'\t')) {
            self.text.pop();
        }
        self.text.push(b' ');
    }

    /// A fold behind which nothing comes is no part of the value. A blank would be left out with those around the value.
    fn end_with_fold(&mut self) {
        if self.ends_with_escaped_fold() {
            self.escaped.pop();
            self.text.pop();
        }
    }

    fn ends_with_escaped_fold(&self) -> bool {
        let last = self.escaped.last();
        last.is_some_and(|position| position + 1 == self.text.len())
    }

    /// Whether there is a fold behind a `\`.
    pub(crate) fn has_escaped(&self) -> bool {
        !self.escaped.is_empty()
    }

    /// Makes the folds behind a `\` blanks, once the grammar has read them.
    pub(crate) fn settle(&mut self) {
        for position in &self.escaped {
            self.text[*position] = b' ';
        }
    }

    /// The position in the input of a position in the copy.
    pub(crate) fn origin(&self, position: usize) -> usize {
        let piece = self.pieces.partition_point(|(copy, _)| *copy <= position);
        match piece.checked_sub(1).map(|index| self.pieces[index]) {
            Some((copy, input)) => input + (position - copy),
            None => position,
        }
    }
}

/// RFC3261§25.1 - `HCOLON = *( SP / HTAB ) ":" SWS`: a line is not folded before its colon.
fn named(input: &[u8], start: usize, end: usize) -> Result<(), Error> {
    match memchr::memchr(b':', &input[start..end]) {
        Some(_) => Ok(()),
        None => Err(Error::new(Reason::InvalidHeaderLine, start)),
    }
}

/// Where the first fold begins, and where the line behind it goes on.
fn fold(text: &[u8]) -> Option<(usize, usize)> {
    let at = memchr::memchr2(b'\r', b'\n', text)?;
    let line_end = if text[at..].starts_with(b"\r\n") {
        2
    } else {
        1
    };
    let next = at + line_end;
    let blanks = blanks(&text[next..]);
    (text[next - 1] == b'\n' && blanks > 0).then_some((at, next + blanks))
}

/// The text without the blanks at its ends.
pub(crate) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

fn blanks(text: &[u8]) -> usize {
    text.iter()
        .take_while(|octet| matches!(octet, b' ' | b'\t'))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3261_7_3_1_a_fold_is_one_blank() {
        let input = b"X y\r\nA: b \t\r\n \t c\r\n\t\r\n d\r\nB: e\n\r\nbody";
        let mut unfolded = Unfolded::default();
        assert_eq!(unfolded.fill(input, 0), Ok(Some(input.len() - 4)));
        assert_eq!(unfolded.text, b"X y\r\nA: b c d\r\nB: e\r\n\r\n");
        let d = unfolded
            .text
            .iter()
            .position(|octet| *octet == b'd')
            .unwrap();
        assert_eq!(input[unfolded.origin(d)], b'd');
        let e = unfolded
            .text
            .iter()
            .position(|octet| *octet == b'e')
            .unwrap();
        assert_eq!(input[unfolded.origin(e)], b'e');
    }

    #[test]
    fn one_value_is_unfolded_as_a_line_is() {
        let mut unfolded = Unfolded::default();
        for (value, text) in [
            (&b" \ta b "[..], &b"a b"[..]),
            (b"4\r\n\t5 \n  INVITE\t", b"4 5 INVITE"),
            (b"a\r\nb", b"a\r\nb"),
            (b"a\rb\r\n c", b"a\rb\r\n c"),
            (b"\"a\\\r\n b\"", b"\"a\\\r\n b\""),
        ] {
            unfolded.text.clear();
            let span = unfolded.append(value);
            assert_eq!(span.of(&unfolded.text), text);
        }
    }

    #[test]
    fn the_end_of_the_input_is_no_blank_line() {
        let mut unfolded = Unfolded::default();
        for (input, text) in [
            (&b"X y\r\nA: b\r\n c\n"[..], &b"X y\r\nA: b c\r\n"[..]),
            (b"X y\r\nA: b\r\n c\r\n", b"X y\r\nA: b c\r\n"),
            (b"X y\r\nA: b\r\n c", b"X y\r\nA: b c"),
        ] {
            assert_eq!(unfolded.fill(input, 0), Ok(None));
            assert_eq!(unfolded.text, text);
        }
    }

    #[test]
    fn rfc3261_25_1_no_fold_before_the_colon() {
        let mut unfolded = Unfolded::default();
        let error = unfolded.fill(b"X y\r\nVia\r\n : b\r\n\r\n", 0).unwrap_err();
        assert_eq!(error, Error::new(Reason::InvalidHeaderLine, 5));
        assert!(unfolded.fill(b"X y\r\nVia :\r\n b\r\n\r\n", 0).is_ok());
    }

    #[test]
    fn rfc3261_25_1_a_quoted_pair_escapes_no_line_end() {
        let mut parser = crate::Parser::new();
        let mut refused = |header: &str| {
            let input = format!("BYE sip:h SIP/2.0\r\n{header}\r\n\r\n");
            parser.parse(input.as_bytes()).is_err()
        };
        assert!(refused("From: \"b\\\r\n c\" <sip:a@b>"));
        assert!(!refused("From: \"b\\\\\r\n c\" <sip:a@b>"));
        assert!(!refused("X: b\\\r\n c"));
    }

    #[test]
    fn behind_a_backslash_folds_are_one_blank_too_and_none_at_the_end() {
        let mut parser = crate::Parser::new();
        for (value, text) in [
            ("b\\\r\n \r\n\t\r\n c", "b\\ c"),
            ("b\\\r\n ", "b\\"),
            ("b\\\r\n \r\n \t", "b\\"),
        ] {
            for end in ["\r\n\r\n", "\r\nY: z\r\n\r\n", ""] {
                let input = format!("BYE sip:h SIP/2.0\r\nX: {value}{end}");
                let message = parser.parse(input.as_bytes()).unwrap();
                let found = message.values(&message.headers()[0]).next().unwrap();
                assert_eq!(found.of(message.text()), text.as_bytes(), "{input:?}");
            }
        }
    }

    #[test]
    fn where_no_blank_may_stand_it_is_a_fault_too() {
        for header in [
            "Call-ID: a\\\r\n b",
            "t: <sip:h>;tag=a\\\r\n b",
            "m: <sip:a\\\r\n b@h>",
        ] {
            let input = format!("BYE sip:h SIP/2.0\r\n{header}\r\n\r\n");
            let mut parser = crate::Parser::new();
            let parsed = parser.parse(input.as_bytes());
            assert!(parsed.is_err() || parsed.unwrap().headers()[0].items.is_none());
        }
        // An octet of the sender's own is none of ours.
        let input = b"BYE sip:\xFF@h SIP/2.0\r\nQ: a\\\r\n b\r\nCall-ID: \xFF\r\n\r\n";
        assert!(crate::Parser::new().parse(input).is_ok());
    }

    #[test]
    fn elsewhere_it_is_text() {
        let mut parser = crate::Parser::new();
        let message = parser
            .parse(b"BYE sip:h SIP/2.0\r\nX: b\\\r\n \t c\r\n\r\n")
            .unwrap();
        let value = message.values(&message.headers()[0]).next().unwrap();
        assert_eq!(value.of(message.text()), b"b\\ c");
    }
}

//! Terms that are not of their header's shape: they are printed by what they are, as sippet 1.0 printed them.
//!
//! Nothing of this runs for the usual shapes. It is tried where they were refused, from the start of the header, and
//! where it fails too the first refusal stands. Text alone is a raw line. All else under the name of a header that
//! has a shape must be what the parser takes there: a term that isn't has no meaning.

use super::{HEAD, Place, Printed, Printer, Stop, Stopped, Wanted};
use crate::term::Raw;
use sip_parser::{Class, HeaderId, Level, Parser, Repeat, Shape, Values};

const KIND: Wanted = Wanted::Words("a term that has a text");

impl<'a> Printer<'a> {
    /// The lines of a typed header, `prefix` before each, in place of what was printed from `start` on.
    #[cold]
    pub(super) fn lines_by_kind(
        &mut self,
        id: HeaderId,
        prefix: &[u8],
        value: Raw<'a>,
        start: usize,
    ) -> Printed {
        let own_lines = matches!(id.row().shape, Shape::Via | Shape::Route | Shape::Auth);
        self.again(start, |printer| match printer.make.cell(value) {
            Some(_) if own_lines => printer.each_of(value, |printer, value| {
                printer.put(prefix);
                printer.element_alone(id, value)
            }),
            _ => {
                printer.put(prefix);
                printer.value_of_kind(id, value)
            }
        })
    }

    /// The same for the value alone.
    #[cold]
    pub(super) fn value_by_kind(&mut self, id: HeaderId, value: Raw<'a>, start: usize) -> Printed {
        self.again(start, |printer| printer.value_of_kind(id, value))
    }

    /// The same for a header whose key is text: each term has a line of its own.
    #[cold]
    pub(super) fn raw_by_kind(
        &mut self,
        name: &[u8],
        key: Raw<'a>,
        value: Raw<'a>,
        start: usize,
    ) -> Printed {
        let id = HeaderId::find(name).filter(|id| id.row().shape != Shape::Raw);
        let line = |printer: &mut Self, value: Raw<'a>| {
            printer.put(b"\r\n");
            printer.put(name);
            printer.put(b": ");
            match id {
                _ if printer.make.octets(value).is_some() => printer.line_text(value, KIND),
                Some(id) => printer.element_alone(id, value),
                None => printer.untyped(value),
            }
        };
        self.again(start, |printer| {
            printer.place = Place::Raw(key);
            match printer.make.cell(value) {
                Some(_) => printer.each_of(value, line),
                None => line(printer, value),
            }
        })
    }

    /// Prints once more from `start` on what was refused. A second refusal gives way to the first.
    fn again(&mut self, start: usize, print: impl FnOnce(&mut Self) -> Printed) -> Printed {
        if self.is_large() {
            return Err(Stopped);
        }
        let first = self.stop.take();
        self.out.truncate(start);
        let printed = print(self);
        if printed.is_err() && !self.is_large() {
            self.stop = first;
        }
        printed
    }

    fn is_large(&self) -> bool {
        matches!(self.stop, Some(Stop::Large))
    }

    /// Each element of a list, of which there is one at least.
    fn each_of(&mut self, list: Raw<'a>, print: impl Fn(&mut Self, Raw<'a>) -> Printed) -> Printed {
        let mut rest = list;
        while let Some((value, others)) = self.make.cell(rest) {
            // Numbers grow without a look at the bound.
            if self.out.len() > HEAD && !self.patient {
                return Err(self.large());
            }
            print(self, value)?;
            rest = others;
        }
        match self.make.is_empty_list(rest) {
            true => Ok(()),
            false => self.refuse(KIND, list),
        }
    }

    /// All that stands behind a name.
    fn value_of_kind(&mut self, id: HeaderId, value: Raw<'a>) -> Printed {
        self.place = Place::Header(id);
        if self.make.octets(value).is_some() {
            return self.text_alone(id, value);
        }
        let one = id.row().repeat == Repeat::One || id.row().shape == Shape::Auth;
        match self.make.cell(value) {
            None => self.element_alone(id, value),
            Some((first, rest)) if one && self.make.is_empty_list(rest) => {
                self.element_alone(id, first)
            }
            Some(_) if one => self.refuse(KIND, value),
            Some(_) => {
                let start = self.out.len();
                self.each_of(value, |printer, value| {
                    if printer.out.len() > start {
                        printer.put(b", ");
                    }
                    printer.element_of_kind(id, value)
                })?;
                self.verified(id, start, value)
            }
        }
    }

    /// Text as it is. Without the headers that it cannot do without, no message is read.
    fn text_alone(&mut self, id: HeaderId, value: Raw<'a>) -> Printed {
        let start = self.out.len();
        match (id.row().shape, id.row().level) {
            // Here text has its shape already.
            (Shape::Text, _) | (Shape::CallId, Level::Essential) => self.refuse(KIND, value),
            (_, Level::Essential) => {
                self.line_text(value, KIND)?;
                self.verified(id, start, value)
            }
            _ => self.line_text(value, KIND),
        }
    }

    fn element_alone(&mut self, id: HeaderId, value: Raw<'a>) -> Printed {
        let start = self.out.len();
        self.element_of_kind(id, value)?;
        self.verified(id, start, value)
    }

    /// An element in the shape of the header, or of another kind.
    fn element_of_kind(&mut self, id: HeaderId, value: Raw<'a>) -> Printed {
        let start = self.out.len();
        self.place = Place::Header(id);
        if self.element(id, value).is_ok() {
            return Ok(());
        }
        self.again(start, |printer| {
            printer.place = Place::Header(id);
            match printer.make.octets(value) {
                // With a comma in it, one Call-ID would become two.
                Some(_) if id.row().shape == Shape::CallId => printer.refuse(KIND, value),
                Some(text) => printer.piece(text, value),
                // A number alone is no scheme.
                None if id.row().shape == Shape::Auth => printer.refuse(KIND, value),
                None => printer.kind(value),
            }
        })
    }

    /// Text that is a part of a line.
    fn piece(&mut self, text: &[u8], term: Raw<'a>) -> Printed {
        match text {
            // Blanks would be taken off, and what is nothing between commas passed over.
            [] | [b' ' | b'\t' | b',', ..] | [.., b' ' | b'\t' | b','] => self.refuse(KIND, term),
            _ => self.line_text(term, KIND),
        }
    }

    /// Whether the parser takes what was printed from `start` on for a value of the header.
    fn verified(&mut self, id: HeaderId, start: usize, value: Raw<'a>) -> Printed {
        let taken = {
            let text = trim(&self.out[start..]);
            let some =
                |values: Values<'_>| !values.items().is_empty() || id.row().repeat == Repeat::List0;
            Parser::new().parse_values(id, &[text]).is_ok_and(some)
        };
        match taken {
            true => Ok(()),
            false => self.refuse(Wanted::Shape(id.row().shape), value),
        }
    }

    /// A term whose header has no shape: there even a negative number has a meaning.
    fn untyped(&mut self, value: Raw<'a>) -> Printed {
        match self.make.signed(value) {
            Some(number @ ..0) => {
                self.out.push(b'-');
                self.number(number.unsigned_abs());
                Ok(())
            }
            _ => self.kind(value),
        }
    }

    /// A term that is no text, by what it is.
    fn kind(&mut self, value: Raw<'a>) -> Printed {
        if let Some(elements) = self.make.elements(value) {
            self.tuple_of_kind(value, elements)
        } else if let Some(number) = self.make.unsigned(value) {
            self.number(number);
            Ok(())
        } else if self.atoms.uri.is(self.make, value) {
            self.bracketed(value)
        } else if self.atoms.date.is(self.make, value) {
            self.date(value)
        } else {
            self.refuse(KIND, value)
        }
    }

    fn tuple_of_kind(&mut self, value: Raw<'a>, elements: &[Raw<'a>]) -> Printed {
        let is_number = |term: Raw<'a>| self.make.unsigned(term).is_some();
        let is_map = |term: Raw<'a>| self.make.map_size(term).is_some();
        let is_uri = |term: Raw<'a>| self.atoms.uri.is(self.make, term);
        match *elements {
            [number, last] if is_number(number) && is_map(last) => self.integer_params(value),
            [uri, last] if is_uri(uri) && is_map(last) => self.uri_params(value),
            [kind, last] if self.make.elements(kind).is_some() && is_map(last) => self.media(value),
            [text, last] if is_map(last) => self.text_params(text, last),
            [major, minor] if is_number(major) && is_number(minor) => self.version(value),
            [number, _] if is_number(number) => self.cseq(value),
            [time, _] if self.make.double(time).is_some() => self.timestamp(value),
            [number, _, last] if is_number(number) && is_map(last) => self.retry_after(value),
            [name, uri, last] if is_map(last) => self.named(name, uri, last),
            [response, number, _] if is_number(response) && is_number(number) => self.rack(value),
            [_, _, _] => self.warning(value),
            [_, _, _, _] => self.via(value),
            _ => self.refuse(KIND, value),
        }
    }

    /// A URI in brackets, or other text as it is, and parameters. Where a header has a shape the text is one word: none
    /// of its octets makes a parameter or an element.
    fn text_params(&mut self, text: Raw<'a>, params: Raw<'a>) -> Printed {
        let octets = self.octets(text, KIND)?;
        match (sip_parser::parse_uri(octets), self.place) {
            (Ok(_), _) => self.uri_of_kind(text)?,
            (Err(_), Place::Raw(_)) => self.piece(octets, text)?,
            (Err(_), _) => self.word(text)?,
        }
        self.map_params(params)
    }

    /// A name-addr, whose URI may be text.
    fn named(&mut self, name: Raw<'a>, uri: Raw<'a>, params: Raw<'a>) -> Printed {
        self.display_name(name)?;
        self.uri_of_kind(uri)?;
        self.map_params(params)
    }

    fn map_params(&mut self, params: Raw<'a>) -> Printed {
        match self.make.pairs(params) {
            Some(pairs) => self.params(pairs),
            None => self.refuse(KIND, params),
        }
    }

    fn uri_of_kind(&mut self, uri: Raw<'a>) -> Printed {
        match self.make.octets(uri) {
            None => self.bracketed(uri),
            Some(text) if sip_parser::parse_uri(text).is_ok() => {
                self.out.push(b'<');
                self.line_text(uri, KIND)?;
                self.out.push(b'>');
                Ok(())
            }
            Some(_) => self.refuse(KIND, uri),
        }
    }

    /// The number that a text of digits means.
    #[cold]
    pub(super) fn digits(&self, term: Raw<'a>) -> Option<u64> {
        let text = self.make.octets(term)?;
        let digits = !text.is_empty() && text.len() <= 20 && Class::DIGIT.all(text);
        let text = std::str::from_utf8(text).ok().filter(|_| digits)?;
        text.parse().ok()
    }
}

/// The text without the blanks around it, as the parser takes a value.
fn trim(text: &[u8]) -> &[u8] {
    let is_text = |octet: &u8| !matches!(octet, b' ' | b'\t');
    match (
        text.iter().position(is_text),
        text.iter().rposition(is_text),
    ) {
        (Some(first), Some(last)) => &text[first..=last],
        _ => &[],
    }
}

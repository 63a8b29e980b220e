//! One function per shape of `headers.tbl`. Each takes one element of a header's value.

use super::octets::is_escaped;
use super::{Printed, Printer, Wanted};
use crate::term::{Pairs, Raw};
use sip_parser::{Class, HeaderId, Repeat, Row, Shape};
use std::io::Write;

const CALL_ID: Wanted = Wanted::Words("a Call-ID");

/// The largest number of a header that has a number.
const NUMBER: u64 = u32::MAX as u64;

/// RFC3261§8.1.1.5 - a sequence number is less than 2**31
const SEQUENCE: u64 = (1 << 31) - 1;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

impl<'a> Printer<'a> {
    pub(super) fn element(&mut self, id: HeaderId, value: Raw<'a>) -> Printed {
        match id.row().shape {
            Shape::Via => self.via(value),
            Shape::Address | Shape::NameAddr | Shape::ReferTo | Shape::Route | Shape::Contact => {
                self.address(value)
            }
            Shape::Token => self.token(value).map(drop),
            Shape::TokenParams => self.token_params(value),
            Shape::Text => self.text(value),
            Shape::CallId => self.call_id(id, value),
            Shape::Cseq => self.cseq(value),
            Shape::Integer => self.integer(value),
            Shape::MaxForwards => self.max_forwards(value),
            Shape::Auth => self.auth(value),
            Shape::AuthInfo => self.auth_params(value),
            Shape::CallIdParams => self.call_id_params(id, value),
            Shape::Date => self.date(value),
            Shape::IntegerParams => self.integer_params(value),
            Shape::Media => self.media(value),
            Shape::Params => self.params_alone(value),
            Shape::Privacy => self.privacy(value),
            Shape::Rack => self.rack(value),
            Shape::RetryAfter => self.retry_after(value),
            Shape::Timestamp => self.timestamp(value),
            Shape::UriParams => self.uri_params(value),
            Shape::Version => self.version(value),
            Shape::Warning => self.warning(value),
            Shape::WordParams => self.word_params(id, value),
            // Raw headers have no typed form; the caller refuses them by name.
            Shape::Raw => self.refuse(Wanted::Shape(Shape::Raw), value),
        }
    }

    /// The elements of a tuple of the shape, the last of which must be a map: its parameters.
    #[inline]
    fn with_params<const N: usize>(
        &mut self,
        shape: Shape,
        value: Raw<'a>,
    ) -> Result<([Raw<'a>; N], Pairs<'a>), super::Stopped> {
        let elements = self.tuple::<N>(shape, value)?;
        match elements.last().and_then(|last| self.make.pairs(*last)) {
            Some(pairs) => Ok((elements, pairs)),
            None => Err(self.refused(Wanted::Shape(shape), value)),
        }
    }

    #[inline]
    fn tuple<const N: usize>(
        &mut self,
        shape: Shape,
        value: Raw<'a>,
    ) -> Result<[Raw<'a>; N], super::Stopped> {
        match self
            .make
            .elements(value)
            .and_then(|all| all.try_into().ok())
        {
            Some(elements) => Ok(elements),
            None => Err(self.refused(Wanted::Shape(shape), value)),
        }
    }

    pub(super) fn via(&mut self, value: Raw<'a>) -> Printed {
        let ([version, protocol, sent_by, _], params) = self.with_params(Shape::Via, value)?;
        let [host, port] = match self.make.elements(sent_by) {
            Some(&[host, port]) => [host, port],
            _ => return self.refuse(Wanted::Shape(Shape::Via), value),
        };
        self.put(b"SIP/");
        self.version(version)?;
        self.out.push(b'/');
        self.protocol(protocol)?;
        self.out.push(b' ');
        self.host(host)?;
        match self.integer_of(port) {
            // The port of a Via without one is 0 where the protocol has no default. Of the others that one was sent,
            // and a response has it too (RFC3261§8.2.6.2).
            Some(0) if !self.atoms.has_default_port(protocol) => {}
            Some(number @ 0..=65_535) => {
                self.out.push(b':');
                self.number(number);
            }
            _ => return self.refuse(Wanted::Shape(Shape::Via), port),
        }
        self.params(params)
    }

    fn protocol(&mut self, protocol: Raw<'a>) -> Printed {
        match self.atoms.protocol_name(protocol) {
            Some(name) => self.put(name.as_bytes()),
            None => return self.atom_or_token(Wanted::Words("a protocol"), protocol),
        }
        Ok(())
    }

    /// A method as it stands in the CSeq header and in the request line.
    pub(super) fn method(&mut self, method: Raw<'a>) -> Printed {
        match self.atoms.method_name(method) {
            Some(name) => self.put(name.as_bytes()),
            None => return self.atom_or_token(Wanted::Words("a method"), method),
        }
        Ok(())
    }

    /// A token as it is, or an atom that nobody registered in upper case.
    fn atom_or_token(&mut self, wanted: Wanted, term: Raw<'a>) -> Printed {
        if self.make.octets(term).is_some() {
            return self.token(term).map(drop);
        }
        let mut name = [0; 256];
        match self.make.atom_name(term, &mut name) {
            Some(b"nil" | b"true" | b"false") | None => self.refuse(wanted, term),
            Some(name) if super::octets::is_token(name) => {
                self.put(&name.to_ascii_uppercase());
                Ok(())
            }
            Some(_) => self.refuse(Wanted::Words("a token"), term),
        }
    }

    pub(super) fn address(&mut self, value: Raw<'a>) -> Printed {
        let ([name, uri, _], params) = self.with_params(Shape::Address, value)?;
        if !self.atoms.uri.is(self.make, uri) {
            return self.refuse(Wanted::Shape(Shape::Address), value);
        }
        self.display_name(name)?;
        self.bracketed(uri)?;
        self.params(params)
    }

    /// RFC3261§20.10 - always in quotes, so that it may be any text
    #[inline]
    pub(super) fn display_name(&mut self, name: Raw<'a>) -> Printed {
        let text = self.octets(name, Wanted::Words("text"))?;
        if !text.is_empty() {
            self.quoted_text(text, name)?;
            self.out.push(b' ');
        }
        Ok(())
    }

    pub(super) fn uri_params(&mut self, value: Raw<'a>) -> Printed {
        let ([uri, _], params) = self.with_params(Shape::UriParams, value)?;
        if !self.atoms.uri.is(self.make, uri) {
            return self.refuse(Wanted::Shape(Shape::UriParams), value);
        }
        self.bracketed(uri)?;
        self.params(params)
    }

    pub(super) fn bracketed(&mut self, uri: Raw<'a>) -> Printed {
        self.out.push(b'<');
        self.uri(uri)?;
        self.out.push(b'>');
        Ok(())
    }

    pub(super) fn media(&mut self, value: Raw<'a>) -> Printed {
        let ([kind, _], params) = self.with_params(Shape::Media, value)?;
        match self.make.elements(kind) {
            Some(&[main, sub]) => {
                self.token(main)?;
                self.out.push(b'/');
                self.token(sub)?;
            }
            _ => return self.refuse(Wanted::Shape(Shape::Media), value),
        }
        self.params(params)
    }

    fn token_params(&mut self, value: Raw<'a>) -> Printed {
        let ([token, _], params) = self.with_params(Shape::TokenParams, value)?;
        self.token(token)?;
        self.params(params)
    }

    fn word_params(&mut self, id: HeaderId, value: Raw<'a>) -> Printed {
        let ([word, _], params) = self.with_params(Shape::WordParams, value)?;
        let text = self.octets(word, Wanted::Shape(Shape::WordParams))?;
        self.param_value(text, word)?;
        if id != HeaderId::IDENTITY {
            return self.params(params);
        }
        for (name, value) in params {
            self.identity_param(name, value)?;
        }
        Ok(())
    }

    /// RFC8224§4.1 - ident-info is a URI between brackets, without quotes
    fn identity_param(&mut self, name: Raw<'a>, value: Raw<'a>) -> Printed {
        let info = self.make.is_text(name, b"info");
        match self.make.octets(value) {
            Some(text @ [b'<', uri @ .., b'>']) if info && is_escaped(Class::URIC, uri) => {
                let _within = self.octets(value, Wanted::Words("text"))?;
                self.put(b";info=");
                self.put(text);
                Ok(())
            }
            _ => self.param(name, value),
        }
    }

    fn auth(&mut self, value: Raw<'a>) -> Printed {
        let [scheme, params] = self.tuple(Shape::Auth, value)?;
        let Some(mut pairs) = self.make.pairs(params) else {
            return self.refuse(Wanted::Shape(Shape::Auth), value);
        };
        self.token(scheme)?;
        if self.make.map_size(params) == Some(0) {
            // A scheme alone, which RFC 7235 §2.1 allows ("Negotiate"): what was taken must be handed on.
            return Ok(());
        }
        self.out.push(b' ');
        match (pairs.next(), pairs.next()) {
            // A scheme with a token68 instead of parameters, as "Bearer abc==" (RFC 7235 §2.1).
            (Some((name, token68)), None) if self.make.is_text(name, b"") => self.token68(token68),
            _ => self.auth_params(params),
        }
    }

    fn call_id(&mut self, id: HeaderId, value: Raw<'a>) -> Printed {
        let text = self.octets(value, CALL_ID)?;
        match is_call_id(id.row(), text) {
            true => self.put(text),
            false => return self.refuse(CALL_ID, value),
        }
        Ok(())
    }

    fn call_id_params(&mut self, id: HeaderId, value: Raw<'a>) -> Printed {
        let ([call_id, _], params) = self.with_params(Shape::CallIdParams, value)?;
        self.call_id(id, call_id)?;
        self.params(params)
    }

    pub(super) fn cseq(&mut self, value: Raw<'a>) -> Printed {
        let [number, method] = self.tuple(Shape::Cseq, value)?;
        self.unsigned(Shape::Cseq, number, value, SEQUENCE)?;
        self.out.push(b' ');
        self.method(method)
    }

    pub(super) fn rack(&mut self, value: Raw<'a>) -> Printed {
        let [response, cseq, method] = self.tuple(Shape::Rack, value)?;
        self.unsigned(Shape::Rack, response, value, NUMBER)?;
        self.out.push(b' ');
        self.unsigned(Shape::Rack, cseq, value, SEQUENCE)?;
        self.out.push(b' ');
        self.method(method)
    }

    fn integer(&mut self, value: Raw<'a>) -> Printed {
        self.unsigned(Shape::Integer, value, value, NUMBER)
    }

    /// An integer inside of `whole`, which is of the shape, and no larger than the parser takes there.
    fn unsigned(&mut self, shape: Shape, value: Raw<'a>, whole: Raw<'a>, most: u64) -> Printed {
        match self.integer_of(value) {
            Some(number) if number <= most => self.number(number),
            _ => return self.refuse(Wanted::Shape(shape), whole),
        }
        Ok(())
    }

    /// RFC3261§20.22 - an integer in the range 0-255
    fn max_forwards(&mut self, value: Raw<'a>) -> Printed {
        match self.integer_of(value) {
            Some(number @ 0..=255) => self.number(number),
            _ => return self.refuse(Wanted::Shape(Shape::MaxForwards), value),
        }
        Ok(())
    }

    pub(super) fn integer_params(&mut self, value: Raw<'a>) -> Printed {
        let ([number, _], params) = self.with_params(Shape::IntegerParams, value)?;
        self.integer(number)?;
        self.params(params)
    }

    /// Parameters with no value before them, and so no `;` before the first.
    fn params_alone(&mut self, value: Raw<'a>) -> Printed {
        let start = self.out.len();
        match self.make.pairs(value) {
            Some(pairs) => self.params(pairs)?,
            None => return self.refuse(Wanted::Shape(Shape::Params), value),
        }
        match self.out.len() > start {
            true => drop(self.out.remove(start)),
            false => return self.refuse(Wanted::Shape(Shape::Params), value),
        }
        Ok(())
    }

    fn privacy(&mut self, value: Raw<'a>) -> Printed {
        self.list(value, Shape::Privacy, b";", |printer, token| {
            printer.token(token).map(drop)
        })
    }

    pub(super) fn retry_after(&mut self, value: Raw<'a>) -> Printed {
        let ([seconds, comment, _], params) = self.with_params(Shape::RetryAfter, value)?;
        self.integer(seconds)?;
        if !self.make.is_text(comment, b"") {
            self.out.push(b' ');
            self.comment(comment)?;
        }
        self.params(params)
    }

    pub(super) fn timestamp(&mut self, value: Raw<'a>) -> Printed {
        let [time, delay] = self.tuple(Shape::Timestamp, value)?;
        self.decimal(time)?;
        if self.make.double(delay) == Some(0.0) || self.make.unsigned(delay) == Some(0) {
            return Ok(());
        }
        self.out.push(b' ');
        self.decimal(delay)
    }

    /// RFC3261§20.38 - digits and a dot, no exponent; as short as reading them back allows
    fn decimal(&mut self, value: Raw<'a>) -> Printed {
        match (self.integer_of(value), self.make.double(value)) {
            (Some(number), _) => self.number(number),
            (None, Some(number)) if number >= 0.0 => {
                // Writing into a vector can't fail.
                let _ = write!(self.out, "{}", number.abs());
            }
            _ => return self.refuse(Wanted::Shape(Shape::Timestamp), value),
        }
        Ok(())
    }

    pub(super) fn version(&mut self, value: Raw<'a>) -> Printed {
        let [major, minor] = self.tuple(Shape::Version, value)?;
        self.unsigned(Shape::Version, major, value, u64::from(u16::MAX))?;
        self.out.push(b'.');
        self.unsigned(Shape::Version, minor, value, u64::from(u16::MAX))
    }

    /// RFC3261§20.43 - three digits
    pub(super) fn warning(&mut self, value: Raw<'a>) -> Printed {
        let [code, agent, text] = self.tuple(Shape::Warning, value)?;
        match self.integer_of(code) {
            Some(number @ 100..=999) => self.number(number),
            _ => return self.refuse(Wanted::Shape(Shape::Warning), value),
        }
        self.out.push(b' ');
        self.word(agent)?;
        self.out.push(b' ');
        self.quoted(text)
    }

    /// RFC3261§20.17 - SIP-date is in GMT and has no fractions of a second
    pub(super) fn date(&mut self, value: Raw<'a>) -> Printed {
        let Some([year, month, day, hour, minute, second]) = self.date_fields(value) else {
            return self.refuse(Wanted::Shape(Shape::Date), value);
        };
        let day_name = DAYS[day_of_week(year, month, day)];
        let month_name = MONTHS[month as usize - 1];
        let _ = write!(
            self.out,
            "{day_name}, {day:02} {month_name} {year:04} {hour:02}:{minute:02}:{second:02} GMT"
        );
        Ok(())
    }

    /// Year, month, day, hour, minute and second, where they are a date's.
    fn date_fields(&self, value: Raw<'a>) -> Option<[u64; 6]> {
        let date = &self.atoms.date;
        let known =
            date.is(self.make, value) && date.field(self.make, value, 1)? == self.atoms.calendar;
        let mut fields = [0; 6];
        for (number, field) in fields.iter_mut().enumerate() {
            *field = self
                .make
                .unsigned(date.field(self.make, value, number + 2)?)?;
        }
        let [year, month, day, hour, minute, second] = fields;
        let good = known
            && year <= 9_999
            && (1..=12).contains(&month)
            && (1..=days_in(year, month)).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        good.then_some(fields)
    }
}

/// Visible octets, but for the one that would end it.
#[inline]
fn is_call_id(row: &Row, text: &[u8]) -> bool {
    let ends = match (row.shape, row.repeat) {
        (Shape::CallIdParams, _) => text.contains(&b';'),
        (_, Repeat::One) => false,
        _ => text.contains(&b','),
    };
    !text.is_empty() && Class::VISIBLE.all(text) && !ends
}

fn days_in(year: u64, month: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The day of the week from Monday on, by Zeller's congruence: years begin with March.
fn day_of_week(year: u64, month: u64, day: u64) -> usize {
    let (year, month) = match month {
        // 400 years are whole weeks: the year 0 needs no negative one before it.
        1 | 2 => (year + 399, month + 12),
        _ => (year + 400, month),
    };
    let saturday = day + 13 * (month + 1) / 5 + year + year / 4 - year / 100 + year / 400;
    ((saturday + 5) % 7) as usize
}

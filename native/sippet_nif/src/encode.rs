//! From the syntax tree to the terms of the documented shapes.

use crate::atoms::Atoms;
use crate::literals::Literals;
use crate::term::{Maker, Raw};
use rustler::{Error, NifResult};
use sip_parser::{
    Date, HeaderId, Item, Message, Param, Range, Repeat, Span, StartLine, Text, Uri, UriId, Values,
    Via, unescape,
};
use smallvec::SmallVec;

/// Octets up to which text is copied into a binary of its own. Longer text stays a part of the datagram, which is made
/// faster, where that keeps little else alive. `bench/README.md` has the measurement.
const COPIED: usize = 64;

/// Octets of a datagram that any long part of it may keep alive.
const KEPT: usize = 4_096;

/// How many times its own size a part may keep alive of a larger datagram.
const KEPT_TIMES: usize = 4;

type Terms<'a, const N: usize> = SmallVec<[Raw<'a>; N]>;

/// What the terms of one call are made of.
pub(crate) struct Encoder<'a, 't> {
    pub(crate) make: Maker<'a>,
    pub(crate) atoms: &'static Atoms,
    pub(crate) literals: Literals<'a>,
    /// The text that spans point into.
    text: &'t [u8],
    /// The binary whose octets the text is, if it is one.
    binary: Option<Raw<'a>>,
}

/// Where parameters and URIs of an element are found.
pub(crate) trait Nodes {
    fn params(&self, range: Range) -> &[Param];
    fn uri(&self, id: UriId) -> &Uri;
}

impl Nodes for Message<'_> {
    fn params(&self, range: Range) -> &[Param] {
        self.params(range)
    }
    fn uri(&self, id: UriId) -> &Uri {
        self.uri(id)
    }
}

impl Nodes for Values<'_> {
    fn params(&self, range: Range) -> &[Param] {
        self.params(range)
    }
    fn uri(&self, id: UriId) -> &Uri {
        self.uri(id)
    }
}

/// A map that the parser has already kept free of doubled keys could not be made.
fn broken() -> Error {
    Error::Term(Box::new("a key stands twice"))
}

impl<'a, 't> Encoder<'a, 't> {
    pub(crate) fn new(
        make: Maker<'a>,
        literals: Literals<'a>,
        text: &'t [u8],
        binary: Option<Raw<'a>>,
    ) -> Encoder<'a, 't> {
        Encoder {
            make,
            atoms: Atoms::get(),
            literals,
            text,
            binary,
        }
    }

    /// `{:request, method, uri, version, headers, body}` or `{:response, version, status, reason, headers, body}`
    pub(crate) fn message(
        &self,
        message: &Message<'_>,
        input: Raw<'a>,
        octets: usize,
    ) -> NifResult<Raw<'a>> {
        let headers = self.headers(message)?;
        let body = match message.body() {
            None | Some([]) => self.literals.empty(),
            Some(body) => self.part(input, octets, message.body_offset(), body),
        };
        Ok(match message.start_line() {
            StartLine::Request {
                method,
                uri,
                version,
            } => self.make.tuple(&[
                self.atoms.request.into(),
                self.method(*method),
                self.uri(uri)?,
                self.version(*version),
                headers,
                body,
            ]),
            StartLine::Response {
                version,
                status,
                reason,
            } => self.make.tuple(&[
                self.atoms.response.into(),
                self.version(*version),
                self.make.integer(u32::from(*status)),
                self.word(*reason),
                headers,
                body,
            ]),
        })
    }

    /// The map of headers. Typed keys are put in the VM's order first, so that it need not sort them.
    fn headers(&self, message: &Message<'_>) -> NifResult<Raw<'a>> {
        let nil = Raw::from(self.atoms.nil);
        let mut typed = [nil; 64];
        let mut present = 0u64;
        let mut raw_keys: Terms<'a, 32> = SmallVec::new();
        let mut raw_values: Terms<'a, 32> = SmallVec::new();
        for header in message.headers() {
            match (header.id, message.items(header)) {
                // Without an element it says nothing.
                (Some(id), Some([])) if id.row().repeat == Repeat::List => {}
                (Some(id), Some(items)) => {
                    let rank = self.atoms.rank(id);
                    typed[rank] = self.value(id, items, message)?;
                    present |= 1 << rank;
                }
                (id, _) => {
                    raw_keys.push(self.name(id, header.name));
                    raw_values.push(self.raw_values(message.values(header)));
                }
            }
        }
        let mut keys: Terms<'a, 64> = SmallVec::new();
        let mut values: Terms<'a, 64> = SmallVec::new();
        while present != 0 {
            let rank = present.trailing_zeros() as usize;
            keys.push(self.atoms.keys[rank].into());
            values.push(typed[rank]);
            present &= present - 1;
        }
        keys.extend_from_slice(&raw_keys);
        values.extend_from_slice(&raw_values);
        self.make.map(&keys, &values).ok_or_else(broken)
    }

    /// The registered spelling, or, for a name not registered, the first letter of each word in upper case and
    /// the rest as sent.
    fn name(&self, id: Option<HeaderId>, name: Span) -> Raw<'a> {
        if let Some(id) = id {
            return self.literals.name(id);
        }
        let name = name.of(self.text);
        self.make.binary_with(name.len(), |octets| {
            octets.copy_from_slice(name);
            let mut starts = true;
            for octet in octets {
                if starts {
                    octet.make_ascii_uppercase();
                }
                starts = *octet == b'-';
            }
        })
    }

    fn raw_values(&self, values: impl Iterator<Item = Span>) -> Raw<'a> {
        let values: Terms<'a, 8> = values.map(|value| self.word(value)).collect();
        self.make.list(&values)
    }

    /// One typed header: a list of its elements, or the one element.
    pub(crate) fn value(
        &self,
        id: HeaderId,
        items: &[Item],
        nodes: &impl Nodes,
    ) -> NifResult<Raw<'a>> {
        match (id.row().repeat, items) {
            (_, [Item::Star]) => Ok(self.star()),
            (Repeat::One, [item]) if id.row().shape != sip_parser::Shape::Privacy => {
                self.item(item, nodes)
            }
            _ => {
                let elements: Result<Terms<'a, 32>, Error> =
                    items.iter().map(|item| self.item(item, nodes)).collect();
                Ok(self.make.list(&elements?))
            }
        }
    }

    #[inline]
    pub(crate) fn item(&self, item: &Item, nodes: &impl Nodes) -> NifResult<Raw<'a>> {
        let params = |range: &Range| self.params(nodes.params(*range));
        Ok(match item {
            Item::Via(via) => self.via(via, nodes)?,
            Item::Address {
                display,
                uri,
                params: range,
            } => self.make.tuple(&[
                self.unescaped(*display),
                self.uri(nodes.uri(*uri))?,
                params(range)?,
            ]),
            Item::Token(span) => self.word(*span),
            Item::Text(span) => self.span(*span),
            Item::Integer(value) => self.make.integer(*value),
            Item::Cseq { number, method } => self
                .make
                .tuple(&[self.make.integer(*number), self.method(*method)]),
            Item::TokenParams {
                token,
                params: range,
            } => self.make.tuple(&[self.word(*token), params(range)?]),
            Item::Media {
                main,
                sub,
                params: range,
            } => {
                let kind = self.make.tuple(&[self.lower(*main), self.lower(*sub)]);
                self.make.tuple(&[kind, params(range)?])
            }
            Item::UriParams { uri, params: range } => self
                .make
                .tuple(&[self.uri(nodes.uri(*uri))?, params(range)?]),
            Item::Auth {
                scheme,
                params: range,
                token68,
            } => {
                let params = match token68 {
                    Some(token) => self
                        .make
                        .map(&[self.literals.empty()], &[self.span(*token)])
                        .ok_or_else(broken)?,
                    None => params(range)?,
                };
                self.make.tuple(&[self.word(*scheme), params])
            }
            Item::Params(range) => params(range)?,
            Item::Date(date) => self.date(date)?,
            Item::IntegerParams {
                value,
                params: range,
            } => self
                .make
                .tuple(&[self.make.integer(*value), params(range)?]),
            Item::Rack {
                response,
                cseq,
                method,
            } => self.make.tuple(&[
                self.make.integer(*response),
                self.make.integer(*cseq),
                self.method(*method),
            ]),
            Item::RetryAfter {
                seconds,
                comment,
                params: range,
            } => self.make.tuple(&[
                self.make.integer(*seconds),
                self.unescaped(*comment),
                params(range)?,
            ]),
            Item::Timestamp { time, delay } => self
                .make
                .tuple(&[self.make.float(*time), self.make.float(*delay)]),
            Item::Version { major, minor } => self.version((*major, *minor)),
            Item::Warning { code, agent, text } => self.make.tuple(&[
                self.make.integer(u32::from(*code)),
                self.span(*agent),
                self.unescaped(*text),
            ]),
            Item::WordParams {
                word,
                params: range,
            } => self.make.tuple(&[self.unescaped(*word), params(range)?]),
            Item::Star => self.star(),
        })
    }

    fn star(&self) -> Raw<'a> {
        self.literals
            .find(b"*")
            .unwrap_or_else(|| self.make.binary(b"*"))
    }

    fn via(&self, via: &Via, nodes: &impl Nodes) -> NifResult<Raw<'a>> {
        let transport = via.transport.of(self.text);
        let (protocol, default_port) = match self.atoms.protocol(transport) {
            Some((atom, port)) => (atom.into(), port),
            None => (self.span(via.transport), None),
        };
        let port = via.port.or(default_port).unwrap_or(0);
        let sent_by = self
            .make
            .tuple(&[self.span(via.host), self.make.integer(u32::from(port))]);
        let params = nodes.params(via.params);
        let params = self.params_with(params, |param| self.via_value(param))?;
        Ok(self
            .make
            .tuple(&[self.version(via.version), protocol, sent_by, params]))
    }

    /// RFC5118§4.5 - `received` may come in the brackets of an IPv6 reference; it is kept without. Of no other text
    /// anything is taken, or printing it would be another's.
    fn via_value(&self, param: &Param) -> Raw<'a> {
        let span = param.value.span;
        match span.of(self.text) {
            [b'[', address @ .., b']']
                if !address.is_empty()
                    && address.iter().all(|octet| is_of_address(*octet))
                    && param.name.of(self.text).eq_ignore_ascii_case(b"received") =>
            {
                self.span(Span {
                    start: span.start + 1,
                    end: span.end - 1,
                })
            }
            _ => self.param_value(param),
        }
    }

    fn params(&self, params: &[Param]) -> NifResult<Raw<'a>> {
        self.params_with(params, |param| self.param_value(param))
    }

    #[inline]
    fn params_with(
        &self,
        params: &[Param],
        value: impl Fn(&Param) -> Raw<'a>,
    ) -> NifResult<Raw<'a>> {
        if params.is_empty() {
            return Ok(self.literals.empty_map());
        }
        let mut keys: Terms<'a, 16> = SmallVec::new();
        let mut values: Terms<'a, 16> = SmallVec::new();
        for param in params {
            keys.push(self.lower(param.name));
            values.push(value(param));
        }
        self.make.map(&keys, &values).ok_or_else(broken)
    }

    #[inline]
    fn param_value(&self, param: &Param) -> Raw<'a> {
        match param.value.escaped {
            true => self.unescaped(param.value),
            false => self.word(param.value.span),
        }
    }

    pub(crate) fn uri(&self, uri: &Uri) -> NifResult<Raw<'a>> {
        let nil = Raw::from(self.atoms.nil);
        let default_port = uri.kind.default_port();
        let some = |span: Span| {
            if span.is_empty() {
                nil
            } else {
                self.span(span)
            }
        };
        // A name that stands where a URI should (`<Bellcore-dr1>`) has none.
        let scheme = match uri.scheme.is_empty() {
            true => nil,
            false => self.lower(uri.scheme),
        };
        let (host, port) = match default_port {
            Some(default) => {
                let port = uri.port.unwrap_or(default);
                (self.span(uri.host), self.make.integer(u32::from(port)))
            }
            None => (nil, nil),
        };
        // Without a userinfo and a port the authority is the host: one term is both.
        let authority = match default_port.is_some() && uri.authority == uri.host {
            true => host,
            false => self.span(uri.authority),
        };
        let fields = [
            nil,
            scheme,
            uri.userinfo.map_or(nil, |span| self.span(span)),
            authority,
            some(uri.parameters),
            some(uri.headers),
            host,
            port,
        ];
        self.atoms.uri.make(self.make, fields).ok_or_else(broken)
    }

    fn date(&self, date: &Date) -> NifResult<Raw<'a>> {
        let number = |value: u16| self.make.integer(u32::from(value));
        let zero = number(0);
        let fields = [
            zero,
            self.atoms.calendar.into(),
            number(date.year),
            number(date.month.into()),
            number(date.day.into()),
            number(date.hour.into()),
            number(date.minute.into()),
            number(date.second.into()),
            self.make.tuple(&[zero, zero]),
        ];
        self.atoms.date.make(self.make, fields).ok_or_else(broken)
    }

    fn version(&self, (major, minor): (u16, u16)) -> Raw<'a> {
        if (major, minor) == (2, 0) {
            return self.literals.version_2_0();
        }
        self.make.tuple(&[
            self.make.integer(major.into()),
            self.make.integer(minor.into()),
        ])
    }

    #[inline]
    pub(crate) fn method(&self, span: Span) -> Raw<'a> {
        match self.atoms.method(span.of(self.text)) {
            Some(atom) => atom.into(),
            None => self.span(span),
        }
    }

    /// Text as it stands.
    #[inline]
    fn span(&self, span: Span) -> Raw<'a> {
        self.text(span, span.of(self.text))
    }

    #[inline]
    fn text(&self, span: Span, text: &[u8]) -> Raw<'a> {
        match self.binary {
            Some(binary) if text.len() > COPIED => {
                self.part(binary, self.text.len(), span.start as usize, text)
            }
            _ if text.is_empty() => self.literals.empty(),
            _ => self.make.binary(text),
        }
    }

    /// A part of a binary of so many octets: it shares them, or is a copy where it would keep much else alive for as long
    /// as somebody holds it.
    #[inline]
    fn part(&self, binary: Raw<'a>, octets: usize, start: usize, part: &[u8]) -> Raw<'a> {
        match octets <= KEPT || octets <= part.len() * KEPT_TIMES {
            true => self.make.sub_binary(binary, start, part.len()),
            false => self.make.binary(part),
        }
    }

    /// Text that is likely one of the literals.
    #[inline]
    fn word(&self, span: Span) -> Raw<'a> {
        let text = span.of(self.text);
        match self.literals.find(text) {
            Some(word) => word,
            None => self.text(span, text),
        }
    }

    /// Text in lower case.
    #[inline]
    fn lower(&self, span: Span) -> Raw<'a> {
        let text = span.of(self.text);
        if !text.iter().any(u8::is_ascii_uppercase) {
            return self.word(span);
        }
        self.make.binary_with(text.len(), |octets| {
            octets.copy_from_slice(text);
            octets.make_ascii_lowercase();
        })
    }

    /// Text without the `\` of its quoted pairs.
    fn unescaped(&self, text: Text) -> Raw<'a> {
        if !text.escaped {
            return self.span(text.span);
        }
        let octets: SmallVec<[u8; 128]> = unescape(text.span.of(self.text)).collect();
        self.make.binary(&octets)
    }
}

/// Whether an octet can be an IPv6 address's.
fn is_of_address(octet: u8) -> bool {
    octet.is_ascii_hexdigit() || matches!(octet, b':' | b'.')
}

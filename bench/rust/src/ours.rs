//! Our parser, as the NIF calls it: a new one for each message. Every field of the result is read.

use sip_parser::{Item, Message, Param, Parser, Range, Span, StartLine, Text, Uri, UriId, Via};

pub(crate) fn parse(input: &[u8]) -> Option<u64> {
    let mut parser = Parser::new();
    let message = parser.parse(input).ok()?;
    let mut reader = Reader {
        message: &message,
        sum: 0,
    };
    reader.message();
    Some(reader.sum)
}

struct Reader<'m> {
    message: &'m Message<'m>,
    /// Of all fields: none can be left unread.
    sum: u64,
}

impl Reader<'_> {
    fn message(&mut self) {
        let message = self.message;
        match message.start_line() {
            StartLine::Request {
                method,
                uri,
                version,
            } => {
                self.span(*method);
                self.uri(uri);
                self.pair(*version);
            }
            StartLine::Response {
                version,
                status,
                reason,
            } => {
                self.pair(*version);
                self.number(*status);
                self.span(*reason);
            }
        }
        for header in message.headers() {
            self.number(header.id.map_or(255, |id| id.index() as u32));
            self.span(header.name);
            match message.items(header) {
                Some(items) => items.iter().for_each(|item| self.item(item)),
                None => message.values(header).for_each(|value| self.span(value)),
            }
        }
        self.number(message.body_offset() as u32);
        self.number(message.body().map_or(0, |body| body.len() as u32));
    }

    fn number(&mut self, number: impl Into<u64>) {
        self.sum = self.sum.wrapping_add(number.into());
    }

    fn pair(&mut self, (one, other): (u16, u16)) {
        self.number(one);
        self.number(other);
    }

    fn span(&mut self, span: Span) {
        self.number(span.start ^ span.end);
    }

    fn text(&mut self, text: Text) {
        self.span(text.span);
        self.number(text.escaped);
    }

    fn params(&mut self, range: Range) {
        for Param { name, value } in self.message.params(range) {
            self.span(*name);
            self.text(*value);
        }
    }

    fn uri_of(&mut self, id: UriId) {
        self.uri(self.message.uri(id));
    }

    fn uri(&mut self, uri: &Uri) {
        self.number(uri.kind as u8);
        for span in [
            uri.scheme,
            uri.authority,
            uri.host,
            uri.parameters,
            uri.headers,
        ] {
            self.span(span);
        }
        self.span(uri.userinfo.unwrap_or_default());
        self.number(uri.port.unwrap_or(0));
    }

    fn via(&mut self, via: &Via) {
        self.pair(via.version);
        self.span(via.transport);
        self.span(via.host);
        self.number(via.port.unwrap_or(0));
        self.params(via.params);
    }

    fn item(&mut self, item: &Item) {
        match *item {
            Item::Address {
                display,
                uri,
                params,
            } => {
                self.text(display);
                self.uri_of(uri);
                self.params(params);
            }
            Item::Auth {
                scheme,
                params,
                token68,
            } => {
                self.span(scheme);
                self.params(params);
                self.span(token68.unwrap_or_default());
            }
            Item::Cseq { number, method } => {
                self.number(number);
                self.span(method);
            }
            Item::Date(date) => {
                let small = [date.month, date.day, date.hour, date.minute, date.second];
                self.number(date.year);
                small.iter().for_each(|part| self.number(*part));
            }
            Item::Integer(value) => self.number(value),
            Item::IntegerParams { value, params } => {
                self.number(value);
                self.params(params);
            }
            Item::Media { main, sub, params } => {
                self.span(main);
                self.span(sub);
                self.params(params);
            }
            Item::Params(params) => self.params(params),
            Item::Rack {
                response,
                cseq,
                method,
            } => {
                self.number(response);
                self.number(cseq);
                self.span(method);
            }
            Item::RetryAfter {
                seconds,
                comment,
                params,
            } => {
                self.number(seconds);
                self.text(comment);
                self.params(params);
            }
            Item::Star => self.number(1_u8),
            Item::Text(span) | Item::Token(span) => self.span(span),
            Item::Timestamp { time, delay } => self.number(time.to_bits() ^ delay.to_bits()),
            Item::TokenParams { token, params } => {
                self.span(token);
                self.params(params);
            }
            Item::UriParams { uri, params } => {
                self.uri_of(uri);
                self.params(params);
            }
            Item::Version { major, minor } => self.pair((major, minor)),
            Item::Via(ref via) => self.via(via),
            Item::Warning { code, agent, text } => {
                self.number(code);
                self.span(agent);
                self.text(text);
            }
            Item::WordParams { word, params } => {
                self.text(word);
                self.params(params);
            }
        }
    }
}

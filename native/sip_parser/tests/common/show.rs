//! Prints a parsed tree, so that a test says in one line all that a header must yield.
//!
//! A bare word stands as it is, other text in quotes with Rust's escapes; parameters follow with `;`, an
//! absent port is `-`.

use sip_parser::{Item, Message, Param, Range, StartLine, Text, Uri, UriId, Values, unescape};

/// What owns the nodes.
pub trait Tree {
    fn octets(&self) -> &[u8];
    fn list(&self, range: Range) -> &[Param];
    fn node(&self, id: UriId) -> &Uri;
}

impl Tree for Message<'_> {
    fn octets(&self) -> &[u8] {
        self.text()
    }
    fn list(&self, range: Range) -> &[Param] {
        self.params(range)
    }
    fn node(&self, id: UriId) -> &Uri {
        self.uri(id)
    }
}

impl Tree for Values<'_> {
    fn octets(&self) -> &[u8] {
        self.text()
    }
    fn list(&self, range: Range) -> &[Param] {
        self.params(range)
    }
    fn node(&self, id: UriId) -> &Uri {
        self.uri(id)
    }
}

/// All elements of one header.
pub fn items(tree: &impl Tree, items: &[Item]) -> Vec<String> {
    items.iter().map(|element| item(tree, element)).collect()
}

/// One element.
pub fn item(tree: &impl Tree, item: &Item) -> String {
    let octets = tree.octets();
    let raw = |span: sip_parser::Span| string(span.of(octets));
    let list = |range: Range| params(tree, range);
    let bracketed = |id: UriId| format!("<{}>", uri(octets, tree.node(id)));
    match *item {
        Item::Address {
            display,
            uri,
            params,
        } => name(octets, display) + &bracketed(uri) + &list(params),
        Item::Auth {
            scheme,
            params,
            token68,
        } => match token68 {
            Some(token68) => format!("{} {}", raw(scheme), raw(token68)),
            None => raw(scheme) + &list(params),
        },
        Item::Cseq { number, method } => format!("{number} {}", raw(method)),
        Item::Date(d) => format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
            d.year, d.month, d.day, d.hour, d.minute, d.second
        ),
        Item::Integer(value) => value.to_string(),
        Item::IntegerParams { value, params } => value.to_string() + &list(params),
        Item::Media { main, sub, params } => format!("{}/{}", raw(main), raw(sub)) + &list(params),
        Item::Params(params) => list(params),
        Item::Rack {
            response,
            cseq,
            method,
        } => format!("{response} {cseq} {}", raw(method)),
        Item::RetryAfter {
            seconds,
            comment,
            params,
        } => format!("{seconds} {:?}", plain(octets, comment)) + &list(params),
        Item::Star => "*".to_owned(),
        Item::Text(span) | Item::Token(span) => raw(span),
        Item::Timestamp { time, delay } => format!("{time} {delay}"),
        Item::TokenParams { token, params } => raw(token) + &list(params),
        Item::UriParams { uri, params } => bracketed(uri) + &list(params),
        Item::Version { major, minor } => format!("{major}.{minor}"),
        Item::Via(via) => {
            let ((major, minor), port) = (via.version, port(via.port));
            let (transport, host) = (raw(via.transport), raw(via.host));
            format!("{major}.{minor} {transport} {host} {port}") + &list(via.params)
        }
        Item::Warning { code, agent, text } => {
            format!("{code} {} {:?}", raw(agent), plain(octets, text))
        }
        Item::WordParams { word, params } => self::word(&plain(octets, word)) + &list(params),
    }
}

/// A URI as it was written, put together from its components.
pub fn uri(octets: &[u8], uri: &Uri) -> String {
    let raw = |span: sip_parser::Span| string(span.of(octets));
    let parts = [uri.authority, uri.parameters, uri.headers].map(raw);
    format!("{}:{}", raw(uri.scheme), parts.concat())
}

/// The components of a URI.
pub fn uri_parts(octets: &[u8], uri: &Uri) -> String {
    let raw = |span: sip_parser::Span| string(span.of(octets));
    format!(
        "{:?} scheme={} user={} host={} port={} parameters={} headers={}",
        uri.kind,
        raw(uri.scheme),
        uri.userinfo.map_or("-".to_owned(), raw),
        raw(uri.host),
        port(uri.port),
        raw(uri.parameters),
        raw(uri.headers)
    )
}

/// The first line.
pub fn start_line(message: &Message<'_>) -> String {
    let octets = message.text();
    match message.start_line() {
        StartLine::Request {
            method,
            uri,
            version: (major, minor),
        } => format!(
            "{} {} {major}.{minor}",
            string(method.of(octets)),
            self::uri(octets, uri)
        ),
        StartLine::Response {
            version: (major, minor),
            status,
            reason,
        } => format!("{major}.{minor} {status} {}", string(reason.of(octets))),
    }
}

/// A word as it is, or text in quotes.
pub fn word(text: &str) -> String {
    let bare = |octet: u8| octet.is_ascii_graphic() && !b"\",;<>\\=".contains(&octet);
    match !text.is_empty() && text.bytes().all(bare) {
        true => text.to_owned(),
        false => format!("{text:?}"),
    }
}

/// A parameter; one without a value and one with an empty value are the same.
pub fn param(name: &str, value: &str) -> String {
    match value {
        "" => format!(";{name}"),
        value => format!(";{name}={}", word(value)),
    }
}

fn params(tree: &impl Tree, range: Range) -> String {
    let octets = tree.octets();
    tree.list(range)
        .iter()
        .map(|p| param(&string(p.name.of(octets)), &plain(octets, p.value)))
        .collect()
}

fn name(octets: &[u8], display: Text) -> String {
    match plain(octets, display) {
        none if none.is_empty() => String::new(),
        name => format!("{name:?} "),
    }
}

fn port(port: Option<u16>) -> String {
    port.map_or("-".to_owned(), |port| port.to_string())
}

/// The text without the `\` of its quoted pairs; that there are some must have been said. Outside of quotes a `\`
/// is text.
fn plain(octets: &[u8], text: Text) -> String {
    let raw = text.span.of(octets);
    let quoted = text.span.start.checked_sub(1).map(|at| octets[at as usize]);
    if matches!(quoted, Some(b'"' | b'(')) {
        assert_eq!(text.escaped, raw.contains(&b'\\'), "{}", raw.escape_ascii());
    }
    match text.escaped {
        true => string(&unescape(raw).collect::<Vec<u8>>()),
        false => string(raw),
    }
}

/// UTF-8 as it is, anything else with escapes.
pub fn string(octets: &[u8]) -> String {
    match str::from_utf8(octets) {
        Ok(text) => text.to_owned(),
        Err(_) => octets.escape_ascii().to_string(),
    }
}

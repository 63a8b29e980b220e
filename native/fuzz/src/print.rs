//! A parsed tree as wire text, in one spelling: what is read from it must be the same tree.

use crate::common::show::Tree;
use sip_parser::{
    Date, Header, HeaderId, Item, Message, Param, Range, Repeat, Row, Shape, Span, StartLine, Text,
    Uri, Via,
};

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// The whole message. A typed header is printed from its elements, others line by line.
pub fn message(message: &Message<'_>) -> Vec<u8> {
    let mut wire = start_line(message);
    wire.extend_from_slice(b"\r\n");
    for header in message.headers() {
        for value in lines(message, header) {
            wire.extend_from_slice(header.name.of(message.text()));
            wire.extend_from_slice(b": ");
            wire.extend_from_slice(&value);
            wire.extend_from_slice(b"\r\n");
        }
    }
    if let Some(body) = message.body() {
        wire.extend_from_slice(b"\r\n");
        wire.extend_from_slice(body);
    }
    wire
}

fn lines(message: &Message<'_>, header: &Header) -> Vec<Vec<u8>> {
    match (header.id, message.items(header)) {
        (Some(id), Some(items)) => values(message, id, items),
        _ => message
            .values(header)
            .map(|value| value.of(message.text()).to_vec())
            .collect(),
    }
}

fn start_line(message: &Message<'_>) -> Vec<u8> {
    let text = message.text();
    match message.start_line() {
        StartLine::Request {
            method,
            uri,
            version: (major, minor),
        } => [
            method.of(text),
            b" ",
            &self::uri(text, uri),
            format!(" SIP/{major}.{minor}").as_bytes(),
        ]
        .concat(),
        StartLine::Response {
            version: (major, minor),
            status,
            reason,
        } => [
            format!("SIP/{major}.{minor} {status} ").as_bytes(),
            reason.of(text),
        ]
        .concat(),
    }
}

/// The lines of one header.
pub fn values(tree: &impl Tree, id: HeaderId, items: &[Item]) -> Vec<Vec<u8>> {
    let row = id.row();
    let items: Vec<Vec<u8>> = items.iter().map(|item| element(tree, row, item)).collect();
    let separator: &[u8] = match (row.shape, row.repeat) {
        (Shape::Privacy, _) => b";",
        (_, Repeat::Lines) => return items,
        _ => b", ",
    };
    vec![items.join(separator)]
}

/// A URI as it was written, put together from its components.
pub fn uri(text: &[u8], uri: &Uri) -> Vec<u8> {
    // A name that stands where a URI should has none.
    let scheme = match uri.scheme.of(text) {
        b"" => Vec::new(),
        scheme => [scheme, b":"].concat(),
    };
    [
        &scheme,
        uri.authority.of(text),
        uri.parameters.of(text),
        uri.headers.of(text),
    ]
    .concat()
}

fn element(tree: &impl Tree, row: &Row, item: &Item) -> Vec<u8> {
    let text = tree.octets();
    let raw = |span: Span| span.of(text);
    let params = |range: Range| semicolons(tree, range);
    let bracketed = |id| [b"<", &uri(text, tree.node(id))[..], b">"].concat();
    match *item {
        Item::Address {
            display,
            uri,
            params: range,
        } => [name(text, display), bracketed(uri), params(range)].concat(),
        Item::Auth {
            scheme,
            token68: Some(token68),
            ..
        } => [raw(scheme), b" ", raw(token68)].concat(),
        Item::Auth {
            scheme,
            params: range,
            ..
        } if range.is_empty() => raw(scheme).to_vec(),
        Item::Auth {
            scheme,
            params: range,
            ..
        } => [raw(scheme), b" ", &commas(tree, range)].concat(),
        Item::Cseq { number, method } => {
            [number.to_string().as_bytes(), b" ", raw(method)].concat()
        }
        Item::Date(date) => self::date(date).into_bytes(),
        Item::Integer(value) => value.to_string().into_bytes(),
        Item::IntegerParams {
            value,
            params: range,
        } => [value.to_string().into_bytes(), params(range)].concat(),
        Item::Media {
            main,
            sub,
            params: range,
        } => [raw(main), b"/", raw(sub), &params(range)].concat(),
        Item::Params(range) if row.shape == Shape::AuthInfo => commas(tree, range),
        Item::Params(range) => params(range)[1..].to_vec(),
        Item::Rack {
            response,
            cseq,
            method,
        } => [format!("{response} {cseq} ").as_bytes(), raw(method)].concat(),
        Item::RetryAfter {
            seconds,
            comment,
            params: range,
        } => [
            format!("{seconds} (").as_bytes(),
            raw(comment.span),
            b")",
            &params(range),
        ]
        .concat(),
        Item::Star => b"*".to_vec(),
        Item::Text(span) | Item::Token(span) => raw(span).to_vec(),
        Item::Timestamp { time, delay } => format!("{time} {delay}").into_bytes(),
        Item::TokenParams {
            token,
            params: range,
        } => [raw(token), &params(range)].concat(),
        Item::UriParams { uri, params: range } => [bracketed(uri), params(range)].concat(),
        Item::Version { major, minor } => format!("{major}.{minor}").into_bytes(),
        Item::Via(via) => [self::via(text, &via), params(via.params)].concat(),
        Item::Warning {
            code,
            agent,
            text: words,
        } => [
            format!("{code:03} ").as_bytes(),
            raw(agent),
            b" ",
            &quoted(text, words),
        ]
        .concat(),
        Item::WordParams {
            word,
            params: range,
        } => [quoted(text, word), params(range)].concat(),
    }
}

fn via(text: &[u8], via: &Via) -> Vec<u8> {
    let (major, minor) = via.version;
    let host = host(via.host.of(text));
    let port = via.port.map_or(String::new(), |port| format!(":{port}"));
    let protocol = format!("SIP/{major}.{minor}/");
    [
        protocol.as_bytes(),
        via.transport.of(text),
        b" ",
        &host,
        port.as_bytes(),
    ]
    .concat()
}

/// The tree has no brackets around an IPv6 address.
pub fn host(host: &[u8]) -> Vec<u8> {
    match host.contains(&b':') {
        true => [b"[", host, b"]"].concat(),
        false => host.to_vec(),
    }
}

/// The tree has no day of the week, nor does the parser judge it.
fn date(date: Date) -> String {
    format!(
        "Mon, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        date.day,
        MONTHS[usize::from(date.month) - 1],
        date.year,
        date.hour,
        date.minute,
        date.second
    )
}

fn name(text: &[u8], display: Text) -> Vec<u8> {
    match display.span.is_empty() {
        true => Vec::new(),
        false => [quoted(text, display), b" ".to_vec()].concat(),
    }
}

fn quoted(text: &[u8], words: Text) -> Vec<u8> {
    let mut wire = b"\"".to_vec();
    for octet in words.span.of(text) {
        // Outside of quotes a `\` is text.
        if *octet == b'\\' && !words.escaped {
            wire.push(b'\\');
        }
        wire.push(*octet);
    }
    wire.push(b'"');
    wire
}

/// Every other value goes without quotes where it may.
fn semicolons(tree: &impl Tree, range: Range) -> Vec<u8> {
    let text = tree.octets();
    let mut wire = Vec::new();
    for param in tree.list(range) {
        wire.push(b';');
        wire.extend_from_slice(param.name.of(text));
        let value = param.value.span.of(text);
        if !value.is_empty() {
            wire.push(b'=');
            match value.iter().all(|octet| is_bare(*octet)) && value.len() % 2 == 0 {
                true => wire.extend_from_slice(value),
                false => wire.extend_from_slice(&quoted(text, param.value)),
            }
        }
    }
    wire
}

/// All in quotes: without, `a==` would be taken for what RFC 7235 calls `token68`.
fn commas(tree: &impl Tree, range: Range) -> Vec<u8> {
    let text = tree.octets();
    let param = |param: &Param| [param.name.of(text), b"=", &quoted(text, param.value)].concat();
    let params: Vec<Vec<u8>> = tree.list(range).iter().map(param).collect();
    params.join(&b", "[..])
}

fn is_bare(octet: u8) -> bool {
    octet.is_ascii_graphic() && !b"\",;<>\\".contains(&octet)
}

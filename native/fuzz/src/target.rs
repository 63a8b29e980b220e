//! The targets but the one of streams.

use crate::common::{self, is_sane, shown};
use crate::{letter, pen::Pen, print, work};
use sip_parser::{
    Element, Error, Header, HeaderId, Item, Level, Message, Parser, Reason, StartLine, Uri,
    UriKind, Values, parse_uri, salvage,
};

/// One datagram.
pub fn message(input: &[u8]) {
    let mut parser = Parser::new();
    match work::bounded(input.len(), || parser.parse(input)) {
        Ok(message) => parsed(input, &message),
        Err(error) => is_sane(&error, input),
    }
    let first = common::parse(input);
    // What an earlier message has left in the parser changes nothing.
    assert_eq!(parser.parse(input).map(|message| shown(&message)), first);
}

fn parsed(input: &[u8], message: &Message<'_>) {
    salvage_agrees(input, message);
    if has_escaped_fold(message) {
        return;
    }
    let printed = print::message(message);
    let mut parser = Parser::new();
    match parser.parse(&printed) {
        Ok(again) => assert_eq!(shown(&again), shown(message)),
        Err(error) => panic!("{error}: {}", printed.escape_ascii()),
    }
}

/// Whether a header is text because of a fold behind a `\` in quotes. With the blank that the fold has become it is one
/// that follows the grammar.
fn has_escaped_fold(message: &Message<'_>) -> bool {
    let is_text = |header: &Header| {
        let typed = header.id.is_some_and(|id| id.row().level == Level::Typed);
        typed && message.items(header).is_none()
    };
    message.is_unfolded()
        && message
            .headers()
            .iter()
            .filter(|header| is_text(header))
            .any(|header| {
                let mut values = message.values(header);
                values.any(|value| {
                    value
                        .of(message.text())
                        .windows(2)
                        .any(|pair| pair == b"\\ ")
                })
            })
}

/// What is left of a message that would have been refused is what the message itself has.
fn salvage_agrees(input: &[u8], message: &Message<'_>) {
    let salvaged = work::bounded(input.len(), || salvage(input));
    let StartLine::Request { method, .. } = message.start_line() else {
        assert_eq!(salvaged, None);
        return;
    };
    let salvaged = salvaged.expect("a request");
    assert_eq!(salvaged.method, method.of(message.text()));
    for id in [
        HeaderId::VIA,
        HeaderId::FROM,
        HeaderId::TO,
        HeaderId::CALL_ID,
        HeaderId::CSEQ,
    ] {
        let header = message.header(id);
        let lines = header.into_iter().flat_map(|header| message.values(header));
        let found: Vec<&[u8]> = lines
            .map(|line| line.of(message.text()))
            .filter(|value| !value.iter().any(|octet| is_control(*octet)))
            .collect();
        let lines = salvaged.lines.iter().filter(|(name, _)| *name == id);
        let lines: Vec<&[u8]> = lines.map(|(_, value)| value.as_slice()).collect();
        assert_eq!(lines, found, "{}", id.row().name);
    }
}

fn is_control(octet: u8) -> bool {
    octet < b' ' && octet != b'\t' || octet == 0x7F
}

/// A URI, alone, as a Request-URI and in a header.
pub fn uri(input: &[u8]) {
    match work::bounded(input.len(), || parse_uri(input)) {
        Ok(uri) => {
            // The components are the whole text, in order.
            assert_eq!(print::uri(input, &uri), input);
            authority_agrees(input, &uri);
            // A blank in the quotes of a parameter would part the words of the line.
            if !input.contains(&b' ') && !input.contains(&b'\t') {
                request_uri_agrees(input, &uri);
            }
            bracketed_uri_agrees(input);
        }
        Err(error) => {
            is_sane(&error, input);
            // Octets that would end the line or the word make another line of it.
            let one_word = !input.iter().any(|octet| b" \r\n".contains(octet));
            assert!(!one_word || Parser::new().parse(&request(input)).is_err());
        }
    }
}

fn request(uri: &[u8]) -> Vec<u8> {
    [b"OPTIONS ", uri, b" SIP/2.0\r\n\r\n"].concat()
}

/// `[ userinfo "@" ] host [ ":" port ]`, and only a SIP URI has these.
fn authority_agrees(input: &[u8], uri: &Uri) {
    if !matches!(uri.kind, UriKind::Sip | UriKind::Sips) {
        assert!(uri.userinfo.is_none() && uri.host.is_empty() && uri.port.is_none());
        return;
    }
    let user = uri
        .userinfo
        .map_or(Vec::new(), |user| [user.of(input), b"@"].concat());
    let host = print::host(uri.host.of(input));
    let rest = uri.authority.of(input).strip_prefix(&user[..]);
    let rest = rest.and_then(|rest| rest.strip_prefix(&host[..]));
    match (rest.expect("userinfo and host"), uri.port) {
        (rest, None) => assert!(rest.is_empty()),
        (rest, Some(port)) => {
            let digits = rest.strip_prefix(b":").expect("a colon");
            assert!(digits.iter().all(u8::is_ascii_digit));
            assert_eq!(str::from_utf8(digits).unwrap().parse(), Ok(port));
        }
    }
}

fn request_uri_agrees(input: &[u8], uri: &Uri) {
    let (mut parser, line) = (Parser::new(), request(input));
    match parser.parse(&line) {
        Ok(message) => {
            let StartLine::Request { uri: found, .. } = message.start_line() else {
                panic!("no request");
            };
            let parts = common::show::uri_parts(message.text(), found);
            assert_eq!(parts, common::show::uri_parts(input, uri));
        }
        Err(error) => assert_eq!(error.reason, Reason::RequestUriTooLong),
    }
}

fn bracketed_uri_agrees(input: &[u8]) {
    let bracketed = [b"<", input, b">"].concat();
    let mut parser = Parser::new();
    let values = parser
        .parse_values(HeaderId::REPLY_TO, &[&bracketed])
        .unwrap();
    let [Item::Address { uri, .. }] = values.items() else {
        panic!("{:?}", values.items());
    };
    assert_eq!(print::uri(values.text(), values.uri(*uri)), input);
}

/// The lines of one header, of any row of the table: the first octet says which, line ends part the lines.
pub fn values(input: &[u8]) {
    let Some((row, rest)) = input.split_first() else {
        return;
    };
    let id = HeaderId::all()
        .nth(usize::from(*row) % sip_parser::ROW_COUNT)
        .unwrap();
    let lines: Vec<&[u8]> = rest
        .split(|octet| matches!(octet, b'\r' | b'\n'))
        .map(|line| line.trim_ascii_start().trim_ascii_end())
        .collect();
    let mut parser = Parser::new();
    let found = work::bounded(input.len(), || parser.parse_values(id, &lines));
    let found = match found {
        Ok(values) => {
            printed_values_agree(id, &values);
            Ok(items(&values))
        }
        Err(error) => {
            assert!(error.offset <= rest.len());
            assert_eq!(error.header, Some(id));
            Err(error)
        }
    };
    each_agrees(id, &lines, &found);
    values_of_a_message_agree(id, &lines, &found);
}

/// Of a header that is read the elements are all good, one by one; of another one at least is not.
fn each_agrees(id: HeaderId, lines: &[&[u8]], found: &Result<Vec<String>, Error>) {
    let octets: usize = lines.iter().map(|line| line.len() + 1).sum();
    let mut parser = Parser::new();
    // A line with a bad element is read twice.
    let (values, elements) = work::bounded(2 * octets, || parser.parse_each(id, lines));
    let mut good = Vec::new();
    for element in &elements {
        match element {
            Element::Good(item) => good.push(common::show::item(&values, item)),
            Element::Bad(span, error) => assert!(error.offset <= span.len()),
        }
    }
    match found {
        Ok(found) => assert_eq!((elements.len(), &good), (found.len(), found)),
        Err(error) if error.reason == Reason::InvalidHeader => {
            assert!(good.len() < elements.len());
        }
        // One line too many, each of them good.
        Err(_) => {}
    }
}

fn items(values: &Values<'_>) -> Vec<String> {
    common::show::items(values, values.items())
}

fn printed_values_agree(id: HeaderId, values: &Values<'_>) {
    let printed = print::values(values, id, values.items());
    let lines: Vec<&[u8]> = printed.iter().map(Vec::as_slice).collect();
    let mut parser = Parser::new();
    let again = parser.parse_values(id, &lines);
    let again = again.map(|values| items(&values));
    assert_eq!(
        again,
        Ok(items(values)),
        "{}",
        lines.concat().escape_ascii()
    );
}

/// Given alone and as lines of a message, the same values are the same elements, and both are refused or none.
fn values_of_a_message_agree(id: HeaderId, lines: &[&[u8]], found: &Result<Vec<String>, Error>) {
    let row = id.row();
    let mut wire = b"OPTIONS sip:h SIP/2.0\r\n".to_vec();
    for line in lines {
        wire.extend_from_slice(row.name.as_bytes());
        wire.push(b':');
        wire.extend_from_slice(line);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"\r\n");
    let mut parser = Parser::new();
    match (parser.parse(&wire), found) {
        (Ok(message), _) if row.level == Level::Extension => {
            assert_eq!(message.items(&message.headers()[0]), None);
        }
        (Err(error), _) if row.level == Level::Extension => {
            assert!(lines.iter().any(|line| line.contains(&0)), "{error}");
        }
        (Ok(message), Ok(found)) => {
            let header = &message.headers()[0];
            let items = message
                .items(header)
                .map(|items| common::show::items(&message, items));
            assert_eq!(items.as_ref(), Some(found));
        }
        (Ok(message), Err(_)) => {
            assert_eq!(row.level, Level::Typed);
            assert_eq!(message.items(&message.headers()[0]), None);
        }
        (Err(error), Err(_)) => is_sane(&error, &wire),
        (Err(error), Ok(_)) => assert_eq!(error.reason, Reason::BodyTooShort),
    }
}

/// A message that follows the grammar, each of its choices made by an octet of the input: what was written is read.
pub fn grammar(input: &[u8]) {
    let (choices, rest) = input.split_at(input.len() * 3 / 4);
    let (folds, body) = rest.split_at(rest.len() / 2);
    let letter = letter::write(&mut Pen::new(choices, folds), body);
    let found = common::parse(&letter.wire);
    assert_eq!(found, Ok(letter.shown), "{}", letter.wire.escape_ascii());
    message(&letter.wire);
}

/// A piece of a message over and over: the first two octets say where the piece begins and how long it is.
///
/// What is said of [`work::bounded`] is true of all targets. Here the inputs are so long that what grows with the
/// square of any part of them passes its bound.
pub fn linear(input: &[u8]) {
    let [at, length, seed @ ..] = input else {
        return;
    };
    if seed.is_empty() {
        return;
    }
    let seed = &seed[..seed.len().min(1_024)];
    let at = usize::from(*at) * seed.len() / 256;
    let end = seed.len().min(at + 1 + usize::from(*length % 64));
    let piece = &seed[at..end];
    // An even number, so that what comes in pairs is paired.
    let times = LONG / piece.len() / 2 * 2;
    let long = [&seed[..at], &piece.repeat(times), &seed[end..]].concat();
    let mut parser = Parser::new();
    let refused = work::bounded(long.len(), || parser.parse(&long).err());
    work::bounded(long.len(), || salvage(&long));
    let _ = work::bounded(long.len(), || crate::stream::first(&long));
    let _ = work::bounded(long.len(), || parse_uri(&long));
    if let Some(error) = refused {
        assert!(error.offset <= long.len());
    }
}

/// Octets of an input of [`linear`]: as many as a quarter of the largest datagram has.
const LONG: usize = 16_384;

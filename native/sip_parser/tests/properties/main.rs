//! What holds for every message: what was printed is read again, and nothing makes the parser panic or point
//! outside of its input.

#[path = "../common/mod.rs"]
mod common;
mod grammar;
mod letter;
mod pen;

use common::{fixture, fixtures, frame_whole, parse, show};
use letter::Letter;
use pen::Pen;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use sip_parser::{
    Element, Frame, HeaderId, Parser, ROW_COUNT, Reason, Resume, Shape, frame, parse_uri, salvage,
};
use std::sync::LazyLock;

/// As many cases as PROPTEST_CASES says, or these; a failure prints its plainest input, and no file.
fn cases(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let said = std::env::var_os("PROPTEST_CASES").is_some();
    ProptestConfig {
        cases: if said { default.cases } else { cases },
        failure_persistence: None,
        // One property wants a Content-Length and a body, which every other message has.
        max_global_rejects: 1 << 20,
        ..default
    }
}

fn choices() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..300)
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

fn letter(choices: &[u8], folds: &[u8], body: &[u8]) -> Letter {
    letter::write(&mut Pen::new(choices, folds), body)
}

static CORPUS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    ["rfc4475", "rfc5118-wire", "rfc6216-cl", "clients"]
        .iter()
        .flat_map(|folder| fixtures(folder))
        .map(|name| fixture(&name))
        .collect()
});

/// Text that is near to SIP, and wrong in all ways.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let fragment = select(vec![
        "\r\n",
        "\r\n",
        "\n",
        "\r",
        " ",
        "\t",
        "\r\n ",
        ":",
        ";",
        ",",
        "=",
        "\"",
        "\\",
        "<",
        ">",
        "(",
        ")",
        "@",
        "%",
        "%4",
        "%41",
        "?",
        "/",
        "[",
        "]",
        "[::1]",
        "*",
        "\0",
        "\\\0",
        "\u{7f}",
        "é",
        "0",
        "5060",
        "65536",
        "4294967296",
        "Via:",
        "v:",
        "From:",
        "To:",
        "m:",
        "CSeq:",
        "l:",
        "Content-Length: 3",
        "Call-ID:",
        "X-Foo:",
        "Route:",
        "Authorization:",
        "Retry-After:",
        "Date:",
        "Warning:",
        "Timestamp:",
        "Accept:",
        "Privacy:",
        "Refer-To:",
        "Call-Info:",
        "Reason:",
        ";text=",
        "#",
        "\r\r\n",
        "INVITE",
        "sip:",
        "tel:",
        "urn:",
        "h",
        "a",
        "SIP/2.0",
        "SIP/2.0/UDP",
        "OPTIONS sip:h SIP/2.0\r\n",
        "SIP/2.0 200 OK\r\n",
        "tag",
        "branch=z9hG4bK",
        "q",
        "\r\n\r\n",
    ]);
    vec(fragment, 0..60).prop_map(|fragments| fragments.concat().into_bytes())
}

/// The parser and all else that the crate does with octets.
fn survives(input: &[u8]) {
    let _ = parse(input);
    let _ = salvage(input);
    if let Err(error) = parse_uri(input) {
        common::is_sane(&error, input);
    }
    match frame_whole(input) {
        Ok(Frame::Complete(octets)) => assert!(octets <= input.len()),
        Ok(Frame::Partial(resume)) => assert_eq!(resume.scanned as usize, input.len()),
        Err(_) => {}
    }
}

/// Of what parses whole every element is good, and of no value more becomes than it has octets.
fn reads_each(id: HeaderId, lines: &[&[u8]], found: &Result<Vec<String>, sip_parser::Error>) {
    let mut parser = Parser::new();
    let (values, elements) = parser.parse_each(id, lines);
    let mut good = Vec::new();
    for element in &elements {
        match element {
            Element::Good(item) => good.push(show::item(&values, item)),
            Element::Bad(span, error) => assert!(error.offset <= span.len()),
        }
    }
    match found {
        Ok(found) => assert_eq!((elements.len(), &good), (found.len(), found)),
        Err(error) if error.reason == Reason::InvalidHeader => {
            // Several stars are each good in a line of their own, and none of them among others.
            assert!(good.len() < elements.len(), "{}: {lines:?}", id.row().name);
        }
        Err(_) => {}
    }
}

/// The elements that `lines` have as values of one header.
fn read(id: HeaderId, lines: &[&[u8]]) -> Result<Vec<String>, sip_parser::Error> {
    let mut parser = Parser::new();
    let values = parser.parse_values(id, lines)?;
    Ok(show::items(&values, values.items()))
}

proptest! {
    #![proptest_config(cases(3_000))]

    #[test]
    fn every_shape_is_read_as_printed(row in 0..ROW_COUNT, choices in vec(any::<u8>(), 0..120)) {
        let id = HeaderId::all().nth(row).unwrap();
        let mut pen = Pen::new(&choices, &[]);
        let printed = grammar::value(&mut pen, id.row());
        let found = read(id, &[pen.wire.as_bytes()]);
        match id.row().shape {
            Shape::Raw => prop_assert!(found.is_err()),
            _ => prop_assert_eq!(found, Ok(printed), "{}: {}", id.row().name, pen.wire),
        }
    }

    #[test]
    fn every_uri_is_read_as_printed(choices in vec(any::<u8>(), 0..60)) {
        let mut pen = Pen::new(&choices, &[]);
        let uri = grammar::uri(&mut pen, grammar::Parts::All);
        let octets = pen.wire.as_bytes();
        let found = parse_uri(octets).map_err(|error| TestCaseError::fail(format!("{}: {error}", pen.wire)))?;
        let expected = format!(
            "{} scheme={} user={} host={} port={} parameters={} headers={}",
            uri.kind,
            uri.scheme,
            uri.user.as_deref().unwrap_or("-"),
            uri.host,
            uri.port.map_or("-".to_owned(), |port| port.to_string()),
            uri.parameters,
            uri.headers
        );
        prop_assert_eq!(show::uri_parts(octets, &found), expected);
        prop_assert_eq!(show::string(found.authority.of(octets)), uri.authority);
    }
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn every_message_is_read_as_printed(choices in choices(), body in body()) {
        let letter = letter(&choices, &[], &body);
        prop_assert_eq!(parse(&letter.wire), Ok(letter.shown), "{}", show::string(&letter.wire));
    }

    #[test]
    fn folds_make_no_difference(choices in choices(), folds in vec(any::<u8>(), 0..60), body in body()) {
        let letter = letter(&choices, &folds, &body);
        prop_assert_eq!(parse(&letter.wire), Ok(letter.shown), "{}", show::string(&letter.wire));
    }

    #[test]
    fn a_parser_forgets_its_last_message(one in choices(), other in choices(), folds in vec(any::<u8>(), 0..30)) {
        let (one, other) = (letter(&one, &folds, b"one"), letter(&other, &[], b"other"));
        let mut parser = Parser::new();
        for letter in [&one, &other, &one] {
            let message = parser.parse(&letter.wire).unwrap();
            prop_assert_eq!(&common::shown(&message), &letter.shown);
        }
    }

    #[test]
    fn octets_behind_the_body_are_dropped(choices in choices(), body in body(), tail in body()) {
        let mut letter = letter(&choices, &[], &body);
        let framed = letter.shown.headers.iter().any(|header| header.starts_with("Content-Length: "));
        prop_assume!(framed && letter.shown.body.is_some());
        prop_assert_eq!(frame_whole(&letter.wire), Ok(Frame::Complete(letter.wire.len())));
        letter.wire.extend_from_slice(&tail);
        prop_assert_eq!(frame_whole(&letter.wire), Ok(Frame::Complete(letter.wire.len() - tail.len())));
        prop_assert_eq!(parse(&letter.wire), Ok(letter.shown));
    }

    #[test]
    fn a_stream_is_framed_alike_in_all_pieces(
        choices in choices(),
        folds in vec(any::<u8>(), 0..30),
        cuts in vec(any::<Index>(), 0..5),
    ) {
        let letter = letter(&choices, &folds, b"body\r\n\r\nand\n\n more");
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(letter.wire.len())).collect();
        cuts.sort_unstable();
        let whole = frame_whole(&letter.wire);
        let mut resume = Resume::default();
        for cut in cuts {
            match frame(&letter.wire[..cut], resume) {
                Ok(Frame::Partial(next)) => resume = next,
                other => {
                    prop_assert_eq!(other, whole);
                    return Ok(());
                }
            }
        }
        prop_assert_eq!(frame(&letter.wire, resume), whole);
    }

    #[test]
    fn a_message_may_be_cut_anywhere(choices in choices(), folds in vec(any::<u8>(), 0..30), cut in any::<Index>()) {
        let letter = letter(&choices, &folds, b"body");
        survives(&letter.wire[..cut.index(letter.wire.len() + 1)]);
    }

    #[test]
    fn any_octets_are_survived(input in vec(any::<u8>(), 0..400)) {
        survives(&input);
    }

    #[test]
    fn near_misses_are_survived(input in fragments()) {
        survives(&input);
    }

    #[test]
    fn near_misses_as_values_are_survived(row in 0..ROW_COUNT, input in fragments(), cut in any::<Index>()) {
        let id = HeaderId::all().nth(row).unwrap();
        let (one, other) = input.split_at(cut.index(input.len() + 1));
        for lines in [&[input.as_slice()][..], &[one, other]] {
            let found = read(id, lines);
            reads_each(id, lines, &found);
            if let Err(error) = found {
                prop_assert!(error.offset <= input.len());
                prop_assert_eq!(error.header, Some(id));
            }
        }
    }

    #[test]
    fn mutated_messages_are_survived(
        message in any::<Index>(),
        edits in vec((any::<Index>(), any::<Index>(), 0..5, any::<u8>()), 1..5),
    ) {
        let mut input = message.get(&CORPUS).clone();
        for (from, to, kind, octet) in edits {
            let at = from.index(input.len());
            let end = at + to.index((input.len() - at).min(40));
            match kind {
                0 => input[at] = octet,
                1 => input.insert(at, octet),
                2 => drop(input.drain(at..end)),
                3 => input.extend_from_within(at..end),
                _ => input[at] = b"\r\n\"\\<>;,: \0%"[usize::from(octet) % 12],
            }
            prop_assume!(!input.is_empty());
        }
        survives(&input);
    }
}

//! How a message's lines make headers, what becomes of malformed ones, and where the body is.

mod common;

use common::{is_sane, parse};
use sip_parser::{Error, HeaderId, Reason, salvage};

fn headers(lines: &str) -> Vec<String> {
    let input = format!("OPTIONS sip:h SIP/2.0\r\n{lines}\r\n");
    parse(input.as_bytes())
        .unwrap_or_else(|error| panic!("{lines:?}: {error}"))
        .headers
}

fn refused(input: &str) -> Error {
    parse(input.as_bytes()).expect_err(input)
}

fn body(input: &str) -> Option<String> {
    let body = parse(input.as_bytes())
        .unwrap_or_else(|error| panic!("{input:?}: {error}"))
        .body;
    body.map(|octets| String::from_utf8(octets).unwrap())
}

#[test]
fn rfc3261_7_3_1_lines_of_one_header_join_in_order() {
    assert_eq!(
        headers("Route: <sip:a>\r\nSubject: lunch\r\nROUTE : <sip:b>, <sip:c>\nroute:<sip:d>\r\n"),
        [
            "Route: <sip:a>, <sip:b>, <sip:c>, <sip:d>",
            "Subject: lunch"
        ]
    );
    assert_eq!(
        headers("x-Foo: a\r\nX-FOO:\r\nX-Foo: , b\r\n"),
        ["x-Foo = a |  | , b"]
    );
}

#[test]
fn rfc3261_7_3_3_compact_and_long_forms_join() {
    assert_eq!(
        headers("m: <sip:a>\r\nContact: <sip:b>\r\nk: a\r\nO: b\r\nEvent: c\r\n"),
        ["Contact: <sip:a>, <sip:b>", "Supported: a", "Event = b | c"]
    );
}

#[test]
fn an_underscore_is_no_hyphen() {
    assert_eq!(
        headers("Call_ID: a b\r\nCall-ID: c\r\n"),
        ["Call_ID = a b", "Call-ID: c"]
    );
}

#[test]
fn a_malformed_optional_header_is_text_whole() {
    assert_eq!(
        headers("Contact: <sip:a>\r\nExpires: 5\r\nContact: <sip:b\r\nContact: <sip:c>\r\n"),
        ["Contact = <sip:a> | <sip:b | <sip:c>", "Expires: 5"]
    );
    assert_eq!(
        headers("Date: today \r\nMIME-Version:\r\n"),
        ["Date = today", "MIME-Version = "]
    );
    assert_eq!(headers("m: *\r\nm: <sip:a>\r\n"), ["Contact = * | <sip:a>"]);
}

#[test]
fn an_optional_header_that_repeats_and_may_not_is_text_whole() {
    assert_eq!(headers("Expires: 5\r\nExpires: 5\r\n"), ["Expires = 5 | 5"]);
    assert_eq!(
        headers("s: a\r\nSubject: b\r\nServer: c\r\n"),
        ["Subject = a | b", "Server: c"]
    );
}

#[test]
fn extension_headers_are_text() {
    assert_eq!(
        headers("Refer-To: <sip:a\r\nRSeq: x\r\nPath: ,,\r\n"),
        ["Refer-To = <sip:a", "RSeq = x", "Path = ,,"]
    );
}

#[test]
fn a_malformed_essential_header_refuses_the_message() {
    for line in [
        "Via: x",
        "f: <sip:a",
        "t:",
        "Call-ID: a b",
        "CSeq: x",
        "Max-Forwards: 256",
        "l: -1",
        "Route: <sip:a",
    ] {
        let input = format!("OPTIONS sip:h SIP/2.0\r\nX: y\r\n{line}\r\n\r\n");
        let error = refused(&input);
        let name = line.split(':').next().unwrap();
        assert_eq!(error.reason, Reason::InvalidHeader, "{line}");
        assert_eq!(error.header, HeaderId::find(name.as_bytes()), "{line}");
        assert_eq!(error.line(input.as_bytes()), 3, "{line}");
    }
}

#[test]
fn crs_before_a_line_end_are_blanks_and_no_blank_line() {
    assert_eq!(
        headers("Subject: ab\r\r\nFrom: <sip:a@h>;tag=88\r\r\r\nQ: y\r\r\n z\r\r\n"),
        ["Subject: ab", "From: <sip:a@h>;tag=88", "Q = y z"]
    );
    let start = "OPTIONS sip:h SIP/2.0\r\r\nQ: y\r\n\r\n";
    assert_eq!(parse(start.as_bytes()).unwrap().headers, ["Q = y"]);
    for (lines, reason) in [
        ("X: y\r\n\r\r\nbody", Reason::InvalidHeaderLine),
        ("X: y\r\n z\r\n\r\r\nbody", Reason::InvalidHeaderLine),
        ("X: y\r\r\n\r\r\n\r\n", Reason::InvalidHeaderLine),
        ("X: a\rb\r\n\r\n", Reason::ControlCharacter),
        ("X: a\r\r b\r\n\r\n", Reason::ControlCharacter),
        ("X: a\r", Reason::ControlCharacter),
    ] {
        let input = format!("OPTIONS sip:h SIP/2.0\r\n{lines}");
        assert_eq!(refused(&input).reason, reason, "{lines:?}");
    }
}

#[test]
fn a_list_without_an_element_has_none() {
    assert_eq!(
        headers("Route: ,\r\nContact:\r\nAllow: ,\r\nRoute:\r\nk:\r\n"),
        ["Route: ", "Contact: ", "Allow: ", "Supported: "]
    );
}

#[test]
fn an_essential_header_stands_once() {
    for (name, value) in [
        ("From", "<sip:a>"),
        ("t", "<sip:a>"),
        ("i", "a"),
        ("CSeq", "1 A"),
        ("Max-Forwards", "7"),
        ("l", "0"),
    ] {
        let input =
            format!("OPTIONS sip:h SIP/2.0\r\n{name}: {value}\r\nX: y\r\n{name}: {value}\r\n\r\n");
        let error = refused(&input);
        assert_eq!(error.reason, Reason::RepeatedHeader, "{name}");
        assert_eq!(
            (error.header, error.line(input.as_bytes())),
            (HeaderId::find(name.as_bytes()), 4)
        );
        assert_eq!(error.excerpt(input.as_bytes(), 80), value.as_bytes());
    }
}

#[test]
fn malformed_lines() {
    for (line, reason) in [
        ("no colon", Reason::InvalidHeaderLine),
        (": x", Reason::InvalidHeaderLine),
        ("Content Length: 0", Reason::InvalidHeaderLine),
        ("^Via: x", Reason::InvalidHeaderLine),
        ("Via\u{1}: x", Reason::InvalidHeaderLine),
        ("Via\r\n : x", Reason::InvalidHeaderLine),
        ("X: a\rb", Reason::ControlCharacter),
        ("X: a\0b", Reason::ControlCharacter),
        ("X: a\\\0b", Reason::ControlCharacter),
        ("X: a\\\\\0b", Reason::ControlCharacter),
    ] {
        let input = format!("OPTIONS sip:h SIP/2.0\r\nY: z\r\n{line}\r\n\r\n");
        let error = refused(&input);
        assert_eq!(
            (error.reason, error.line(input.as_bytes())),
            (reason, 3),
            "{line:?}"
        );
    }
    assert_eq!(
        refused("OPTIONS sip:h\r\n SIP/2.0\r\n\r\n").reason,
        Reason::InvalidStartLine
    );
}

#[test]
fn an_error_in_a_folded_message_lies_in_the_input() {
    let input =
        "OPTIONS sip:h SIP/2.0\nSubject: a \n\t b\nVia: SIP/2.0/UDP h,\n  SIP/2.0/UDP -bad\n\n";
    let error = refused(input);
    assert_eq!(error.excerpt(input.as_bytes(), 80), b"-bad");
    assert_eq!(error.line(input.as_bytes()), 5);
    assert_eq!(
        error.to_string(),
        format!("invalid header at octet {} (Via)", error.offset)
    );
    is_sane(&error, input.as_bytes());
}

#[test]
fn nothing_but_line_ends_is_empty() {
    for input in ["", "\r\n", "\r\n\r\n", "\n\r"] {
        assert_eq!(refused(input).reason, Reason::EmptyMessage, "{input:?}");
    }
}

#[test]
fn rfc3261_18_3_the_body_of_a_datagram() {
    let with =
        |headers: &str, rest: &str| body(&format!("OPTIONS sip:h SIP/2.0\r\n{headers}{rest}"));
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(with("l: 4\r\n", "\r\nbody and more"), text("body"));
    assert_eq!(with("l: 0\r\n", "\r\nmore"), text(""));
    assert_eq!(
        with("X: y\r\n", "\r\nall\r\n\r\nof: it\r"),
        text("all\r\n\r\nof: it\r")
    );
    assert_eq!(with("X: y\r\n", "\r\n"), text(""));
    assert_eq!(with("X: y\n a\n", "\n\0\r"), text("\0\r"));
    // Without a blank line there is none.
    for headers in ["", "X: y", "X: y\r\n", "l: 0\r\n", "X: y\n z"] {
        assert_eq!(with(headers, ""), None, "{headers:?}");
    }
}

#[test]
fn rfc3261_18_3_a_body_that_is_too_short() {
    for (input, offset) in [
        ("OPTIONS sip:h SIP/2.0\r\nl: 5\r\n\r\nbody", 31),
        ("OPTIONS sip:h SIP/2.0\r\nl: 4294967295\r\n\r\nbody", 40),
        ("OPTIONS sip:h SIP/2.0\r\nl: 1\r\n", 29),
        ("OPTIONS sip:h SIP/2.0\nl:\n 5\n\nbody", 29),
    ] {
        let error = refused(input);
        assert_eq!(
            (error.reason, error.header),
            (Reason::BodyTooShort, Some(HeaderId::CONTENT_LENGTH))
        );
        assert_eq!(error.offset, offset, "{input:?}");
    }
}

#[test]
fn a_refused_request_can_be_answered() {
    let input = b"OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nt: <sip:a\r\nSubject: x\r\nv: y\r\nCSeq: 1\r\n 2\r\n\r\n";
    assert!(parse(input).is_err());
    let found = salvage(input).unwrap();
    assert_eq!(found.method, b"OPTIONS");
    let lines: Vec<(&str, &[u8])> = found
        .lines
        .iter()
        .map(|(id, value)| (id.row().name, value.as_slice()))
        .collect();
    let expected: [(&str, &[u8]); 4] = [
        ("Via", b"SIP/2.0/UDP h"),
        ("To", b"<sip:a"),
        ("Via", b"y"),
        ("CSeq", b"1 2"),
    ];
    assert_eq!(lines, expected);
    assert_eq!(salvage(b"SIP/2.0 200 OK\r\nVia: x\r\n\r\n"), None);
}

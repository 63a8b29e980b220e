//! Worst cases at 64 KB: each is read whole, or refused by the limit that is named for it.
//!
//! What they cost is measured by `bench/parse.exs`; here none may be misread, nor exhaust a stack.

mod common;

use common::{frame_whole, parse};
use sip_parser::{Error, Frame, HeaderId, Reason, limits};

const OCTETS: usize = 64_000;

fn request(headers: &str) -> Vec<u8> {
    format!("OPTIONS sip:h SIP/2.0\r\n{headers}\r\n").into_bytes()
}

/// The unit over and over, up to 64 KB.
fn flood(unit: &str) -> String {
    unit.repeat(OCTETS / unit.len())
}

/// How many of `piece` the only header is printed with.
#[track_caller]
fn count(headers: &str, piece: &str) -> usize {
    let found = parse(&request(headers)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found.headers.len(), 1, "{:?}", &found.headers[..2]);
    found.headers[0].matches(piece).count()
}

#[track_caller]
fn refused(headers: &str) -> Error {
    parse(&request(headers)).expect_err("refused")
}

#[test]
fn four_thousand_short_lines() {
    let lines = "x:\r\n".repeat(4_000);
    // Session-Expires in its compact form: an extension, so that its lines stay text.
    assert_eq!(count(&lines, " | "), 3_999);
    assert_eq!(
        count(&"q:\r\n".repeat(limits::HEADER_LINES), " | "),
        limits::HEADER_LINES - 1
    );
    let error = refused(&"q:\r\n".repeat(limits::HEADER_LINES + 1));
    assert_eq!(error.reason, Reason::TooManyHeaders);
    assert_eq!(
        error.line(&request(&"q:\r\n".repeat(5_000))),
        2 + limits::HEADER_LINES
    );
}

#[test]
fn many_distinct_names() {
    let lines: String = (0..limits::HEADER_LINES)
        .map(|n| format!("n{n}: {n}\r\n"))
        .collect();
    let found = parse(&request(&lines)).unwrap();
    assert_eq!(found.headers.len(), limits::HEADER_LINES);
    assert_eq!(found.headers[4_000], "n4000 = 4000");
}

#[test]
fn many_names_twice_in_other_letter_case() {
    let lines = |name: &str| -> String { (0..2_000).map(|n| format!("{name}{n}:\r\n")).collect() };
    let found = parse(&request(&(lines("Aa") + &lines("aA")))).unwrap();
    assert_eq!(found.headers.len(), 2_000);
    assert!(
        found
            .headers
            .iter()
            .all(|header| header.ends_with(" =  | "))
    );
}

#[test]
fn a_listed_name_behind_many_others() {
    let others: String = (0..1_000).map(|n| format!("n{n}:\r\n")).collect();
    let vias = "v: SIP/2.0/UDP h\r\n".repeat(2_000);
    let found = parse(&request(&(others + &vias))).unwrap();
    assert_eq!(found.headers.len(), 1_001);
    assert_eq!(found.headers[1_000].matches("2.0 UDP h -").count(), 2_000);
}

#[test]
fn long_names_that_differ_at_their_ends() {
    let name = "N".repeat(600);
    let lines: String = (0..100).map(|n| format!("{name}{n}: y\r\n")).collect();
    assert_eq!(parse(&request(&lines)).unwrap().headers.len(), 100);
}

#[test]
fn vias_by_line_and_by_comma() {
    let via = "SIP/2.0/UDP h;branch=z9hG4bK";
    let lines = flood(&format!("Via: {via}\r\n"));
    assert_eq!(count(&lines, "UDP"), OCTETS / (via.len() + 7));
    let commas = vec![via; OCTETS / (via.len() + 7)].join(",");
    assert_eq!(
        count(&format!("Via: {commas}\r\n"), "UDP"),
        OCTETS / (via.len() + 7)
    );
    let many = vec![via; limits::NODES / 2 + 1].join(",");
    let error = refused(&format!("Via: {many}\r\n"));
    assert_eq!(error.reason, Reason::TooManyElements);
    assert_eq!(error.header, HeaderId::find(b"Via"));
}

#[test]
fn commas_and_separators_alone() {
    for run in [
        ",", ";", " ,", ";;,,", "\t ", "\"\"", "<", ">", "[", "@", ":", "%(", "=",
    ] {
        let value = flood(run);
        for header in ["Contact", "Allow", "Q"] {
            let found = parse(&request(&format!("{header}: {value}\r\n"))).unwrap();
            // Commas and blanks are a list without an element.
            let typed = header != "Q" && run.chars().all(|c| ", \t".contains(c));
            assert_eq!(
                found.headers[0].contains(" = "),
                !typed,
                "{header}: {run:?}"
            );
        }
        let error = refused(&format!("Via: {value}\r\n"));
        assert_eq!(error.reason, Reason::InvalidHeader, "{run:?}");
    }
}

#[test]
fn tokens_by_comma() {
    for (element, octets) in [("a,", 2), ("a , ", 4)] {
        let most = element.repeat(limits::NODES);
        assert_eq!(count(&format!("Allow: {most}\r\n"), "a"), limits::NODES);
        let found = parse(&request(&format!("Allow: {}\r\n", flood(element)))).unwrap();
        assert!(OCTETS / octets > limits::NODES && found.headers[0].contains(" = "));
    }
    let empty = format!("Allow: a{}b\r\n", flood(" ,"));
    assert_eq!(count(&empty, ", "), 1);
}

fn params(count: usize) -> String {
    (0..count).map(|n| format!(";p{n:x}")).collect()
}

#[test]
fn as_many_parameters_as_there_may_be() {
    // The element counts too, and its URI for two.
    let most = limits::NODES - 2;
    let value = format!("From: <sip:h>{}\r\n", params(most - 1));
    assert_eq!(count(&value, ";p"), most - 1);
    let error = refused(&format!("From: <sip:h>{}\r\n", params(most + 1)));
    assert_eq!(error.reason, Reason::TooManyElements);
    assert_eq!(error.header, HeaderId::find(b"From"));
    // What is not essential is text then.
    for header in ["Contact: <sip:h>", "Content-Type: a/b"] {
        let request = request(&format!("{header}{}\r\n", params(limits::NODES)));
        let found = parse(&request).unwrap();
        assert!(found.headers[0].contains(" = "), "{header}");
    }
    // Of one name the last counts, however many there are.
    assert_eq!(
        count(&format!("To: <sip:h>{}\r\n", ";p".repeat(2_000)), ";p"),
        1
    );
    assert_eq!(
        count(&format!("To: <sip:h>{};P1=x\r\n", params(2_000)), ";p"),
        1_999
    );
}

#[test]
fn elements_and_parameters_of_all_headers_together() {
    let part = params(limits::NODES / 2 - 3);
    let both = |more: &str| format!("t: <sip:h>{part}\r\nf: <sip:h>{part}{more}\r\n");
    let found = parse(&request(&both(""))).unwrap();
    assert_eq!(found.headers.len(), 2);
    assert_eq!(refused(&both(";x;y")).reason, Reason::TooManyElements);
    // What a header that came to nothing has taken is given back.
    let text = format!("Contact: <sip:h>{part}@\r\n");
    assert!(parse(&request(&(text + &both("")))).is_ok());
    let addresses = limits::NODES / 3;
    let most = "<a:b>,".repeat(addresses);
    for name in ["m", "Record-Route", "P-Asserted-Identity", "Call-Info"] {
        assert_eq!(count(&format!("{name}: {most}\r\n"), "<a:b>"), addresses);
        let more = format!("{name}: {most}<a:b>\r\n");
        let found = parse(&request(&more)).unwrap();
        assert!(found.headers[0].contains(" = "), "{name}");
    }
    let more = format!("Route: {most}<a:b>\r\n");
    assert_eq!(refused(&more).reason, Reason::TooManyElements);
}

#[test]
fn parameters_with_long_names_alike() {
    let names: String = (0..120)
        .map(|n| format!(";{}{n}", "p".repeat(500)))
        .collect();
    assert_eq!(count(&format!("To: <sip:h>{names}\r\n"), ";"), 120);
}

#[test]
fn credentials_with_many_parameters_and_many_challenges() {
    let list: String = (0..3_000).map(|n| format!("a{n}=\"x\",")).collect();
    assert_eq!(
        count(&format!("Authorization: Digest {list}z=1\r\n"), ";"),
        3_001
    );
    let challenges = |n: usize| format!("WWW-Authenticate: {}A\r\n", "A b=c,".repeat(n));
    let most = limits::NODES / 2 - 1;
    assert_eq!(count(&challenges(most), ", "), most);
    for more in [
        challenges(most + 1),
        format!("WWW-Authenticate: {}\r\n", flood("A,")),
    ] {
        let found = parse(&request(&more)).unwrap();
        assert!(found.headers[0].contains(" = "));
    }
}

#[test]
fn nested_comments() {
    let (open, close) = ("(".repeat(OCTETS / 2), ")".repeat(OCTETS / 2));
    assert_eq!(
        count(&format!("Retry-After: 5 {open}{close}\r\n"), "("),
        OCTETS / 2 - 1
    );
    for unclosed in [
        format!("{open}{open}"),
        format!("{open}{}", &close[1..]),
        flood("(\\)"),
    ] {
        let found = parse(&request(&format!("Retry-After: 5 {unclosed}\r\n"))).unwrap();
        assert!(found.headers[0].starts_with("Retry-After = 5 ("));
    }
}

#[test]
fn folds() {
    let found = parse(&request(&format!("Subject: a\r\n{}", flood(" b\r\n")))).unwrap();
    assert_eq!(
        found.headers,
        [format!("Subject: a{}", " b".repeat(OCTETS / 4))]
    );
    assert_eq!(
        count(&format!("Subject: a\r\n{} b\r\n", flood(" \r\n")), "a b"),
        1
    );
    assert_eq!(
        count(&format!("Allow: a\r\n{}", flood("\t,\n a\n")), ", "),
        OCTETS / 6
    );
    assert_eq!(
        count(&format!("Subject: a{}\r\n b\r\n", flood(" \t")), "a b"),
        1
    );
}

#[test]
fn backslashes() {
    let even = flood("\\\\");
    assert_eq!(
        count(&format!("To: \"{even}\" <sip:h>\r\n"), "\\\\"),
        OCTETS / 2
    );
    let error = refused(&format!("To: \"{even}\\\" <sip:h>\r\n"));
    assert_eq!(error.reason, Reason::InvalidHeader);
    assert!(parse(&request(&format!("Subject: {even}\\\r\n"))).is_ok());
    // A fold behind a run of them asks whether the last one escapes it.
    assert!(parse(&request(&format!("Subject: {even}\r\n a\r\n"))).is_ok());
    let error = refused(&format!("To: \"{even}\\\r\n a\" <sip:h>\r\n"));
    assert_eq!(error.reason, Reason::InvalidHeader);
    for unit in ["\\\r\n ", "\\\\\r\n ", "\"\\\\\r\n ", "\"\"\\\r\n "] {
        assert!(
            parse(&request(&format!("Subject: a{}\r\n", flood(unit)))).is_ok(),
            "{unit:?}"
        );
    }
}

#[test]
fn nuls_behind_backslashes() {
    let nuls = flood("\\\0");
    let found = parse(&request(&format!("To: \"{nuls}\" <sip:h>\r\n"))).unwrap();
    assert_eq!(found.headers[0].matches("\\0").count(), OCTETS / 2);
    for header in ["Q: ", "Subject: ", "Event: ", "Contact: <sip:h>;a="] {
        let headers = format!("T: <sip:h>\r\n{header}{nuls}\r\n");
        let error = refused(&headers);
        assert_eq!(
            (error.reason, error.header),
            (Reason::ControlCharacter, None),
            "{header}"
        );
        assert_eq!(
            Some(error.offset),
            request(&headers).iter().position(|octet| *octet == 0)
        );
    }
    let run = format!("To: \"{}\\\0\" <sip:h>\r\n", flood("\\\\"));
    assert!(parse(&request(&run)).is_ok());
    let bare = format!("To: \"{}\0\" <sip:h>\r\n", flood("\\\\"));
    assert_eq!(refused(&bare).reason, Reason::ControlCharacter);
}

#[test]
fn uris() {
    let escapes = flood("%41");
    assert_eq!(
        count(&format!("To: <sip:{escapes}@h>\r\n"), "%41"),
        OCTETS / 3
    );
    assert_eq!(
        count(&format!("To: <sip:h{}>\r\n", flood(";a")), ";a"),
        OCTETS / 2
    );
    let quoted = flood(";a=\"<>,\"");
    assert_eq!(count(&format!("m: <sip:h{quoted}>\r\n"), "a="), OCTETS / 8);
    for broken in [
        format!("<sip:h{quoted}"),
        flood("<sip:h;a=\">,"),
        flood("<\">"),
    ] {
        let found = parse(&request(&format!("m: {broken}\r\n"))).unwrap();
        assert!(found.headers[0].contains(" = "));
    }
    let line = format!("OPTIONS sip:{escapes}@h SIP/2.0\r\n\r\n");
    assert_eq!(
        parse(line.as_bytes()).unwrap_err().reason,
        Reason::RequestUriTooLong
    );
}

#[test]
fn what_is_longer_than_a_datagram() {
    assert_eq!(
        refused(&format!("Q: {}\r\n", "x".repeat(65_535))).reason,
        Reason::HeadersTooLarge
    );
    assert_eq!(
        refused(&format!("Q:\r\n{}", " x\r\n".repeat(17_000))).reason,
        Reason::HeadersTooLarge
    );
    let reason = format!("SIP/2.0 200 {}\r\n\r\n", "x".repeat(65_535));
    assert_eq!(
        parse(reason.as_bytes()).unwrap_err().reason,
        Reason::HeadersTooLarge
    );
    let body = [request(""), vec![0; limits::MESSAGE_BYTES]].concat();
    assert_eq!(parse(&body).unwrap_err().reason, Reason::MessageTooLarge);
    assert!(parse(&body[..limits::MESSAGE_BYTES]).is_ok());
}

#[test]
fn a_stream_of_worst_cases() {
    for headers in [
        "x:\r\n".repeat(4_000),
        flood("a: b\r\n c\r\n").replace('a', "q"),
        flood("Via: ,\r\n"),
    ] {
        let input = request(&(headers + "l: 0\r\n"));
        let framed = frame_whole(&input);
        match framed {
            Ok(framed) => assert_eq!(framed, Frame::Complete(input.len())),
            Err(error) => assert_eq!(error.reason, Reason::TooManyHeaders),
        }
    }
}

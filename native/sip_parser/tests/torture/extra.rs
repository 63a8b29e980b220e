//! Variants that the prose of RFC 4475 names, and repairs of slips in its archive.

use crate::common::{accept, refuses, yields};
use sip_parser::Reason;

/// The message is as `rfc4475/baddate` but for this header.
#[track_caller]
fn has_date(name: &str, date: &str) {
    let mut expected = accept("rfc4475/baddate");
    let header = expected
        .headers
        .iter_mut()
        .find(|header| header.starts_with("Date"));
    *header.unwrap() = date.to_owned();
    assert_eq!(accept(name), expected, "{name}");
}

/// A Date that is none leaves the message alone and is given as text. `UTC` is the one other name of the zone that is
/// taken.
#[test]
fn baddate_of_other_zones() {
    has_date(
        "rfc4475-extra/baddate-UT",
        "Date = Fri, 01 Jan 2010 16:00:00 UT",
    );
    has_date("rfc4475-extra/baddate-UTC", "Date: 2010-01-01 16:00:00");
    has_date(
        "rfc4475-extra/baddate-UCT",
        "Date = Fri, 01 Jan 2010 16:00:00 UCT",
    );
    has_date(
        "rfc4475-extra/baddate-GMT-valid",
        "Date: 2010-01-01 16:00:00",
    );
}

/// What follows the body of a datagram makes no difference.
#[test]
fn dblreq_with_other_tails() {
    let expected = accept("rfc4475/dblreq");
    assert_eq!(accept("rfc4475-extra/dblreq-as-printed"), expected);
    assert_eq!(accept("rfc4475-extra/dblreq-no-extra"), expected);
}

/// RFC4475§3.1.1.13 - a liberal receiver takes the line without the blank.
#[test]
fn noreason_no_space() {
    let name = "rfc4475-extra/noreason-no-space";
    assert_eq!(accept(name), accept("rfc4475/noreason"));
}

#[test]
fn intmeth_in56ite() {
    yields(
        "rfc4475-extra/intmeth-IN56ITE",
        "IN%56ITE sip:registrar.example.com 2.0",
        &[
            r#"To: "%Z%45" <sip:resource@example.com>"#,
            r#"From: "%Z%45" <sip:resource@example.com>;tag=f232jadfj23"#,
            "Call-ID: esc02.asdfnqwo34rq23i34jrjasdcnl23nrlknsdf",
            "Via: 2.0 TCP host.example.com -;branch=z9hG4bK209%fzsnel234",
            "CSeq: 29344 IN%56ITE",
            "Max-Forwards: 70",
            "Contact: <sip:alias1@host1.example.com>, <sip:alias3@host3.example.com>",
            "C%6Fntact = <sip:alias2@host2.example.com>",
            "Content-Length: 0",
        ],
        Some(0),
    );
}

#[test]
fn baddn_with_blank_line() {
    refuses(
        "rfc4475-extra/baddn-with-blank-line",
        Reason::InvalidHeader,
        Some("From"),
        ", Alexander <sip:a.g.bell@example.com>;t",
    );
}

#[test]
fn ncl_five() {
    refuses(
        "rfc4475-extra/ncl-five",
        Reason::InvalidHeader,
        Some("Content-Length"),
        "five",
    );
}

#[test]
fn quotbal_two_addr() {
    refuses(
        "rfc4475-extra/quotbal-two-addr",
        Reason::InvalidHeader,
        Some("To"),
        "",
    );
}

#[test]
fn scalar02_cseq_2p32() {
    refuses(
        "rfc4475-extra/scalar02-cseq-2p32",
        Reason::InvalidHeader,
        Some("CSeq"),
        "4294967296 REGISTER",
    );
}

/// RFC3261§8.1.1.5 - a sequence number is less than 2**31, though RFC 4475 faults only those over 2**32-1.
#[test]
fn scalar02_cseq_ok() {
    refuses(
        "rfc4475-extra/scalar02-cseq-ok",
        Reason::InvalidHeader,
        Some("CSeq"),
        "4294967295 REGISTER",
    );
}

/// RFC3261§20.22 - Max-Forwards is essential here, so that a number out of its range refuses the message.
#[test]
fn scalar02_only_maxfwd() {
    refuses(
        "rfc4475-extra/scalar02-only-maxfwd",
        Reason::InvalidHeader,
        Some("Max-Forwards"),
        "300",
    );
}

#[test]
fn test_unreferenced() {
    refuses(
        "rfc4475-extra/test-unreferenced",
        Reason::InvalidHeaderLine,
        None,
        "Foobar roobar",
    );
}

#[test]
fn trws_example_com() {
    refuses(
        "rfc4475-extra/trws-example-com",
        Reason::InvalidStartLine,
        None,
        "  ",
    );
}

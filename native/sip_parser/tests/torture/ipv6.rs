//! RFC 5118: IPv6 in SIP messages.

use crate::common::{accept, fixture, fixtures, parse, refuses, yields};
use crate::request_uri;
use sip_parser::Reason;

#[test]
fn rfc5118_4_1_ipv6_good() {
    yields(
        "rfc5118/ipv6-good",
        "REGISTER sip:[2001:db8::10] 2.0",
        &[
            "To: <sip:user@example.com>",
            "From: <sip:user@example.com>;tag=81x2",
            "Via: 2.0 UDP 2001:db8::9:1 -;branch=z9hG4bKas3-111",
            "Call-ID: SSG9559905523997077@hlau_4100",
            "Max-Forwards: 70",
            r#"Contact: "Caller" <sip:caller@[2001:db8::1]>"#,
            "CSeq: 98176 REGISTER",
            "Content-Length: 0",
        ],
        Some(0),
    );
    request_uri(
        "rfc5118/ipv6-good",
        "Sip scheme=sip user=- host=2001:db8::10 port=- parameters= headers=",
    );
}

#[test]
fn rfc5118_4_2_ipv6_bad() {
    refuses(
        "rfc5118/ipv6-bad",
        Reason::InvalidRequestUri,
        None,
        "db8::10 SIP/2.0",
    );
}

#[test]
fn rfc5118_4_3_port_ambiguous() {
    yields(
        "rfc5118/port-ambiguous",
        "REGISTER sip:[2001:db8::10:5070] 2.0",
        &[
            "To: <sip:user@example.com>",
            "From: <sip:user@example.com>;tag=81x2",
            "Via: 2.0 UDP 2001:db8::9:1 -;branch=z9hG4bKas3-111",
            "Call-ID: SSG9559905523997077@hlau_4100",
            r#"Contact: "Caller" <sip:caller@[2001:db8::1]>"#,
            "Max-Forwards: 70",
            "CSeq: 98176 REGISTER",
            "Content-Length: 0",
        ],
        Some(0),
    );
    request_uri(
        "rfc5118/port-ambiguous",
        "Sip scheme=sip user=- host=2001:db8::10:5070 port=- parameters= headers=",
    );
}

#[test]
fn rfc5118_4_4_port_unambiguous() {
    yields(
        "rfc5118/port-unambiguous",
        "REGISTER sip:[2001:db8::10]:5070 2.0",
        &[
            "To: <sip:user@example.com>",
            "From: <sip:user@example.com>;tag=81x2",
            "Via: 2.0 UDP 2001:db8::9:1 -;branch=z9hG4bKas3-111",
            "Call-ID: SSG9559905523997077@hlau_4100",
            r#"Contact: "Caller" <sip:caller@[2001:db8::1]>"#,
            "Max-Forwards: 70",
            "CSeq: 98176 REGISTER",
            "Content-Length: 0",
        ],
        Some(0),
    );
    request_uri(
        "rfc5118/port-unambiguous",
        "Sip scheme=sip user=- host=2001:db8::10 port=5070 parameters= headers=",
    );
}

#[test]
fn rfc5118_4_5_via_received_param_with_delim() {
    yields(
        "rfc5118/via-received-param-with-delim",
        "BYE sip:[2001:db8::10] 2.0",
        &[
            "To: <sip:user@example.com>;tag=bd76ya",
            "From: <sip:user@example.com>;tag=81x2",
            "Via: 2.0 UDP 2001:db8::9:1 -;received=[2001:db8::9:255];branch=z9hG4bKas3-111",
            "Call-ID: SSG9559905523997077@hlau_4100",
            "Max-Forwards: 70",
            "CSeq: 321 BYE",
            "Content-Length: 0",
        ],
        Some(0),
    );
}

#[test]
fn rfc5118_4_5_via_received_param_no_delim() {
    yields(
        "rfc5118/via-received-param-no-delim",
        "OPTIONS sip:[2001:db8::10] 2.0",
        &[
            "To: <sip:user@example.com>",
            "From: <sip:user@example.com>;tag=81x2",
            "Via: 2.0 UDP 2001:db8::9:1 -;received=2001:db8::9:255;branch=z9hG4bKas3",
            "Call-ID: SSG95523997077@hlau_4100",
            "Max-Forwards: 70",
            r#"Contact: "Caller" <sip:caller@[2001:db8::9:1]>"#,
            "CSeq: 921 OPTIONS",
            "Content-Length: 0",
        ],
        Some(0),
    );
}

#[test]
fn rfc5118_4_6_ipv6_in_sdp() {
    refuses(
        "rfc5118/ipv6-in-sdp",
        Reason::BodyTooShort,
        Some("Content-Length"),
        "v=0",
    );
}

#[test]
fn rfc5118_4_7_mult_ip_in_header() {
    yields(
        "rfc5118/mult-ip-in-header",
        "BYE sip:user@host.example.net 2.0",
        &[
            "Via: 2.0 UDP 2001:db8::9:1 6050;branch=z9hG4bKas3-111, 2.0 UDP 192.0.2.1 -;branch=z9hG4bKjhja8781hjuaij65144, 2.0 TCP 2001:db8::9:255 -;branch=z9hG4bK451jj;received=192.0.2.200",
            "Call-ID: 997077@lau_4100",
            "Max-Forwards: 70",
            "CSeq: 89187 BYE",
            "To: <sip:user@example.net>;tag=9817--94",
            "From: <sip:user@example.com>;tag=81x2",
            "Content-Length: 0",
        ],
        Some(0),
    );
}

#[test]
fn rfc5118_4_8_mult_ip_in_sdp() {
    refuses(
        "rfc5118/mult-ip-in-sdp",
        Reason::BodyTooShort,
        Some("Content-Length"),
        "v=0",
    );
}

#[test]
fn rfc5118_4_9_ipv4_mapped_ipv6() {
    yields(
        "rfc5118/ipv4-mapped-ipv6",
        "INVITE sip:user@example.com 2.0",
        &[
            "To: <sip:user@example.com>",
            "From: <sip:user@east.example.com>;tag=81x2",
            "Via: 2.0 UDP ::ffff:192.0.2.10 19823;branch=z9hG4bKbh19, 2.0 UDP ::ffff:192.0.2.2 -;branch=z9hG4bKas3-111",
            "Call-ID: SSG9559905523997077@hlau_4100",
            r#"Contact: "T. desk phone" <sip:ted@[::ffff:192.0.2.2]>"#,
            "CSeq: 612 INVITE",
            "Max-Forwards: 70",
            "Content-Type: application/sdp",
            "Content-Length: 236",
        ],
        Some(236),
    );
}

#[test]
fn rfc5118_4_10_ipv6_bug_abnf_3_colons() {
    yields(
        "rfc5118/ipv6-bug-abnf-3-colons",
        "OPTIONS sip:user@[2001:db8:::192.0.2.1] 2.0",
        &[
            "To: <sip:user@[2001:db8:::192.0.2.1]>",
            "From: <sip:user@example.com>;tag=810x2",
            "Via: 2.0 UDP lab1.east.example.com -;branch=z9hG4bKas3-111",
            "Call-ID: G9559905523997077@hlau_4100",
            "CSeq: 689 OPTIONS",
            "Max-Forwards: 70",
            "Content-Length: 0",
        ],
        None,
    );
}

#[test]
fn rfc5118_4_10_ipv6_correct_abnf_2_colons() {
    yields(
        "rfc5118/ipv6-correct-abnf-2-colons",
        "OPTIONS sip:user@[2001:db8::192.0.2.1] 2.0",
        &[
            "To: <sip:user@[2001:db8::192.0.2.1]>",
            "From: <sip:user@example.com>;tag=810x2",
            "Via: 2.0 UDP lab1.east.example.com -;branch=z9hG4bKas3-111",
            "Call-ID: G9559905523997077@hlau_4100",
            "CSeq: 689 OPTIONS",
            "Max-Forwards: 70",
            "Content-Length: 0",
        ],
        None,
    );
}

/// The bodies that RFC 5118 prints are whole only under their true length.
#[test]
fn bodies_under_their_true_length() {
    for (name, octets) in [
        ("ipv6-in-sdp", 251),
        ("mult-ip-in-sdp", 189),
        ("ipv4-mapped-ipv6", 245),
    ] {
        let name = format!("rfc5118-wire-cl/{name}");
        let found = accept(&name);
        let body = found.body.unwrap();
        assert_eq!(body.len(), octets, "{name}");
        assert!(
            body.starts_with(b"v=0\r\n") && body.ends_with(b"\r\n"),
            "{name}"
        );
        assert!(
            found.headers.contains(&format!("Content-Length: {octets}")),
            "{name}"
        );
    }
    yields(
        "rfc5118-wire-cl/ipv6-in-sdp",
        "INVITE sip:user@[2001:db8::10] 2.0",
        &[
            "To: <sip:user@[2001:db8::10]>",
            "From: <sip:user@example.com>;tag=81x2",
            "Via: 2.0 UDP 2001:db8::20 -;branch=z9hG4bKas3-111",
            "Call-ID: SSG9559905523997077@hlau_4100",
            r#"Contact: "Caller" <sip:caller@[2001:db8::20]>"#,
            "CSeq: 8612 INVITE",
            "Max-Forwards: 70",
            "Content-Type: application/sdp",
            "Content-Length: 251",
        ],
        Some(251),
    );
    yields(
        "rfc5118-wire-cl/mult-ip-in-sdp",
        "INVITE sip:user@[2001:db8::10] 2.0",
        &[
            "To: <sip:user@[2001:db8::10]>",
            "From: <sip:user@example.com>;tag=81x2",
            "Via: 2.0 UDP 2001:db8::9:1 -;branch=z9hG4bKas3-111",
            "Call-ID: SSG9559905523997077@hlau_4100",
            r#"Contact: "Caller" <sip:caller@[2001:db8::9:1]>"#,
            "Max-Forwards: 70",
            "CSeq: 8912 INVITE",
            "Content-Type: application/sdp",
            "Content-Length: 189",
        ],
        Some(189),
    );
}

/// With CRLF for LF the headers are the same, and the bodies but for their line ends.
#[test]
fn line_ends_make_no_difference() {
    for wire in fixtures("rfc5118-wire") {
        let (wire, archive) = (fixture(&wire), fixture(&wire.replace("-wire", "")));
        match (parse(&wire), parse(&archive)) {
            (Ok(wire), Ok(archive)) => {
                assert_eq!((wire.start, wire.headers), (archive.start, archive.headers))
            }
            (Err(wire), Err(archive)) => {
                assert_eq!((wire.reason, wire.header), (archive.reason, archive.header))
            }
            // Its 181 octets are more than the LF form has and fewer than the CRLF form.
            (Ok(wire), Err(_)) => assert!(wire.headers.contains(&"Content-Length: 181".to_owned())),
            (Err(error), Ok(_)) => panic!("{error}"),
        }
    }
}

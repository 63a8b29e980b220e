//! RFC 4475 §3.1.2: invalid messages.

use crate::common::{refuses, yields};
use crate::request_uri;
use sip_parser::Reason;

#[test]
fn rfc4475_3_1_2_1_badinv01() {
    refuses(
        "rfc4475/badinv01",
        Reason::InvalidHeader,
        Some("Via"),
        ";,,",
    );
}

#[test]
fn rfc4475_3_1_2_2_clerr() {
    refuses(
        "rfc4475/clerr",
        Reason::BodyTooShort,
        Some("Content-Length"),
        "v=0",
    );
}

#[test]
fn rfc4475_3_1_2_3_ncl() {
    refuses(
        "rfc4475/ncl",
        Reason::InvalidHeader,
        Some("Content-Length"),
        "-999",
    );
}

#[test]
fn rfc4475_3_1_2_4_scalar02() {
    refuses(
        "rfc4475/scalar02",
        Reason::InvalidHeader,
        Some("CSeq"),
        "36893488147419103232 REGISTER",
    );
}

#[test]
fn rfc4475_3_1_2_5_scalarlg() {
    refuses(
        "rfc4475/scalarlg",
        Reason::InvalidHeader,
        Some("CSeq"),
        "9292394834772304023312 OPTIONS",
    );
}

#[test]
fn rfc4475_3_1_2_6_quotbal() {
    refuses("rfc4475/quotbal", Reason::InvalidHeader, Some("To"), "");
}

#[test]
fn rfc4475_3_1_2_7_ltgtruri() {
    refuses(
        "rfc4475/ltgtruri",
        Reason::InvalidRequestUri,
        None,
        "<sip:user@example.com> SIP/2.0",
    );
}

#[test]
fn rfc4475_3_1_2_8_lwsruri() {
    refuses(
        "rfc4475/lwsruri",
        Reason::InvalidStartLine,
        None,
        "lr SIP/2.0",
    );
}

#[test]
fn rfc4475_3_1_2_9_lwsstart() {
    refuses(
        "rfc4475/lwsstart",
        Reason::InvalidStartLine,
        None,
        " sip:user@example.com  SIP/2.0",
    );
}

#[test]
fn rfc4475_3_1_2_10_trws() {
    refuses("rfc4475/trws", Reason::InvalidStartLine, None, "  ");
}

#[test]
fn rfc4475_3_1_2_11_escruri() {
    yields(
        "rfc4475/escruri",
        "INVITE sip:user@example.com?Route=%3Csip:example.com%3E 2.0",
        &[
            "To: <sip:user@example.com>",
            "From: <sip:caller@example.net>;tag=341518",
            "Max-Forwards: 7",
            "Contact: <sip:caller@host39923.example.net>",
            "Call-ID: escruri.23940-asdfhj-aje3br-234q098w-fawerh2q-h4n5",
            "CSeq: 149209342 INVITE",
            "Via: 2.0 UDP host-of-the-hour.example.com -;branch=z9hG4bKkdjuw",
            "Content-Type: application/sdp",
            "Content-Length: 150",
        ],
        Some(150),
    );
    // That a Request-URI has headers is for a layer above to refuse.
    request_uri(
        "rfc4475/escruri",
        "Sip scheme=sip user=user host=example.com port=- parameters= headers=?Route=%3Csip:example.com%3E",
    );
}

#[test]
fn rfc4475_3_1_2_12_baddate() {
    yields(
        "rfc4475/baddate",
        "INVITE sip:user@example.com 2.0",
        &[
            "To: <sip:user@example.com>",
            "From: <sip:caller@example.net>;tag=2234923",
            "Max-Forwards: 70",
            "Call-ID: baddate.239423mnsadf3j23lj42--sedfnm234",
            "CSeq: 1392934 INVITE",
            "Via: 2.0 UDP host.example.com -;branch=z9hG4bKkdjuw",
            "Date = Fri, 01 Jan 2010 16:00:00 EST",
            "Contact: <sip:caller@host5.example.net>",
            "Content-Type: application/sdp",
            "Content-Length: 150",
        ],
        Some(150),
    );
}

#[test]
fn rfc4475_3_1_2_13_regbadct() {
    yields(
        "rfc4475/regbadct",
        "REGISTER sip:example.com 2.0",
        &[
            "To: <sip:user@example.com>",
            "From: <sip:user@example.com>;tag=998332",
            "Max-Forwards: 70",
            "Call-ID: regbadct.k345asrl3fdbv@10.0.0.1",
            "CSeq: 1 REGISTER",
            "Via: 2.0 UDP 135.180.130.133 5060;branch=z9hG4bKkdjuw",
            "Contact = sip:user@example.com?Route=%3Csip:sip.example.com%3E",
            "Content-Length: 0",
        ],
        Some(0),
    );
}

#[test]
fn rfc4475_3_1_2_14_badaspec() {
    refuses(
        "rfc4475/badaspec",
        Reason::InvalidHeader,
        Some("To"),
        " sip:t.watson@example.org >",
    );
}

#[test]
fn rfc4475_3_1_2_15_baddn() {
    refuses(
        "rfc4475/baddn",
        Reason::InvalidHeader,
        Some("From"),
        ", Alexander <sip:a.g.bell@example.com>;t",
    );
}

#[test]
fn rfc4475_3_1_2_16_badvers() {
    yields(
        "rfc4475/badvers",
        "OPTIONS sip:t.watson@example.org 7.0",
        &[
            "Via: 7.0 UDP c.example.com -;branch=z9hG4bKkdjuw",
            "Max-Forwards: 70",
            r#"From: "A. Bell" <sip:a.g.bell@example.com>;tag=qweoiqpe"#,
            r#"To: "T. Watson" <sip:t.watson@example.org>"#,
            "Call-ID: badvers.31417@c.example.com",
            "CSeq: 1 OPTIONS",
            "Content-Length: 0",
        ],
        Some(0),
    );
}

#[test]
fn rfc4475_3_1_2_17_mismatch01() {
    yields(
        "rfc4475/mismatch01",
        "OPTIONS sip:user@example.com 2.0",
        &[
            "To: <sip:j.user@example.com>",
            "From: <sip:caller@example.net>;tag=34525",
            "Max-Forwards: 6",
            "Call-ID: mismatch01.dj0234sxdfl3",
            "CSeq: 8 INVITE",
            "Via: 2.0 UDP host.example.com -;branch=z9hG4bKkdjuw",
            "Content-Length: 0",
        ],
        Some(0),
    );
}

#[test]
fn rfc4475_3_1_2_18_mismatch02() {
    yields(
        "rfc4475/mismatch02",
        "NEWMETHOD sip:user@example.com 2.0",
        &[
            "To: <sip:j.user@example.com>",
            "From: <sip:caller@example.net>;tag=34525",
            "Max-Forwards: 6",
            "Call-ID: mismatch02.dj0234sxdfl3",
            "CSeq: 8 INVITE",
            "Contact: <sip:caller@host.example.net>",
            "Via: 2.0 UDP host.example.net -;branch=z9hG4bKkdjuw",
            "Content-Type: application/sdp",
            "Content-Length: 138",
        ],
        Some(138),
    );
}

#[test]
fn rfc4475_3_1_2_19_bigcode() {
    refuses(
        "rfc4475/bigcode",
        Reason::InvalidStatusCode,
        None,
        "4294967301 better not break the receiver",
    );
}

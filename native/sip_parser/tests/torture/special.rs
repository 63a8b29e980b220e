//! RFC 4475 §3.2 to §3.4: messages that layers above the parser decide on.

use crate::common::{refuses, yields};
use crate::request_uri;
use sip_parser::Reason;

#[test]
fn rfc4475_3_2_1_badbranch() {
    yields(
        "rfc4475/badbranch",
        "OPTIONS sip:user@example.com 2.0",
        &[
            "To: <sip:user@example.com>",
            "From: <sip:caller@example.org>;tag=33242",
            "Max-Forwards: 3",
            "Via: 2.0 UDP 192.0.2.1 -;branch=z9hG4bK",
            "Accept: application/sdp",
            "Call-ID: badbranch.sadonfo23i420jv0as0derf3j3n",
            "CSeq: 8 OPTIONS",
            "Content-Length: 0",
        ],
        Some(0),
    );
}

#[test]
fn rfc4475_3_3_1_insuf() {
    yields(
        "rfc4475/insuf",
        "INVITE sip:user@example.com 2.0",
        &[
            "CSeq: 193942 INVITE",
            "Via: 2.0 UDP 192.0.2.95 -;branch=z9hG4bKkdj.insuf",
            "Content-Type: application/sdp",
            "Content-Length: 152",
        ],
        Some(152),
    );
}

#[test]
fn rfc4475_3_3_2_unkscm() {
    yields(
        "rfc4475/unkscm",
        "OPTIONS nobodyKnowsThisScheme:totallyopaquecontent 2.0",
        &[
            "To: <sip:user@example.com>",
            "From: <sip:caller@example.net>;tag=384",
            "Max-Forwards: 3",
            "Call-ID: unkscm.nasdfasser0q239nwsdfasdkl34",
            "CSeq: 3923423 OPTIONS",
            "Via: 2.0 TCP host9.example.com -;branch=z9hG4bKkdjuw39234",
            "Content-Length: 0",
        ],
        Some(0),
    );
    request_uri(
        "rfc4475/unkscm",
        "Other scheme=nobodyKnowsThisScheme user=- host= port=- parameters= headers=",
    );
}

#[test]
fn rfc4475_3_3_3_novelsc() {
    yields(
        "rfc4475/novelsc",
        "OPTIONS soap.beep://192.0.2.103:3002 2.0",
        &[
            "To: <sip:user@example.com>",
            "From: <sip:caller@example.net>;tag=384",
            "Max-Forwards: 3",
            "Call-ID: novelsc.asdfasser0q239nwsdfasdkl34",
            "CSeq: 3923423 OPTIONS",
            "Via: 2.0 TCP host9.example.com -;branch=z9hG4bKkdjuw39234",
            "Content-Length: 0",
        ],
        Some(0),
    );
    request_uri(
        "rfc4475/novelsc",
        "Other scheme=soap.beep user=- host= port=- parameters= headers=",
    );
}

#[test]
fn rfc4475_3_3_4_unksm2() {
    yields(
        "rfc4475/unksm2",
        "REGISTER sip:example.com 2.0",
        &[
            "To: <isbn:2983792873>",
            "From: <http://www.example.com>;tag=3234233",
            "Call-ID: unksm2.daksdj@hyphenated-host.example.com",
            "CSeq: 234902 REGISTER",
            "Max-Forwards: 70",
            "Via: 2.0 UDP 192.0.2.21 5060;branch=z9hG4bKkdjuw",
            "Contact: <name:John_Smith>",
            "Content-Length: 0",
        ],
        Some(0),
    );
}

#[test]
fn rfc4475_3_3_5_bext01() {
    yields(
        "rfc4475/bext01",
        "OPTIONS sip:user@example.com 2.0",
        &[
            "To: <sip:j_user@example.com>",
            "From: <sip:caller@example.net>;tag=242etr",
            "Max-Forwards: 6",
            "Call-ID: bext01.0ha0isndaksdj",
            "Require: nothingSupportsThis, nothingSupportsThisEither",
            "Proxy-Require: noProxiesSupportThis, norDoAnyProxiesSupportThis",
            "CSeq: 8 OPTIONS",
            "Via: 2.0 TLS fold-and-staple.example.com -;branch=z9hG4bKkdjuw",
            "Content-Length: 0",
        ],
        Some(0),
    );
}

#[test]
fn rfc4475_3_3_6_invut() {
    yields(
        "rfc4475/invut",
        "INVITE sip:user@example.com 2.0",
        &[
            "Contact: <sip:caller@host5.example.net>",
            "To: <sip:j.user@example.com>",
            "From: <sip:caller@example.net>;tag=8392034",
            "Max-Forwards: 70",
            "Call-ID: invut.0ha0isndaksdjadsfij34n23d",
            "CSeq: 235448 INVITE",
            "Via: 2.0 UDP somehost.example.com -;branch=z9hG4bKkdjuw",
            "Content-Type: application/unknownformat",
            "Content-Length: 40",
        ],
        Some(40),
    );
}

#[test]
fn rfc4475_3_3_7_regaut01() {
    yields(
        "rfc4475/regaut01",
        "REGISTER sip:example.com 2.0",
        &[
            "To: <sip:j.user@example.com>",
            "From: <sip:j.user@example.com>;tag=87321hj23128",
            "Max-Forwards: 8",
            "Call-ID: regaut01.0ha0isndaksdj",
            "CSeq: 9338 REGISTER",
            "Via: 2.0 TCP 192.0.2.253 -;branch=z9hG4bKkdjuw",
            "Authorization: NoOneKnowsThisScheme;opaque-data=here",
            "Content-Length: 0",
        ],
        Some(0),
    );
}

#[test]
fn rfc4475_3_3_8_multi01() {
    refuses(
        "rfc4475/multi01",
        Reason::RepeatedHeader,
        Some("Max-Forwards"),
        "5",
    );
}

#[test]
fn rfc4475_3_3_9_mcl01() {
    refuses(
        "rfc4475/mcl01",
        Reason::RepeatedHeader,
        Some("Content-Length"),
        "5",
    );
}

#[test]
fn rfc4475_3_3_10_bcast() {
    yields(
        "rfc4475/bcast",
        "2.0 200 OK",
        &[
            "Via: 2.0 UDP 192.0.2.198 -;branch=z9hG4bK1324923, 2.0 UDP 255.255.255.255 -;branch=z9hG4bK1saber23",
            "Call-ID: bcast.0384840201234ksdfak3j2erwedfsASdf",
            "CSeq: 35 INVITE",
            "From: <sip:user@example.com>;tag=11141343",
            "To: <sip:user@example.edu>;tag=2229",
            "Content-Length: 154",
            "Content-Type: application/sdp",
            "Contact: <sip:user@host28.example.com>",
        ],
        Some(154),
    );
}

#[test]
fn rfc4475_3_3_11_zeromf() {
    yields(
        "rfc4475/zeromf",
        "OPTIONS sip:user@example.com 2.0",
        &[
            "To: <sip:user@example.com>",
            "From: <sip:caller@example.net>;tag=3ghsd41",
            "Call-ID: zeromf.jfasdlfnm2o2l43r5u0asdfas",
            "CSeq: 39234321 OPTIONS",
            "Via: 2.0 UDP host1.example.com -;branch=z9hG4bKkdjuw2349i",
            "Max-Forwards: 0",
            "Content-Length: 0",
        ],
        Some(0),
    );
}

#[test]
fn rfc4475_3_3_12_cparam01() {
    yields(
        "rfc4475/cparam01",
        "REGISTER sip:example.com 2.0",
        &[
            "Via: 2.0 UDP saturn.example.com 5060;branch=z9hG4bKkdjuw",
            "Max-Forwards: 70",
            "From: <sip:watson@example.com>;tag=DkfVgjkrtMwaerKKpe",
            "To: <sip:watson@example.com>",
            "Call-ID: cparam01.70710@saturn.example.com",
            "CSeq: 2 REGISTER",
            "Contact: <sip:+19725552222@gw1.example.net>;unknownparam",
            "Content-Length: 0",
        ],
        Some(0),
    );
}

#[test]
fn rfc4475_3_3_13_cparam02() {
    yields(
        "rfc4475/cparam02",
        "REGISTER sip:example.com 2.0",
        &[
            "Via: 2.0 UDP saturn.example.com 5060;branch=z9hG4bKkdjuw",
            "Max-Forwards: 70",
            "From: <sip:watson@example.com>;tag=838293",
            "To: <sip:watson@example.com>",
            "Call-ID: cparam02.70710@saturn.example.com",
            "CSeq: 3 REGISTER",
            "Contact: <sip:+19725552222@gw1.example.net;unknownparam>",
            "Content-Length: 0",
        ],
        Some(0),
    );
}

#[test]
fn rfc4475_3_3_14_regescrt() {
    yields(
        "rfc4475/regescrt",
        "REGISTER sip:example.com 2.0",
        &[
            "To: <sip:user@example.com>",
            "From: <sip:user@example.com>;tag=8",
            "Max-Forwards: 70",
            "Call-ID: regescrt.k345asrl3fdbv@192.0.2.1",
            "CSeq: 14398234 REGISTER",
            "Via: 2.0 UDP host5.example.com -;branch=z9hG4bKkdjuw",
            "Contact: <sip:user@example.com?Route=%3Csip:sip.example.com%3E>",
            "Content-Length: 0",
        ],
        Some(0),
    );
}

#[test]
fn rfc4475_3_3_15_sdp01() {
    yields(
        "rfc4475/sdp01",
        "INVITE sip:user@example.com 2.0",
        &[
            "To: <sip:j_user@example.com>",
            "Contact: <sip:caller@host15.example.net>",
            "From: <sip:caller@example.net>;tag=234",
            "Max-Forwards: 5",
            "Call-ID: sdp01.ndaksdj9342dasdd",
            "Accept: text/nobodyKnowsThis",
            "CSeq: 8 INVITE",
            "Via: 2.0 UDP 192.0.2.15 -;branch=z9hG4bKkdjuw",
            "Content-Length: 150",
            "Content-Type: application/sdp",
        ],
        Some(150),
    );
}

#[test]
fn rfc4475_3_4_1_inv2543() {
    yields(
        "rfc4475/inv2543",
        "INVITE sip:UserB@example.com 2.0",
        &[
            "Via: 2.0 UDP iftgw.example.com -",
            "From: <sip:+13035551111@ift.client.example.net;user=phone>",
            "Record-Route: <sip:UserB@example.com;maddr=ss1.example.com>",
            "To: <sip:+16505552222@ss1.example.net>;user=phone",
            "Call-ID: inv2543.1717@ift.client.example.com",
            "CSeq: 56 INVITE",
            "Content-Type: application/sdp",
        ],
        Some(105),
    );
}

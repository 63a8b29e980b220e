//! RFC 4475 §3.1.1: valid messages.

use crate::common::yields;
use crate::request_uri;

#[test]
fn rfc4475_3_1_1_1_wsinv() {
    yields(
        "rfc4475/wsinv",
        "INVITE sip:vivekg@chair-dnrc.example.com;unknownparam 2.0",
        &[
            "To: <sip:vivekg@chair-dnrc.example.com>;tag=1918181833n",
            r#"From: "J Rosenberg \\\"" <sip:jdrosen@example.com>;tag=98asjd8"#,
            "Max-Forwards: 68",
            "Call-ID: wsinv.ndaksdj@192.0.2.1",
            "Content-Length: 150",
            "CSeq: 9 INVITE",
            "Via: 2.0 UDP 192.0.2.2 -;branch=390skdjuw, 2.0 TCP spindle.example.com -;branch=z9hG4bK9ikj8, 2.0 UDP 192.168.255.111 -;branch=z9hG4bK30239",
            "Subject: ",
            "NewFangledHeader = newfangled value continued newfangled value",
            "UnknownHeaderWithUnusualValue = ;;,,;;,;",
            "Content-Type: application/sdp",
            "Route: <sip:services.example.com;lr;unknownwith=value;unknown-no-value>",
            r#"Contact: "Quoted string \"\"" <sip:jdrosen@example.com>;newparam=newvalue;secondparam;q=0.33"#,
        ],
        Some(150),
    );
    request_uri(
        "rfc4475/wsinv",
        "Sip scheme=sip user=vivekg host=chair-dnrc.example.com port=- parameters=;unknownparam headers=",
    );
}

#[test]
fn rfc4475_3_1_1_2_intmeth() {
    yields(
        "rfc4475/intmeth",
        "!interesting-Method0123456789_*+`.%indeed'~ sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com 2.0",
        &[
            "Via: 2.0 TCP host1.example.com -;branch=z9hG4bK-.!%66*_+`'~",
            r#"To: "BEL:\u{7} NUL:\0 DEL:\u{7f}" <sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@example.com>"#,
            r#"From: "token1~` token2'+_ token3*%!.-" <sip:mundane@example.com>;fromParam''~+*_!.-%="работающий";tag=_token~1'+`*%!-."#,
            r#"Call-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\/"][?}{"#,
            "CSeq: 139122385 !interesting-Method0123456789_*+`.%indeed'~",
            "Max-Forwards: 255",
            "extensionHeader-!.%*+_`'~ = \u{feff}大停電",
            "Content-Length: 0",
        ],
        Some(0),
    );
    // The `?` and the `/` of the user part begin neither headers nor a path.
    request_uri(
        "rfc4475/intmeth",
        "Sip scheme=sip user=1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it) \
         host=example.com port=- parameters= headers=",
    );
}

#[test]
fn rfc4475_3_1_1_3_esc01() {
    yields(
        "rfc4475/esc01",
        "INVITE sip:sips%3Auser%40example.com@example.net 2.0",
        &[
            "To: <sip:%75se%72@example.com>",
            "From: <sip:I%20have%20spaces@example.net>;tag=938",
            "Max-Forwards: 87",
            "Call-ID: esc01.239409asdfakjkn23onasd0-3234",
            "CSeq: 234234 INVITE",
            "Via: 2.0 UDP host5.example.net -;branch=z9hG4bKkdjuw",
            "Content-Type: application/sdp",
            "Contact: <sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31>",
            "Content-Length: 150",
        ],
        Some(150),
    );
    request_uri(
        "rfc4475/esc01",
        "Sip scheme=sip user=sips%3Auser%40example.com host=example.net port=- parameters= headers=",
    );
}

#[test]
fn rfc4475_3_1_1_4_escnull() {
    yields(
        "rfc4475/escnull",
        "REGISTER sip:example.com 2.0",
        &[
            "To: <sip:null-%00-null@example.com>",
            "From: <sip:null-%00-null@example.com>;tag=839923423",
            "Max-Forwards: 70",
            "Call-ID: escnull.39203ndfvkjdasfkq3w4otrq0adsfdfnavd",
            "CSeq: 14398234 REGISTER",
            "Via: 2.0 UDP host5.example.com -;branch=z9hG4bKkdjuw",
            "Contact: <sip:%00@host5.example.com>, <sip:%00%00@host5.example.com>",
            "Content-Length: 0",
        ],
        Some(0),
    );
}

#[test]
fn rfc4475_3_1_1_5_esc02() {
    yields(
        "rfc4475/esc02",
        "RE%47IST%45R sip:registrar.example.com 2.0",
        &[
            r#"To: "%Z%45" <sip:resource@example.com>"#,
            r#"From: "%Z%45" <sip:resource@example.com>;tag=f232jadfj23"#,
            "Call-ID: esc02.asdfnqwo34rq23i34jrjasdcnl23nrlknsdf",
            "Via: 2.0 TCP host.example.com -;branch=z9hG4bK209%fzsnel234",
            "CSeq: 29344 RE%47IST%45R",
            "Max-Forwards: 70",
            "Contact: <sip:alias1@host1.example.com>, <sip:alias3@host3.example.com>",
            "C%6Fntact = <sip:alias2@host2.example.com>",
            "Content-Length: 0",
        ],
        Some(0),
    );
}

#[test]
fn rfc4475_3_1_1_6_lwsdisp() {
    yields(
        "rfc4475/lwsdisp",
        "OPTIONS sip:user@example.com 2.0",
        &[
            "To: <sip:user@example.com>",
            r#"From: "caller" <sip:caller@example.com>;tag=323"#,
            "Max-Forwards: 70",
            "Call-ID: lwsdisp.1234abcd@funky.example.com",
            "CSeq: 60 OPTIONS",
            "Via: 2.0 UDP funky.example.com -;branch=z9hG4bKkdjuw",
            "Content-Length: 0",
        ],
        Some(0),
    );
}

#[test]
fn rfc4475_3_1_1_7_longreq() {
    let long = "long".repeat(20);
    let caller = "amazinglylongcallername".repeat(5);
    let to = format!(
        "To: \"I have a user name of {} proportion\" <sip:user@example.com:6000;unknownparam1=very{long}value\
         ;longparam{}=shortvalue;very{}ParameterNameWithNoValue>",
        "extreme".repeat(10),
        "name".repeat(25),
        "long".repeat(25)
    );
    let from = format!(
        "From: <sip:{caller}@example.net>;tag=12{}424;unknownheaderparam{}=unknowheaderparam{};unknownValueless{}",
        "982".repeat(50),
        "name".repeat(20),
        "value".repeat(15),
        "paramname".repeat(10)
    );
    let hops: String = (1..=33)
        .rev()
        .map(|n| format!("2.0 TCP sip{n}.example.com -, "))
        .collect();
    let branch = format!("very{}branchvalue", "long".repeat(50));
    yields(
        "rfc4475/longreq",
        "INVITE sip:user@example.com 2.0",
        &[
            &to,
            &from,
            &format!("Call-ID: longreq.one{}longcallid", "really".repeat(20)),
            "CSeq: 3882340 INVITE",
            &format!(
                "Unknown-{}-Name = unknown-{long}-value; unknown-{long}-parameter-name = unknown-{long}-parameter-value",
                "Long".repeat(20)
            ),
            &format!("Via: {hops}2.0 TCP host.example.com -;received=192.0.2.5;branch={branch}"),
            "Max-Forwards: 70",
            &format!("Contact: <sip:{caller}@host5.example.net>"),
            "Content-Type: application/sdp",
            "Content-Length: 150",
        ],
        Some(150),
    );
}

#[test]
fn rfc4475_3_1_1_8_dblreq() {
    yields(
        "rfc4475/dblreq",
        "REGISTER sip:example.com 2.0",
        &[
            "To: <sip:j.user@example.com>",
            "From: <sip:j.user@example.com>;tag=43251j3j324",
            "Max-Forwards: 8",
            "Call-ID: dblreq.0ha0isndaksdj99sdfafnl3lk233412",
            "Contact: <sip:j.user@host.example.com>",
            "CSeq: 8 REGISTER",
            "Via: 2.0 UDP 192.0.2.125 -;branch=z9hG4bKkdjuw23492",
            "Content-Length: 0",
        ],
        Some(0),
    );
}

#[test]
fn rfc4475_3_1_1_9_semiuri() {
    yields(
        "rfc4475/semiuri",
        "OPTIONS sip:user;par=u%40example.net@example.com 2.0",
        &[
            "To: <sip:j_user@example.com>",
            "From: <sip:caller@example.org>;tag=33242",
            "Max-Forwards: 3",
            "Call-ID: semiuri.0ha0isndaksdj",
            "CSeq: 8 OPTIONS",
            "Accept: application/sdp, application/pkcs7-mime, multipart/mixed, multipart/signed, message/sip, message/sipfrag",
            "Via: 2.0 UDP 192.0.2.1 -;branch=z9hG4bKkdjuw",
            "Content-Length: 0",
        ],
        Some(0),
    );
    request_uri(
        "rfc4475/semiuri",
        "Sip scheme=sip user=user;par=u%40example.net host=example.com port=- parameters= headers=",
    );
}

#[test]
fn rfc4475_3_1_1_10_transports() {
    yields(
        "rfc4475/transports",
        "OPTIONS sip:user@example.com 2.0",
        &[
            "To: <sip:user@example.com>",
            "From: <sip:caller@example.com>;tag=323",
            "Max-Forwards: 70",
            "Call-ID: transports.kijh4akdnaqjkwendsasfdj",
            "Accept: application/sdp",
            "CSeq: 60 OPTIONS",
            "Via: 2.0 UDP t1.example.com -;branch=z9hG4bKkdjuw, 2.0 SCTP t2.example.com -;branch=z9hG4bKklasjdhf, 2.0 TLS t3.example.com -;branch=z9hG4bK2980unddj, 2.0 UNKNOWN t4.example.com -;branch=z9hG4bKasd0f3en, 2.0 TCP t5.example.com -;branch=z9hG4bK0a9idfnee",
            "Content-Length: 0",
        ],
        Some(0),
    );
}

#[test]
fn rfc4475_3_1_1_11_mpart01() {
    yields(
        "rfc4475/mpart01",
        "MESSAGE sip:kumiko@example.org 2.0",
        &[
            "Via: 2.0 UDP 127.0.0.1 5070;branch=z9hG4bK-d87543-4dade06d0bdb11ee-1--d87543-;rport",
            "Max-Forwards: 70",
            "Route: <sip:127.0.0.1:5080>",
            "Identity = r5mwreLuyDRYBi/0TiPwEsY3rEVsk/G2WxhgTV1PF7hHuLIK0YWVKZhKv9Mj8UeXqkMVbnVq37CD+813gvYjcBUaZngQmXc9WNZSDNGCzA+fWl9MEUHWIZo1CeJebdY/XlgKeTa0Olvq0rt70Q5jiSfbqMJmQFteeivUhkMWYUA=",
            "Contact: <sip:fluffy@127.0.0.1:5070>",
            "To: <sip:kumiko@example.org>",
            "From: <sip:fluffy@example.com>;tag=2fb0dcc9",
            "Call-ID: 3d9485ad0c49859b@Zmx1ZmZ5LW1hYy0xNi5sb2NhbA..",
            "CSeq: 1 MESSAGE",
            "Content-Transfer-Encoding = binary",
            "Content-Type: multipart/mixed;boundary=7a9cbec02ceef655",
            "Date: 2005-10-15 04:44:56",
            "User-Agent: SIPimp.org/0.2.5 (curses)",
            "Content-Length: 553",
        ],
        Some(553),
    );
}

#[test]
fn rfc4475_3_1_1_12_unreason() {
    yields(
        "rfc4475/unreason",
        "2.0 200 = 2**3 * 5**2 но сто девяносто девять - простое",
        &[
            "Via: 2.0 UDP 192.0.2.198 -;branch=z9hG4bK1324923",
            "Call-ID: unreason.1234ksdfak3j2erwedfsASdf",
            "CSeq: 35 INVITE",
            "From: <sip:user@example.com>;tag=11141343",
            "To: <sip:user@example.edu>;tag=2229",
            "Content-Length: 154",
            "Content-Type: application/sdp",
            "Contact: <sip:user@host198.example.com>",
        ],
        Some(154),
    );
}

#[test]
fn rfc4475_3_1_1_13_noreason() {
    yields(
        "rfc4475/noreason",
        "2.0 100 ",
        &[
            "Via: 2.0 UDP 192.0.2.105 -;branch=z9hG4bK2398ndaoe",
            "Call-ID: noreason.asndj203insdf99223ndf",
            "CSeq: 35 INVITE",
            "From: <sip:user@example.com>;tag=39ansfi3",
            "To: <sip:user@example.edu>;tag=902jndnke3",
            "Content-Length: 0",
            "Contact: <sip:user@host105.example.com>",
        ],
        Some(0),
    );
}

//! Tokens, alone (Allow, Supported, Priority) or with parameters (Accept-Language, Event, Reason).

use crate::chars::Class;
use crate::cursor::Cursor;
use crate::error::Parsed;
use crate::params;
use crate::tree::{Item, Param, Span, Tree};

#[inline]
pub(super) fn element(cursor: &mut Cursor<'_>) -> Parsed<Item> {
    cursor.token().map(Item::Token)
}

#[inline]
pub(super) fn with_params(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let token = cursor.token()?;
    let start = params::push_list(cursor, tree, b"")?;
    while goes_on(cursor, tree, start) {
        params::push_list(cursor, tree, b"")?;
    }
    let params = params::finish(cursor, tree, start);
    Ok(Item::TokenParams { token, params })
}

/// RFC3326§2 - the `text` of a Reason is a quoted string. Where the quotes are missing its further words are taken
/// too. Returns whether there were any.
fn goes_on(cursor: &mut Cursor<'_>, tree: &mut Tree, start: usize) -> bool {
    let before = cursor.pos();
    let quoted = before > 0 && cursor.bytes(Span::new(before - 1, before)) == b"\"";
    match tree.params[start..].last_mut() {
        Some(Param { name, value })
            if !quoted
                && !value.span.is_empty()
                && cursor.bytes(*name).eq_ignore_ascii_case(b"text") =>
        {
            let mut ahead = *cursor;
            while ahead.blanks().is_ok() && ahead.some(Class::VALUE).is_ok() {
                *cursor = ahead;
            }
            value.span.end = cursor.pos() as u32;
            cursor.pos() > before
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::shape::testing::{reads, reads_lines, refuses};

    #[test]
    fn rfc3261_20_2_accept_encoding() {
        reads("Accept-Encoding", "gzip", &["gzip"]);
        reads("Accept-Encoding", "gzip;q=0.5 , *", &["gzip;q=0.5", "*"]);
        // RFC3261§20.2 - "An empty Accept-Encoding header field is permissible."
        reads("Accept-Encoding", "", &[]);
    }

    #[test]
    fn rfc3261_20_3_accept_language() {
        reads(
            "Accept-Language",
            "da, en-gb;q=0.8, en;q=0.7",
            &["da", "en-gb;q=0.8", "en;q=0.7"],
        );
        reads("Accept-Language", "", &[]);
        reads("Accept-Language", ",da;;q=1;,, en,", &["da;q=1", "en"]);
        reads("Accept-Language", " , ", &[]);
        refuses("Accept-Language", &[";q=1", "da en"]);
    }

    #[test]
    fn rfc3261_20_5_allow() {
        reads(
            "Allow",
            "INVITE, ACK, OPTIONS, CANCEL, BYE",
            &["INVITE", "ACK", "OPTIONS", "CANCEL", "BYE"],
        );
        reads_lines("Allow", &["INVITE", "", "fOO"], &["INVITE", "fOO"]);
        refuses(
            "Allow",
            &["INVITE;a", "INVITE ACK", "INVITE, a@b", "a@b", "\"INVITE\""],
        );
    }

    #[test]
    fn rfc3261_20_11_content_disposition() {
        reads("Content-Disposition", "session", &["session"]);
        reads(
            "Content-Disposition",
            "session ;handling=optional",
            &["session;handling=optional"],
        );
        refuses(
            "Content-Disposition",
            &["", ";handling=optional", "session, render"],
        );
    }

    #[test]
    fn rfc3261_20_12_content_encoding() {
        reads("Content-Encoding", "gzip", &["gzip"]);
        reads("e", "tar,gzip", &["tar", "gzip"]);
        refuses("Content-Encoding", &["gzip;q=1", "gzip tar"]);
    }

    #[test]
    fn rfc3261_20_13_content_language() {
        reads("Content-Language", "fr", &["fr"]);
        reads("Content-Language", "fr, en-gb", &["fr", "en-gb"]);
        reads("Content-Language", "", &[]);
    }

    #[test]
    fn rfc3261_20_26_priority() {
        reads("Priority", "emergency", &["emergency"]);
        reads("Priority", "non-urgent", &["non-urgent"]);
        // In the field it is text.
        reads("Priority", "non urgent", &["non urgent"]);
        refuses("Priority", &["urgent\u{7}"]);
    }

    #[test]
    fn rfc3261_20_29_proxy_require_20_32_require_and_20_40_unsupported() {
        for name in ["Proxy-Require", "Require", "Unsupported"] {
            reads(name, "foo", &["foo"]);
            reads(name, "100rel,  sec-agree", &["100rel", "sec-agree"]);
            reads(name, ",foo,,bar,", &["foo", "bar"]);
            reads(name, ",", &[]);
            refuses(name, &["foo bar", "foo;bar"]);
        }
    }

    #[test]
    fn rfc3261_20_37_supported() {
        reads("Supported", "100rel", &["100rel"]);
        // RFC3261§20.37 - "If empty, it means that no extensions are supported."
        reads("k", "", &[]);
        reads(
            "k",
            "100rel,timer , replaces",
            &["100rel", "timer", "replaces"],
        );
    }

    #[test]
    fn rfc3326_2_reason() {
        reads(
            "Reason",
            r#"SIP ;cause=200 ;text="Call completed elsewhere""#,
            &[r#"SIP;cause=200;text="Call completed elsewhere""#],
        );
        reads(
            "Reason",
            "Q.850;cause=16,SIP;cause=600",
            &["Q.850;cause=16", "SIP;cause=600"],
        );
        reads(
            "Reason",
            "Q.850 ;cause=16;text=Normal call clearing ;x, SIP;TEXT=a",
            &[
                r#"Q.850;cause=16;text="Normal call clearing";x"#,
                "SIP;TEXT=a",
            ],
        );
        refuses(
            "Reason",
            &[
                ";cause=1",
                "SIP cause=1",
                "SIP;cause=1 2",
                "SIP;text=\"a\" b",
                "SIP;text a",
            ],
        );
    }

    #[test]
    fn rfc6665_8_2_event_allow_events_and_subscription_state() {
        reads(
            "Event",
            "dialog;call-id=\"a@b\";id=1",
            &["dialog;call-id=a@b;id=1"],
        );
        reads("o", "presence.winfo", &["presence.winfo"]);
        refuses("Event", &["", ";id=1", "a, b", "a,"]);
        reads(
            "u",
            "spirits-INDPs, presence",
            &["spirits-INDPs", "presence"],
        );
        reads(
            "Subscription-State",
            "terminated;reason=timeout;retry-after=5",
            &["terminated;reason=timeout;retry-after=5"],
        );
    }

    #[test]
    fn rfc3841_9_2_caller_preferences() {
        reads(
            "a",
            r#"*;audio;require, *;video;explicit;methods="INVITE,BYE""#,
            &[
                "*;audio;require",
                r#"*;video;explicit;methods="INVITE,BYE""#,
            ],
        );
        reads(
            "Reject-Contact",
            r#"*;+sip.instance="<urn:uuid:f8>""#,
            &[r#"*;+sip.instance="<urn:uuid:f8>""#],
        );
        reads("d", "proxy, no-fork", &["proxy", "no-fork"]);
    }

    #[test]
    fn rfc3329_2_2_security_agreement() {
        for name in ["Security-Client", "Security-Server", "Security-Verify"] {
            reads(
                name,
                "ipsec-ike;q=0.1,tls;q=0.2;d-ver=\"0000000000000000000000000000abcd\"",
                &[
                    "ipsec-ike;q=0.1",
                    "tls;q=0.2;d-ver=0000000000000000000000000000abcd",
                ],
            );
        }
    }

    #[test]
    fn rfc7315_5_4_p_access_network_info() {
        reads(
            "P-Access-Network-Info",
            "3GPP-UTRAN-TDD; utran-cell-id-3gpp=234151D0FCE11, 3GPP2-1X;ci-3gpp2=\"1\";np",
            &[
                "3GPP-UTRAN-TDD;utran-cell-id-3gpp=234151D0FCE11",
                "3GPP2-1X;ci-3gpp2=1;np",
            ],
        );
    }

    #[test]
    fn tokens_of_other_extensions() {
        for name in [
            "SIP-ETag",
            "SIP-If-Match",
            "Suppress-If-Match",
            "Geolocation-Routing",
            "P-Media-Authorization",
        ] {
            reads(name, "kwj449x", &["kwj449x"]);
            refuses(name, &["a b", "a;b"]);
        }
        reads(
            "Resource-Priority",
            "ets.0, dsn.flash",
            &["ets.0", "dsn.flash"],
        );
        reads("Accept-Resource-Priority", "", &[]);
        reads("P-Early-Media", "sendrecv, gated", &["sendrecv", "gated"]);
        reads("Recv-Info", "", &[]);
        reads("Info-Package", "foo;x", &["foo;x"]);
        reads("Answer-Mode", "Manual;require", &["Manual;require"]);
        reads("Refer-Sub", "false", &["false"]);
        reads(
            "Feature-Caps",
            r##"*;+g.3gpp.srvcc="<x>";+a="#b""##,
            &[r##"*;+g.3gpp.srvcc="<x>";+a=#b"##],
        );
        reads(
            "Session-ID",
            "ab30317f1a784dc48ff824d0d3715d86;remote=00000000000000000000000000000000",
            &["ab30317f1a784dc48ff824d0d3715d86;remote=00000000000000000000000000000000"],
        );
    }
}

//! `( name-addr / addr-spec ) *( SEMI generic-param )`: From, To, Contact, Route and their like.

use crate::chars::Class;
use crate::cursor::Cursor;
use crate::error::Parsed;
use crate::params;
use crate::table::Repeat;
use crate::tree::{Item, Text, Tree, UriId};
use crate::uri;

#[inline]
pub(super) fn element(repeat: Repeat, cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let start = cursor.pos();
    match display_name(cursor)? {
        Some(display) => name_addr(cursor, tree, display),
        None => {
            cursor.set_pos(start);
            let uri = addr_spec(repeat, cursor, tree)?;
            finish(cursor, tree, Text::default(), uri)
        }
    }
}

/// An address that always has its brackets.
#[inline]
pub(super) fn name_addr_only(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    match display_name(cursor)? {
        Some(display) => name_addr(cursor, tree, display),
        None => cursor.fault(),
    }
}

/// RFC3261§20.30, §20.34 - Route and Record-Route always have the brackets. Without them all is the URI's, and its
/// `lr` above all: that is what those mean who leave them out.
#[inline]
pub(super) fn route(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let start = cursor.pos();
    match display_name(cursor)? {
        Some(display) => name_addr(cursor, tree, display),
        None => {
            cursor.set_pos(start);
            let uri = bare(cursor, tree, |octet| {
                matches!(octet, b',' | b' ' | b'\t' | b'?')
            })?;
            finish(cursor, tree, Text::default(), uri)
        }
    }
}

/// RFC3515§2.1 - as From, but that clients leave out the brackets of a URI with headers: those are the URI's then, and
/// with them its parameters.
pub(super) fn refer_to(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let start = cursor.pos();
    if display_name(cursor)?.is_none() {
        cursor.set_pos(start);
        if memchr::memchr(b'?', cursor.rest()).is_some() {
            let uri = bare(cursor, tree, |octet| matches!(octet, b' ' | b'\t'))?;
            return finish(cursor, tree, Text::default(), uri);
        }
    }
    cursor.set_pos(start);
    element(Repeat::One, cursor, tree)
}

/// RFC3261§20.10 - `*` alone, or addresses. Whether their `q` and `expires` follow their grammar is for those to judge
/// who need the number (§10.2.1.1).
pub(super) fn contact(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    if cursor.peek() == Some(b'*') {
        let mut rest = *cursor;
        rest.take(b'*');
        // RFC3261§10.3 - with anything else beside it (a line before, a comma behind) it is a fault.
        if rest.at_end() {
            *cursor = rest;
            return Ok(Item::Star);
        }
    }
    element(Repeat::List, cursor, tree)
}

/// What stands before `<`, or nothing where no `<` comes.
///
/// Blanks between the words and `<` are not asked for (RFC4475§3.1.1.6), and an unquoted name may have any text
/// that can't be taken for what stands behind it.
#[inline]
fn display_name(cursor: &mut Cursor<'_>) -> Parsed<Option<Text>> {
    match cursor.peek() {
        Some(b'<') => Ok(Some(Text::default())),
        Some(b'"') => {
            let text = cursor.quoted_string()?;
            cursor.skip_blanks();
            if cursor.peek() == Some(b'<') {
                Ok(Some(text))
            } else {
                cursor.fault()
            }
        }
        _ => {
            let words = cursor.run(Class::DISPLAY);
            if cursor.peek() != Some(b'<') {
                return Ok(None);
            }
            Ok(Some(Text {
                span: cursor.trim_end(words),
                escaped: false,
            }))
        }
    }
}

#[inline]
fn name_addr(cursor: &mut Cursor<'_>, tree: &mut Tree, display: Text) -> Parsed<Item> {
    let uri = bracketed(cursor, tree)?;
    finish(cursor, tree, display, uri)
}

/// RFC3261§25.1 - `tag-param = "tag" EQUAL token`: a tag without a value identifies nothing.
#[inline]
fn finish(cursor: &mut Cursor<'_>, tree: &mut Tree, display: Text, uri: UriId) -> Parsed<Item> {
    let start = params::push_list(cursor, tree, b"tag")?;
    let params = params::finish(cursor, tree, start);
    Ok(Item::Address {
        display,
        uri,
        params,
    })
}

/// `LAQUOT addr-spec RAQUOT`. The first `>` ends it, but for one in the quotes of a parameter.
#[inline]
pub(super) fn bracketed(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<UriId> {
    cursor.expect(b'<')?;
    let start = cursor.pos();
    let Some(length) = memchr::memchr(b'>', cursor.rest()) else {
        return cursor.fault();
    };
    match uri::whole(&mut cursor.until(start + length)) {
        Ok(uri) => {
            cursor.set_pos(start + length + 1);
            Ok(tree.push_uri(uri))
        }
        Err(_) if memchr::memchr(b'"', &cursor.rest()[..length]).is_some() => {
            bracketed_quotes(cursor, tree)
        }
        Err(fault) => Err(fault),
    }
}

/// The same where a quote stands before the first `>`.
#[cold]
fn bracketed_quotes(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<UriId> {
    let mut end = *cursor;
    loop {
        let rest = end.rest();
        match memchr::memchr2(b'>', b'"', rest) {
            Some(at) => end.set_pos(end.pos() + at),
            None => return end.fault(),
        }
        if end.peek() == Some(b'>') {
            break;
        }
        end.quoted_string()?;
    }
    let uri = uri::whole(&mut cursor.until(end.pos()))?;
    cursor.set_pos(end.pos() + 1);
    Ok(tree.push_uri(uri))
}

/// RFC3261§20 - without brackets a URI has neither comma, question mark nor semicolon, so it ends there; what follows
/// belongs to the header. Where the header has one value a comma does not end it: dial strings have pauses.
#[inline]
fn addr_spec(repeat: Repeat, cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<UriId> {
    let one = repeat == Repeat::One;
    let uri = bare(cursor, tree, |octet| {
        matches!(octet, b';' | b'?' | b' ' | b'\t') || (octet == b',' && !one)
    })?;
    if cursor.peek() == Some(b'?') {
        return cursor.fault();
    }
    Ok(uri)
}

/// A URI up to the first octet that `ends` it.
#[inline]
fn bare(cursor: &mut Cursor<'_>, tree: &mut Tree, ends: impl Fn(u8) -> bool) -> Parsed<UriId> {
    let rest = cursor.rest();
    let length = rest.iter().position(|octet| ends(*octet));
    let end = cursor.pos() + length.unwrap_or(rest.len());
    let uri = uri::whole(&mut cursor.until(end))?;
    cursor.set_pos(end);
    Ok(tree.push_uri(uri))
}

#[cfg(test)]
mod tests {
    use crate::shape::testing::{reads, reads_lines, refuses, refuses_at};

    #[test]
    fn rfc3261_20_10_contact() {
        reads_lines(
            "Contact",
            &[
                r#""Mr. Watson" <sip:watson@worcester.bell-telephone.com> ;q=0.7; expires=3600, "Mr. Watson" <mailto:watson@bell-telephone.com> ;q=0.1"#,
                "<sips:bob@192.0.2.4>;expires=60",
            ],
            &[
                r#""Mr. Watson" <sip:watson@worcester.bell-telephone.com>;q=0.7;expires=3600"#,
                r#""Mr. Watson" <mailto:watson@bell-telephone.com>;q=0.1"#,
                "<sips:bob@192.0.2.4>;expires=60",
            ],
        );
        reads("Contact", "sip:a@h;q=1.000;lr", &["<sip:a@h>;q=1.000;lr"]);
        reads(
            "Contact",
            "<sip:a;b,c?d@h;lr?e=f>",
            &["<sip:a;b,c?d@h;lr?e=f>"],
        );
        reads("m", "*", &["*"]);
    }

    #[test]
    fn rfc3261_10_3_a_star_stands_alone() {
        refuses(
            "Contact",
            &["*, <sip:a@h>", "<sip:a@h>, *", "*;q=1", "* *", "**"],
        );
        let lines: [&[u8]; 2] = [b"*", b"<sip:a@h>"];
        let contact = crate::HeaderId::CONTACT;
        assert!(crate::Parser::new().parse_values(contact, &lines).is_err());
        assert!(
            crate::Parser::new()
                .parse_values(contact, &[b"*", b"*"])
                .is_err()
        );
    }

    #[test]
    fn rfc3261_25_1_qvalue_and_delta_seconds() {
        for q in ["0", "0.", "0.1", "0.999", "1", "1.", "1.0", "1.000"] {
            reads(
                "Contact",
                &format!("<sip:h>;q={q}"),
                &[&format!("<sip:h>;q={q}")],
            );
        }
        // RFC3261§10.2.1.1, §20.10 - what is malformed is for those to judge who need the number.
        for other in [
            "q=2",
            "q=0.1234",
            "q=1.0000",
            "q=-1",
            "q=.5",
            "q=x",
            "expires=-1",
            "expires=1x",
            "expires",
            "Expires=4294967296",
        ] {
            let value = format!("<sip:h>;{other}");
            reads("Contact", &value, &[&value]);
        }
    }

    #[test]
    fn rfc3261_20_20_from() {
        reads(
            "From",
            r#""A. G. Bell" <sip:agb@bell-telephone.com> ;tag=a48s"#,
            &[r#""A. G. Bell" <sip:agb@bell-telephone.com>;tag=a48s"#],
        );
        reads(
            "From",
            "sip:+12125551212@server.phone2net.com;tag=887s",
            &["<sip:+12125551212@server.phone2net.com>;tag=887s"],
        );
        reads(
            "f",
            "Anonymous <sip:c8oqz84zk7z@privacy.org>;tag=hyh8",
            &[r#""Anonymous" <sip:c8oqz84zk7z@privacy.org>;tag=hyh8"#],
        );
    }

    #[test]
    fn rfc3261_20_39_to() {
        reads(
            "To",
            "The Operator <sip:operator@cs.columbia.edu>;tag=287447",
            &[r#""The Operator" <sip:operator@cs.columbia.edu>;tag=287447"#],
        );
        reads(
            "t",
            "sip:+12125551212@server.phone2net.com",
            &["<sip:+12125551212@server.phone2net.com>"],
        );
        refuses("To", &["<sip:a@h>, <sip:b@h>", "", "*", "sip:a@h sip:b@h"]);
    }

    #[test]
    fn rfc3261_20_31_reply_to() {
        reads(
            "Reply-To",
            "Bob <sip:bob@biloxi.com>",
            &[r#""Bob" <sip:bob@biloxi.com>"#],
        );
    }

    #[test]
    fn rfc3261_25_1_display_names() {
        reads("To", r#""a\"b\\c" <sip:h>"#, &[r#""a\"b\\c" <sip:h>"#]);
        reads(
            "To",
            r#""<sip:x>, y;z" <sip:h>"#,
            &[r#""<sip:x>, y;z" <sip:h>"#],
        );
        // RFC3261§25.1 - a quoted-pair escapes nothing from 0x80 up, and some senders do.
        reads("To", "\"a\\é\" <sip:h>", &[r#""aé" <sip:h>"#]);
        reads("To", r#""" <sip:h>"#, &["<sip:h>"]);
        reads("To", "caller<sip:h>", &[r#""caller" <sip:h>"#]);
        reads("To", "a  b\t<sip:h>", &[r#""a  b" <sip:h>"#]);
        reads("To", "Zoë Müller <sip:h>", &[r#""Zoë Müller" <sip:h>"#]);
        refuses(
            "To",
            &[
                "Bell, Alexander <sip:h>",
                "\"open <sip:h>",
                "\"a\" b <sip:h>",
                "\"a\"",
                "\"a\u{1b}[31m\" <sip:h>",
                "\"a\\\r\" <sip:h>",
                "a\u{7} <sip:h>",
                "a; b <sip:h>",
                "Strange User\" <sip:h>",
            ],
        );
        for name in [
            "O'Neil @ work",
            "joe@home",
            "A & B",
            "a/b:c",
            "#1 $x",
            "sip:x@y z",
            "(a)",
        ] {
            let found = format!("{name:?} <sip:h>");
            reads("To", &format!("{name} <sip:h>"), &[&found]);
        }
    }

    #[test]
    fn rfc3261_20_10_brackets() {
        refuses_at("To", "< sip:a@h >", 1);
        refuses_at("To", "sip:a@h?b=c", 7);
        refuses(
            "To",
            &[
                "<sip:a@h",
                "sip:a@h>",
                "<<sip:a@h>>",
                "<sip:a@h> <sip:b@h>",
                "<>",
                "alan@jasomi.com",
                "sip:[::1",
                "<sip:a@h> x",
                "<sip:a@h >",
            ],
        );
        reads("To", "<sip:@h>;x", &["<sip:@h>;x"]);
        reads(
            "To",
            "<sip:[2001:db8::1]:5060;lr>",
            &["<sip:[2001:db8::1]:5060;lr>"],
        );
        reads("To", "isbn:2983792873;a", &["<isbn:2983792873>;a"]);
        reads("To", "<urn:service:sos>", &["<urn:service:sos>"]);
    }

    #[test]
    fn rfc3261_25_1_tag_has_a_value() {
        for empty in [";tag=", ";tag", ";TAG=\"\"", "; tag = ;"] {
            reads("From", &format!("<sip:h>{empty};x"), &["<sip:h>;x"]);
            let two = format!("<sip:h>;tag=a{empty}");
            reads("From", &two, &["<sip:h>;tag=a"]);
        }
        reads("From", "<sip:h>;tag=a;x;TAG=b", &["<sip:h>;x;TAG=b"]);
        let odd = "<sip:h>;tag=192.0.2.1:5060/17";
        reads("From", odd, &[odd]);
        reads("From", "<sip:h>;tag=~'+`*%!-.", &["<sip:h>;tag=~'+`*%!-."]);
    }

    #[test]
    fn rfc3261_20_30_record_route() {
        reads(
            "Record-Route",
            "<sip:server10.biloxi.com;lr>, <sip:bigbox3.site3.atlanta.com;lr>",
            &[
                "<sip:server10.biloxi.com;lr>",
                "<sip:bigbox3.site3.atlanta.com;lr>",
            ],
        );
        reads(
            "Record-Route",
            ",<sip:a>,, <sip:b;lr>;x,",
            &["<sip:a>", "<sip:b;lr>;x"],
        );
    }

    #[test]
    fn rfc3261_20_34_route() {
        reads(
            "Route",
            "<sip:bigbox3.site3.atlanta.com;lr>,\t<sip:server10.biloxi.com;lr>;a=b",
            &[
                "<sip:bigbox3.site3.atlanta.com;lr>",
                "<sip:server10.biloxi.com;lr>;a=b",
            ],
        );
        reads("Route", "", &[]);
        refuses("Route", &["*", "<sip:a> <sip:b>", "<sip:a>;<sip:b>", "?"]);
    }

    #[test]
    fn routes_without_brackets_are_all_uri() {
        for name in ["Route", "Record-Route", "Path", "Service-Route"] {
            reads(
                name,
                "sip:p1.example.com;lr, sips:u@p2:5062;transport=TCP;lr,<sip:p3;lr>;x",
                &[
                    "<sip:p1.example.com;lr>",
                    "<sips:u@p2:5062;transport=TCP;lr>",
                    "<sip:p3;lr>;x",
                ],
            );
            refuses(name, &["sip:p1?a=b", "sip:p1;lr?a=b", "sip:p1 lr", "p1;lr"]);
        }
        // Of the others nobody knows whose their parameters are.
        for name in ["Diversion", "History-Info", "P-Served-User"] {
            refuses(name, &["sip:a@h;index=1", "sip:a@h"]);
        }
    }

    #[test]
    fn a_comma_ends_no_single_address() {
        reads(
            "From",
            "sip:+111,,,2@atlanta.com;tag=12345",
            &["<sip:+111,,,2@atlanta.com>;tag=12345"],
        );
        reads("Contact", "sip:+1@h,sip:2@h", &["<sip:+1@h>", "<sip:2@h>"]);
        refuses("To", &["sip:a@h,sip:b@h", "sip:a@h, sip:b@h", "sip:a@h,"]);
    }

    #[test]
    fn parameters_of_a_uri_in_quotes() {
        reads(
            "Contact",
            r#"<sip:h;transport=wss;thinfo="a>, <b;==">;q=1,<sip:i>"#,
            &[r#"<sip:h;transport=wss;thinfo="a>, <b;==">;q=1"#, "<sip:i>"],
        );
        refuses(
            "Contact",
            &[
                r#"<sip:h;a="b>"#,
                r#"<sip:h;a="b" >"#,
                r#"<sip:h;"b">"#,
                r#"<sip:"b"@h>"#,
            ],
        );
    }

    #[test]
    fn rfc3325_9_1_p_asserted_identity() {
        reads(
            "P-Asserted-Identity",
            r#""Cullen Jennings" <sip:fluffy@cisco.com>, tel:+14085264000"#,
            &[
                r#""Cullen Jennings" <sip:fluffy@cisco.com>"#,
                "<tel:+14085264000>",
            ],
        );
        reads(
            "P-Preferred-Identity",
            r#""Cullen Jennings" <sip:fluffy@cisco.com>"#,
            &[r#""Cullen Jennings" <sip:fluffy@cisco.com>"#],
        );
    }

    #[test]
    fn rfc3515_2_1_refer_to() {
        reads(
            "Refer-To",
            "sip:alice@atlanta.example.com",
            &["<sip:alice@atlanta.example.com>"],
        );
        reads(
            "r",
            "<sip:dave@denver.example.org?Replaces=12345%40192.168.118.3%3Bto-tag%3D12345>",
            &["<sip:dave@denver.example.org?Replaces=12345%40192.168.118.3%3Bto-tag%3D12345>"],
        );
        reads(
            "Refer-To",
            "<sip:carol@h;method=SUBSCRIBE>",
            &["<sip:carol@h;method=SUBSCRIBE>"],
        );
        reads(
            "Refer-To",
            "http://www.ietf.org",
            &["<http://www.ietf.org>"],
        );
        reads(
            "Refer-To",
            "sip:b@h;method=INVITE;x",
            &["<sip:b@h>;method=INVITE;x"],
        );
    }

    #[test]
    fn refer_to_without_brackets_keeps_the_headers_of_the_uri() {
        for uri in [
            "sip:b@192.0.2.1:5060;method=INVITE?Replaces=m%3Bto-tag%3DqW&Require=replaces",
            "sip:b@h?Replaces=1@192.0.2.3;to-tag=a;from-tag=b",
            "sip:h;method=INVITE?Replaces=1",
            "http://h/?a=b",
        ] {
            reads("Refer-To", uri, &[&format!("<{uri}>")]);
            reads("Refer-To", &format!("<{uri}>;x"), &[&format!("<{uri}>;x")]);
        }
        refuses("Refer-To", &["sip:b@h?a=b c", "sip:b@h?a=b, sip:c@h", "?"]);
        refuses("Referred-By", &["sip:b@h?a=b"]);
    }

    #[test]
    fn rfc3892_3_referred_by() {
        reads(
            "b",
            r#"<sip:referror@referror.example>;cid="20398823.2UWQFN309shb3@referror.example""#,
            &["<sip:referror@referror.example>;cid=20398823.2UWQFN309shb3@referror.example"],
        );
    }

    #[test]
    fn rfc3327_rfc3608_path_and_service_route() {
        for name in ["Path", "Service-Route"] {
            reads(
                name,
                "<sip:P2.EXAMPLEHOME.COM;lr>,<sip:HSP.EXAMPLEHOME.COM;lr>",
                &[
                    "<sip:P2.EXAMPLEHOME.COM;lr>",
                    "<sip:HSP.EXAMPLEHOME.COM;lr>",
                ],
            );
        }
    }

    #[test]
    fn rfc5806_diversion_and_rfc7044_history_info() {
        reads(
            "Diversion",
            r#"<sip:+19195551002@h>;reason=user-busy;privacy="full";counter=4"#,
            &["<sip:+19195551002@h>;reason=user-busy;privacy=full;counter=4"],
        );
        reads(
            "History-Info",
            "<sip:bob@example.com>;index=1,<sip:bob@192.0.2.4?Reason=SIP%3Bcause%3D302>;index=1.1;rc=1",
            &[
                "<sip:bob@example.com>;index=1",
                "<sip:bob@192.0.2.4?Reason=SIP%3Bcause%3D302>;index=1.1;rc=1",
            ],
        );
    }

    #[test]
    fn rfc7315_p_headers_with_an_address() {
        reads(
            "P-Called-Party-ID",
            "<sip:user1-business@example.com>",
            &["<sip:user1-business@example.com>"],
        );
        reads(
            "P-Associated-URI",
            "<tel:+358504321>, <sip:b@h>;x",
            &["<tel:+358504321>", "<sip:b@h>;x"],
        );
        reads(
            "P-Charge-Info",
            "<sip:+12345550167@example.com>;npi=ISDN;noa=3",
            &["<sip:+12345550167@example.com>;npi=ISDN;noa=3"],
        );
    }
}

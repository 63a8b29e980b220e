//! `( name-addr / addr-spec ) *( SEMI generic-param )`: From, To, Contact, Route and their like.

use crate::chars::Class;
use crate::cursor::Cursor;
use crate::error::{Fault, Parsed};
use crate::params;
use crate::tree::{Item, Param, Range, Span, Text, Tree, UriId};
use crate::uri;

#[inline]
pub(super) fn element(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let start = cursor.pos();
    match display_name(cursor)? {
        Some(display) => name_addr(cursor, tree, display),
        None => {
            cursor.set_pos(start);
            let uri = addr_spec(cursor, tree)?;
            finish(cursor, tree, Text::default(), uri)
        }
    }
}

/// RFC3261§20.30, §20.34 - Route and Record-Route always have the brackets.
#[inline]
pub(super) fn name_addr_only(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    match display_name(cursor)? {
        Some(display) => name_addr(cursor, tree, display),
        None => cursor.fault(),
    }
}

/// RFC3261§20.10 - `*` alone, or addresses whose `q` and `expires` follow their own grammar.
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
    let item = element(cursor, tree)?;
    if let Item::Address { params, .. } = item {
        check_contact_params(cursor, tree.params_of(params))?;
    }
    Ok(item)
}

fn check_contact_params(cursor: &Cursor<'_>, params: &[Param]) -> Parsed<()> {
    for param in params {
        let value = cursor.bytes(param.value.span);
        let name = cursor.bytes(param.name);
        let good = match name.len() {
            1 if name.eq_ignore_ascii_case(b"q") => is_qvalue(value),
            7 if name.eq_ignore_ascii_case(b"expires") => {
                !value.is_empty() && value.iter().all(u8::is_ascii_digit)
            }
            _ => true,
        };
        if !good {
            return Err(Fault::Malformed(param.name.start as usize));
        }
    }
    Ok(())
}

/// `qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )`
fn is_qvalue(value: &[u8]) -> bool {
    match value {
        [b'0'] | [b'1'] => true,
        [b'0', b'.', decimals @ ..] => {
            decimals.len() <= 3 && decimals.iter().all(u8::is_ascii_digit)
        }
        [b'1', b'.', decimals @ ..] => decimals.len() <= 3 && decimals.iter().all(|d| *d == b'0'),
        _ => false,
    }
}

/// What stands before `<`, or nothing where no `<` comes.
///
/// Blanks between the words and `<` are not asked for (RFC4475§3.1.1.6), and an unquoted name may have
/// UTF-8 in it.
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
                span: trim_end(cursor, words),
                escaped: false,
            }))
        }
    }
}

fn trim_end(cursor: &Cursor<'_>, span: Span) -> Span {
    let text = cursor.bytes(span);
    let blanks = text
        .iter()
        .rev()
        .take_while(|octet| Class::WSP.has(**octet))
        .count();
    Span {
        end: span.end - blanks as u32,
        ..span
    }
}

#[inline]
fn name_addr(cursor: &mut Cursor<'_>, tree: &mut Tree, display: Text) -> Parsed<Item> {
    let uri = bracketed(cursor, tree)?;
    finish(cursor, tree, display, uri)
}

#[inline]
fn finish(cursor: &mut Cursor<'_>, tree: &mut Tree, display: Text, uri: UriId) -> Parsed<Item> {
    let params: Range = params::semicolon_list(cursor, tree)?;
    check_tag(cursor, tree.params_of(params))?;
    Ok(Item::Address {
        display,
        uri,
        params,
    })
}

/// RFC3261§25.1 - `tag-param = "tag" EQUAL token`: a tag without a value identifies nothing.
#[inline]
fn check_tag(cursor: &Cursor<'_>, params: &[Param]) -> Parsed<()> {
    let empty = params.iter().find(|param| {
        param.value.span.is_empty()
            && param.name.len() == 3
            && cursor.bytes(param.name).eq_ignore_ascii_case(b"tag")
    });
    match empty {
        Some(param) => Err(Fault::Malformed(param.name.start as usize)),
        None => Ok(()),
    }
}

/// `LAQUOT addr-spec RAQUOT`. A `>` can stand nowhere in a URI, so the first one ends it.
#[inline]
pub(super) fn bracketed(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<UriId> {
    cursor.expect(b'<')?;
    let start = cursor.pos();
    let Some(length) = memchr::memchr(b'>', cursor.rest()) else {
        return cursor.fault();
    };
    let uri = uri::whole(&mut cursor.until(start + length))?;
    cursor.set_pos(start + length + 1);
    Ok(tree.push_uri(uri))
}

/// RFC3261§20 - without brackets a URI has neither comma, question mark nor semicolon, so it ends there;
/// what follows belongs to the header.
fn addr_spec(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<UriId> {
    let ends = |octet: &u8| matches!(octet, b',' | b';' | b'?' | b' ' | b'\t');
    let rest = cursor.rest();
    let end = cursor.pos() + rest.iter().position(ends).unwrap_or(rest.len());
    let uri = uri::whole(&mut cursor.until(end))?;
    cursor.set_pos(end);
    if cursor.peek() == Some(b'?') {
        return cursor.fault();
    }
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
        for q in [
            "2", "0.1234", "1.001", "1.0000", "-1", ".5", "0,5", "00", "x",
        ] {
            refuses("Contact", &[&format!("<sip:h>;q={q}")]);
        }
        reads(
            "Contact",
            "<sip:h>;Expires=4294967296",
            &["<sip:h>;Expires=4294967296"],
        );
        refuses(
            "Contact",
            &[
                "<sip:h>;expires=-1",
                "<sip:h>;expires",
                "<sip:h>;expires=1x",
            ],
        );
        // The two are parameters of a Contact and of nothing else.
        reads("From", "<sip:h>;q=9;expires=x", &["<sip:h>;q=9;expires=x"]);
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
                // RFC3261§25.1 - a quoted-pair escapes nothing from 0x80 up.
                "\"a\\é\" <sip:h>",
                "O'Neil @ work <sip:h>",
            ],
        );
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
            ],
        );
        reads(
            "To",
            "<sip:[2001:db8::1]:5060;lr>",
            &["<sip:[2001:db8::1]:5060;lr>"],
        );
        reads("To", "isbn:2983792873;a", &["<isbn:2983792873>;a"]);
        reads("To", "<urn:service:sos>", &["<urn:service:sos>"]);
    }

    #[test]
    fn rfc3261_25_1_tag_is_a_token() {
        refuses(
            "From",
            &[
                "<sip:h>;tag=",
                "<sip:h>;tag",
                "<sip:h>;tag=\"\"",
                "<sip:h>;tag=a;TAG=b",
            ],
        );
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
        refuses(
            "Record-Route",
            &["sip:p1.example.com;lr", "<sip:a>,", ", <sip:a>", ""],
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
        refuses("Route", &["sip:p1.example.com;lr", "*", ""]);
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
            refuses(name, &["sip:P2.EXAMPLEHOME.COM;lr"]);
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

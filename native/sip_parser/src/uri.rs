//! URIs (RFC 3261 §19.1, §25.1; RFC 3966; any other absolute URI).

use crate::chars::Class;
use crate::cursor::Cursor;
use crate::error::{Fault, Parsed};
use crate::tree::{Span, Uri, UriKind};
use core::net::Ipv6Addr;

/// Reads a URI that ends where the cursor's text ends.
pub(crate) fn whole(cursor: &mut Cursor<'_>) -> Parsed<Uri> {
    let mut uri = head(cursor)?;
    match uri.kind {
        UriKind::Sip | UriKind::Sips => sip(cursor, &mut uri)?,
        UriKind::Tel => tel(cursor, &mut uri)?,
        UriKind::Other => uri.authority = opaque(cursor)?,
    };
    if cursor.at_end() {
        Ok(uri)
    } else {
        cursor.fault()
    }
}

/// `<` name `>`: text where a URI should stand, and that does not begin as one.
#[cold]
pub(crate) fn name(cursor: &mut Cursor<'_>) -> Option<Uri> {
    cursor.expect(b'<').ok()?;
    let start = cursor.pos();
    cursor.run(Class::SCHEME);
    if cursor.peek() == Some(b':') {
        return None;
    }
    cursor.run_escaped(Class::URIC).ok()?;
    let name = cursor.since(start);
    cursor.expect(b'>').ok()?;
    let nothing = Span::new(start, start);
    (!name.is_empty()).then_some(Uri {
        kind: UriKind::Other,
        scheme: nothing,
        authority: name,
        userinfo: None,
        host: nothing,
        port: None,
        parameters: nothing,
        headers: nothing,
    })
}

/// `scheme ":"`, with the rest of the URI still empty.
#[inline]
fn head(cursor: &mut Cursor<'_>) -> Parsed<Uri> {
    let scheme = scheme(cursor)?;
    let nothing = Span::default();
    Ok(Uri {
        kind: kind(cursor.bytes(scheme)),
        scheme,
        authority: nothing,
        userinfo: None,
        host: nothing,
        port: None,
        parameters: nothing,
        headers: nothing,
    })
}

#[inline]
fn scheme(cursor: &mut Cursor<'_>) -> Parsed<Span> {
    const USUAL: &[u8] = b"sip:";
    let start = cursor.pos();
    if cursor.rest().starts_with(USUAL) {
        cursor.set_pos(start + USUAL.len());
        return Ok(Span::new(start, start + USUAL.len() - 1));
    }
    if !cursor
        .peek()
        .is_some_and(|octet| octet.is_ascii_alphabetic())
    {
        return cursor.fault();
    }
    let scheme = cursor.run(Class::SCHEME);
    cursor.expect(b':')?;
    Ok(scheme)
}

#[inline]
fn kind(scheme: &[u8]) -> UriKind {
    match scheme {
        b"sip" => UriKind::Sip,
        b"sips" => UriKind::Sips,
        b"tel" => UriKind::Tel,
        _ if scheme.eq_ignore_ascii_case(b"sip") => UriKind::Sip,
        _ if scheme.eq_ignore_ascii_case(b"sips") => UriKind::Sips,
        _ if scheme.eq_ignore_ascii_case(b"tel") => UriKind::Tel,
        _ => UriKind::Other,
    }
}

/// `[ userinfo ] hostport uri-parameters [ headers ]`
#[inline]
fn sip(cursor: &mut Cursor<'_>, uri: &mut Uri) -> Parsed<()> {
    let start = cursor.pos();
    uri.userinfo = userinfo(cursor)?;
    uri.host = host(cursor)?;
    if cursor.take(b':') {
        uri.port = Some(port(cursor)?);
    }
    uri.authority = cursor.since(start);
    uri.parameters = parameters(cursor)?;
    uri.headers = component(cursor, b'?', Class::URI_HEADER)?;
    Ok(())
}

/// `( user / telephone-subscriber ) [ ":" password ] "@"`. Before its headers an `@` can stand nowhere else in
/// the URI, so a run of user octets that does not end at one was none, whatever `;` and `?` it has.
///
/// An empty user (`sip:@h`) is what some gateways send for a caller that they do not know.
#[inline]
fn userinfo(cursor: &mut Cursor<'_>) -> Parsed<Option<Span>> {
    let start = cursor.pos();
    match cursor.run_escaped(Class::USER) {
        Ok(userinfo) if cursor.peek() == Some(b'@') => {
            if cursor.bytes(userinfo).first() == Some(&b':') {
                return Err(Fault::Malformed(start));
            }
            cursor.set_pos(userinfo.end as usize + 1);
            Ok(Some(userinfo))
        }
        Ok(_) => {
            cursor.set_pos(start);
            Ok(None)
        }
        Err(fault) => Err(fault),
    }
}

/// `host = hostname / IPv4address / IPv6reference`; the span is without the brackets.
///
/// A hostname's labels are not judged but for the first octet: underscores and trailing dots are in
/// use, and the name is looked up or compared, never executed.
#[inline]
pub(crate) fn host(cursor: &mut Cursor<'_>) -> Parsed<Span> {
    if cursor.peek() == Some(b'[') {
        return ipv6_reference(cursor);
    }
    match cursor.peek() {
        Some(b'-' | b'.') | None => cursor.fault(),
        Some(_) => cursor.some(Class::HOST),
    }
}

pub(crate) fn ipv6_reference(cursor: &mut Cursor<'_>) -> Parsed<Span> {
    cursor.expect(b'[')?;
    let start = cursor.pos();
    let Some(length) = memchr::memchr(b']', cursor.rest()) else {
        return cursor.fault();
    };
    let address = Span::new(start, start + length);
    if !is_ipv6(cursor.bytes(address)) {
        return cursor.fault();
    }
    cursor.set_pos(start + length + 1);
    Ok(address)
}

/// RFC5118§4.10 - the grammar of RFC 3261 let `:::` pass before an IPv4 tail, so it is tolerated there.
fn is_ipv6(text: &[u8]) -> bool {
    let parses =
        |text: &[u8]| core::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    // The longest form has 45 octets (RFC 4291 with an IPv4 tail).
    if text.len() > 46 {
        return false;
    }
    parses(text) || memchr::memmem::find(text, b":::").is_some_and(|at| parses(&without(text, at)))
}

fn without(text: &[u8], at: usize) -> smallvec::SmallVec<[u8; 46]> {
    text[..at].iter().chain(&text[at + 1..]).copied().collect()
}

/// `port = 1*DIGIT`, at most 65535.
#[inline]
pub(crate) fn port(cursor: &mut Cursor<'_>) -> Parsed<u16> {
    cursor.number(u32::from(u16::MAX)).map(|port| port as u16)
}

/// The parameters with the `;` that leads them in, or nothing. A value in quotes, which RFC 3261 §25.1 has only
/// behind the URI, is what some gateways send here (`;thinfo="…"`): it is kept with its quotes.
#[inline]
fn parameters(cursor: &mut Cursor<'_>) -> Parsed<Span> {
    let found = component(cursor, b';', Class::URI_PARAM)?;
    match cursor.peek() {
        Some(b'"') => quoted_values(cursor, found),
        _ => Ok(found),
    }
}

#[cold]
fn quoted_values(cursor: &mut Cursor<'_>, found: Span) -> Parsed<Span> {
    let start = found.start as usize;
    while cursor.peek() == Some(b'"') {
        if !cursor.bytes(cursor.since(start)).ends_with(b"=") {
            return cursor.fault();
        }
        cursor.quoted_string()?;
        match cursor.peek() {
            Some(b';') => cursor.run_escaped(Class::URI_PARAM)?,
            Some(b'?') | None => break,
            _ => return cursor.fault(),
        };
    }
    Ok(cursor.since(start))
}

/// The parameters or the headers, with what leads them in, or nothing. Their inner form (empty ones,
/// a doubled separator) is left to whoever decodes them: the text is kept as it came.
#[inline]
fn component(cursor: &mut Cursor<'_>, lead: u8, class: Class) -> Parsed<Span> {
    let start = cursor.pos();
    if cursor.take(lead) {
        cursor.run_escaped(class)?;
    }
    Ok(cursor.since(start))
}

/// RFC3966§3 - the subscriber's number up to the first `;`, then parameters.
fn tel(cursor: &mut Cursor<'_>, uri: &mut Uri) -> Parsed<()> {
    let start = cursor.pos();
    while cursor
        .peek()
        .is_some_and(|octet| octet != b';' && Class::URIC.has(octet))
    {
        cursor.set_pos(cursor.pos() + 1);
    }
    uri.authority = cursor.since(start);
    if uri.authority.is_empty() {
        return cursor.fault();
    }
    uri.parameters = component(cursor, b';', Class::URIC)?;
    Ok(())
}

fn opaque(cursor: &mut Cursor<'_>) -> Parsed<Span> {
    let rest = cursor.run_escaped(Class::URIC)?;
    if rest.is_empty() {
        return cursor.fault();
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Parsed<Uri> {
        whole(&mut Cursor::new(text.as_bytes(), Span::new(0, text.len())))
    }

    fn parts(text: &str) -> (String, Option<String>, String, Option<u16>, String, String) {
        let uri = parse(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
        let get = |span: Span| String::from_utf8_lossy(span.of(text.as_bytes())).into_owned();
        (
            get(uri.authority),
            uri.userinfo.map(get),
            get(uri.host),
            uri.port,
            get(uri.parameters),
            get(uri.headers),
        )
    }

    fn row(
        authority: &str,
        user: Option<&str>,
        host: &str,
        port: Option<u16>,
        parameters: &str,
        headers: &str,
    ) -> (String, Option<String>, String, Option<u16>, String, String) {
        let own = str::to_owned;
        (
            own(authority),
            user.map(own),
            own(host),
            port,
            own(parameters),
            own(headers),
        )
    }

    #[test]
    fn rfc3261_19_1_3_examples() {
        assert_eq!(
            parts("sip:alice@atlanta.com"),
            row(
                "alice@atlanta.com",
                Some("alice"),
                "atlanta.com",
                None,
                "",
                ""
            )
        );
        assert_eq!(
            parts("sip:alice:secretword@atlanta.com;transport=tcp"),
            row(
                "alice:secretword@atlanta.com",
                Some("alice:secretword"),
                "atlanta.com",
                None,
                ";transport=tcp",
                ""
            )
        );
        assert_eq!(
            parts("sips:alice@atlanta.com?subject=project%20x&priority=urgent"),
            row(
                "alice@atlanta.com",
                Some("alice"),
                "atlanta.com",
                None,
                "",
                "?subject=project%20x&priority=urgent"
            )
        );
        assert_eq!(
            parts("sip:+1-212-555-1212:1234@gateway.com;user=phone")
                .1
                .as_deref(),
            Some("+1-212-555-1212:1234")
        );
        assert_eq!(parts("sips:1212@gateway.com").2, "gateway.com");
        assert_eq!(parts("sip:alice@192.0.2.4").2, "192.0.2.4");
        assert_eq!(
            parts("sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com"),
            row(
                "atlanta.com",
                None,
                "atlanta.com",
                None,
                ";method=REGISTER",
                "?to=alice%40atlanta.com"
            )
        );
        assert_eq!(
            parts("sip:alice;day=tuesday@atlanta.com"),
            row(
                "alice;day=tuesday@atlanta.com",
                Some("alice;day=tuesday"),
                "atlanta.com",
                None,
                "",
                ""
            )
        );
    }

    #[test]
    fn ipv6_references_and_ports() {
        assert_eq!(
            parts("sip:[2001:db8::10]:5070;lr"),
            row(
                "[2001:db8::10]:5070",
                None,
                "2001:db8::10",
                Some(5070),
                ";lr",
                ""
            )
        );
        assert_eq!(
            parts("sip:u@[2001:db8:::192.0.2.1]").2,
            "2001:db8:::192.0.2.1"
        );
        let longest = "0000:0000:0000:0000:0000:ffff:255.255.255.255";
        assert_eq!(parts(&format!("sip:[{longest}]")).2, longest);
        for bad in [
            "sip:[::1",
            "sip:[fe80::1%25eth0]",
            "sip:[1:2]",
            "sip:2001:db8::10",
            "sip:[::]:x",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(parts("sip:h:65535").3, Some(65535));
        for bad in [
            "sip:h:65536",
            "sip:h:99999",
            "sip:h:",
            "sip:h:+5",
            "sip:h:-1",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn other_schemes_keep_the_rest_whole() {
        assert_eq!(parts("urn:service:sos").0, "service:sos");
        assert_eq!(
            parts("http://www.example.com/?a=b").0,
            "//www.example.com/?a=b"
        );
        assert_eq!(parts("isbn:2983792873").0, "2983792873");
        assert_eq!(
            parts("soap.beep://192.0.2.103:3002").0,
            "//192.0.2.103:3002"
        );
        assert_eq!(parts("tel:+33698765432;phone-context=x"), {
            row("+33698765432", None, "", None, ";phone-context=x", "")
        });
        assert_eq!(parts("SIP:h").2, "h");
    }

    #[test]
    fn users_as_the_field_sends_them() {
        for user in [
            "*#100", "a^b", "a`b", "{a}", "a|b", "\u{e9}", "#", "a#b:c#d", "",
        ] {
            let uri = parts(&format!("sip:{user}@h:5070;lr"));
            assert_eq!(uri.1.as_deref(), Some(user));
            assert_eq!((uri.2.as_str(), uri.4.as_str()), ("h", ";lr"));
        }
        let latin1 = b"sip:caf\xE9@h";
        let uri = whole(&mut Cursor::new(latin1, Span::new(0, latin1.len()))).unwrap();
        assert_eq!(
            uri.userinfo.map(|user| user.of(latin1)),
            Some(&b"caf\xE9"[..])
        );
    }

    #[test]
    fn parameters_in_quotes_keep_them() {
        for parameters in [
            ";thinfo=\"U2h5==\"",
            ";transport=wss;thinfo=\"a;b?c>\\\"d\";lr",
            ";a=\"\";b=\"c d\"",
        ] {
            let uri = parts(&format!("sip:u@h{parameters}?x=y"));
            assert_eq!((uri.4.as_str(), uri.5.as_str()), (parameters, "?x=y"));
        }
    }

    #[test]
    fn headers_with_what_should_be_escaped() {
        let uri = parts("sip:dave@h;method=INVITE?Replaces=1@192.0.2.3;to-tag=a;from-tag=b");
        assert_eq!(uri.1.as_deref(), Some("dave"));
        assert_eq!(uri.4, ";method=INVITE");
        assert_eq!(uri.5, "?Replaces=1@192.0.2.3;to-tag=a;from-tag=b");
    }

    #[test]
    fn what_is_no_uri() {
        for bad in [
            "",
            "sip",
            "sip:",
            "sip::p@h",
            "sip:a@",
            "sip:@",
            "sip: h",
            "<sip:h>",
            ":h",
            "1x:y",
            "sip:a@b@c",
            "sip:a[1]@h",
            "sip:a\\b@h",
            "sip:a<b@h",
            "sip:-h",
            "sip:h;a=%4",
            "sip:h?a=%",
            "sip:u%zz@h",
            "sip:u\u{0}@h",
            "sip:h\r\n",
            "tel:",
            "urn:",
            "sip:h;a\"b\"",
            "sip:h;a=\"b",
            "sip:h;a=\"b\"c",
            "sip:h;a=\"b\"\"c\"",
            "sip:h;a=\"b\u{7}\"",
            "sip:h;\"b\"",
            "sip:h?a=\"b\"",
            "sip:h;a=<",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}

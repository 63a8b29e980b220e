//! Request lines and status lines (RFC 3261 §7.1, §7.2).

use crate::chars::Class;
use crate::cursor::Cursor;
use crate::error::{Error, Fault, Parsed, Reason};
use crate::limits;
use crate::shape::version_numbers;
use crate::tree::{Method, Span, Uri};
use crate::uri;

/// The first line of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartLine {
    /// `Method SP Request-URI SP SIP-Version`
    Request {
        /// The method as sent; it is case-sensitive.
        method: Method,
        /// The Request-URI.
        uri: Uri,
        /// SIP-Version, whatever it is: only `{2, 0}` is this protocol.
        version: (u16, u16),
    },
    /// `SIP-Version SP Status-Code SP Reason-Phrase`
    Response {
        /// SIP-Version.
        version: (u16, u16),
        /// From 100 to 699.
        status: u16,
        /// The phrase as sent, perhaps empty.
        reason: Span,
    },
}

/// Reads the line; RFC3261§7.1 - its elements are parted by one SP each, and no other blank stands in it.
pub(crate) fn parse(text: &[u8], line: Span) -> Result<StartLine, Error> {
    let mut cursor = Cursor::new(text, line);
    if is_status_line(line.of(text)) {
        response(&mut cursor)
    } else {
        request(&mut cursor)
    }
}

/// `/` is no octet of a method.
pub(crate) fn is_status_line(line: &[u8]) -> bool {
    line.get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/"))
}

fn request(cursor: &mut Cursor<'_>) -> Result<StartLine, Error> {
    let (method, uri_span, version) = words(cursor).map_err(invalid(Reason::InvalidStartLine))?;
    if uri_span.len() > limits::REQUEST_URI_BYTES {
        return Err(Error::new(
            Reason::RequestUriTooLong,
            uri_span.start as usize,
        ));
    }
    cursor.set_pos(uri_span.start as usize);
    let uri = uri::whole(&mut cursor.until(uri_span.end as usize))
        .map_err(invalid(Reason::InvalidRequestUri))?;
    Ok(StartLine::Request {
        method,
        uri,
        version,
    })
}

fn words(cursor: &mut Cursor<'_>) -> Parsed<(Method, Span, (u16, u16))> {
    let method = cursor.token()?;
    cursor.expect(b' ')?;
    let start = cursor.pos();
    let length = memchr::memchr(b' ', cursor.rest()).unwrap_or(cursor.rest().len());
    cursor.set_pos(start + length);
    let uri = cursor.since(start);
    if uri.is_empty() {
        return cursor.fault();
    }
    cursor.expect(b' ')?;
    let version = sip_version(cursor)?;
    if cursor.at_end() {
        Ok((method, uri, version))
    } else {
        cursor.fault()
    }
}

fn response(cursor: &mut Cursor<'_>) -> Result<StartLine, Error> {
    let version = sip_version(cursor)
        .and_then(|version| cursor.expect(b' ').map(|()| version))
        .map_err(invalid(Reason::InvalidStartLine))?;
    let status = status_code(cursor).map_err(invalid(Reason::InvalidStatusCode))?;
    let reason = reason_phrase(cursor).map_err(invalid(Reason::InvalidStartLine))?;
    Ok(StartLine::Response {
        version,
        status,
        reason,
    })
}

/// `SIP-Version = "SIP" "/" 1*DIGIT "." 1*DIGIT`, in any letter case.
fn sip_version(cursor: &mut Cursor<'_>) -> Parsed<(u16, u16)> {
    if !is_status_line(cursor.rest()) {
        return cursor.fault();
    }
    cursor.set_pos(cursor.pos() + 4);
    version_numbers(cursor)
}

/// RFC3261§7.2 - three digits, 1xx to 6xx.
fn status_code(cursor: &mut Cursor<'_>) -> Parsed<u16> {
    let start = cursor.pos();
    let digits = cursor.run(Class::DIGIT);
    let value = cursor
        .bytes(digits)
        .iter()
        .take(3)
        .fold(0, |v, d| v * 10 + u16::from(d - b'0'));
    let follows = matches!(cursor.peek(), None | Some(b' '));
    if digits.len() == 3 && (100..700).contains(&value) && follows {
        Ok(value)
    } else {
        Err(Fault::Malformed(start))
    }
}

/// RFC4475§3.1.1.13 - the SP before an empty phrase is wanted by the grammar, and missing from some
/// senders' lines: it is not asked for.
fn reason_phrase(cursor: &mut Cursor<'_>) -> Parsed<Span> {
    cursor.take(b' ');
    let reason = cursor.run(Class::TEXT);
    if cursor.at_end() {
        Ok(reason)
    } else {
        cursor.fault()
    }
}

pub(crate) fn invalid(reason: Reason) -> impl Fn(Fault) -> Error {
    move |fault| match fault {
        Fault::Malformed(at) => Error::new(reason, at),
        Fault::TooManyElements(at) => Error::new(Reason::TooManyElements, at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(line: &str) -> Option<Reason> {
        parse(line.as_bytes(), Span::new(0, line.len()))
            .err()
            .map(|error| error.reason)
    }

    #[test]
    fn rfc3261_7_1_request_lines() {
        assert_eq!(reason("INVITE sip:bob@biloxi.com SIP/2.0"), None);
        assert_eq!(reason("INVITE sip:bob@biloxi.com sip/2.0"), None);
        assert_eq!(reason("!a%b urn:service:sos SIP/7.0"), None);
        for bad in [
            "",
            "INVITE",
            "INVITE sip:b",
            "INVITE SIP/2.0",
            "INVITE  sip:b SIP/2.0",
            "INVITE sip:b  SIP/2.0",
            "INVITE sip:b SIP/2.0 ",
            " INVITE sip:b SIP/2.0",
            "INVITE\tsip:b\tSIP/2.0",
            "IN VITE sip:b SIP/2.0",
            "INV@TE sip:b SIP/2.0",
            "INVITE sip:b SIP/2",
            "INVITE sip:b SIP/.0",
            "INVITE sip:b RTSP/1.0",
            "INVITE sip:b lr SIP/2.0",
            "\u{feff}INVITE sip:b SIP/2.0",
        ] {
            assert_eq!(reason(bad), Some(Reason::InvalidStartLine), "{bad:?}");
        }
        for bad in [
            "INVITE <sip:b> SIP/2.0",
            "INVITE sip: SIP/2.0",
            "INVITE sip:2001:db8::10 SIP/2.0",
            "INVITE b SIP/2.0",
        ] {
            assert_eq!(reason(bad), Some(Reason::InvalidRequestUri), "{bad:?}");
        }
        let long = format!(
            "INVITE sip:{}@h SIP/2.0",
            "5".repeat(limits::REQUEST_URI_BYTES)
        );
        assert_eq!(reason(&long), Some(Reason::RequestUriTooLong));
    }

    #[test]
    fn rfc3261_7_2_status_lines() {
        for good in [
            "SIP/2.0 200 OK",
            "SIP/2.0 100 ",
            "SIP/2.0 100",
            "SIP/2.0 699 \u{41f}\u{440}",
            "SIP/12.34 200 OK",
        ] {
            assert_eq!(reason(good), None, "{good:?}");
        }
        for bad in [
            "SIP/2.0 099 x",
            "SIP/2.0 700 x",
            "SIP/2.0 20 x",
            "SIP/2.0 -20 x",
            "SIP/2.0 200OK",
            "SIP/2.0 4294967301 x",
            "SIP/2.0 2000 x",
            "SIP/2.0  200 OK",
        ] {
            assert_eq!(reason(bad), Some(Reason::InvalidStatusCode), "{bad:?}");
        }
        for bad in [
            "SIP/2.0",
            "SIP/2.0\t200 OK",
            "SIP/x 200 OK",
            "SIP/2.0 200 O\u{7}K",
        ] {
            assert_eq!(reason(bad), Some(Reason::InvalidStartLine), "{bad:?}");
        }
    }
}

//! What is left of a refused message: enough to answer it.

use crate::chars::Class;
use crate::fold::trim;
use crate::lines;
use crate::start_line::is_status_line;
use crate::table::HeaderId;

/// The headers that an answer copies (RFC 3261 §8.2.6.2).
const COPIED: [HeaderId; 5] = [
    HeaderId::VIA,
    HeaderId::FROM,
    HeaderId::TO,
    HeaderId::CALL_ID,
    HeaderId::CSEQ,
];

/// The method, the Request-URI and the raw From, To, Call-ID, CSeq and Via lines of a request
/// that did not parse.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Salvage<'a> {
    /// The first word of the start line.
    pub method: &'a [u8],
    /// The second word, whatever it is; empty where there is none, and where it is over
    /// [`limits::REQUEST_URI_BYTES`](crate::limits::REQUEST_URI_BYTES).
    pub uri: &'a [u8],
    /// The lines in order, folds made one blank; none that could not be printed again.
    pub lines: Vec<(HeaderId, Vec<u8>)>,
    /// Whether the first Via of the lines is the topmost one, and not one below it.
    pub topmost_via: bool,
}

/// Reads what it can, and nothing where the input is no request. This is for the error's path only: it
/// allocates.
pub fn salvage(input: &[u8]) -> Option<Salvage<'_>> {
    let input = &input[..input.len().min(crate::limits::HEADERS_BYTES)];
    let start = lines::leading_line_ends(input);
    let mut rest = input[start..].split(|octet| *octet == b'\n');
    let first = rest.next()?;
    let length = first
        .iter()
        .position(|octet| !Class::TOKEN.has(*octet))
        .unwrap_or(first.len());
    if length == 0 || is_status_line(first) {
        return None;
    }
    let (method, behind) = first.split_at(length);
    let mut lines = copied_lines(rest);
    let topmost = lines.iter().find(|(id, _)| *id == HeaderId::VIA);
    let topmost_via = topmost.is_some_and(printable);
    lines.retain(printable);
    Some(Salvage {
        method,
        uri: request_uri(behind),
        lines,
        topmost_via,
    })
}

/// RFC3261§7.1 - the Request-URI stands between two SPs.
fn request_uri(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let Some(line) = line.strip_prefix(b" ") else {
        return b"";
    };
    let uri = &line[..memchr::memchr(b' ', line).unwrap_or(line.len())];
    if uri.len() > crate::limits::REQUEST_URI_BYTES {
        b""
    } else {
        uri
    }
}

fn copied_lines<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Vec<(HeaderId, Vec<u8>)> {
    let mut copied: Vec<(HeaderId, Vec<u8>)> = Vec::new();
    // Whether a folded line would go on with the last one copied.
    let mut open = false;
    for line in lines {
        let line = match line {
            [] | [b'\r'] => break,
            [text @ .., b'\r'] => without_returns(text),
            text => text,
        };
        match line.first() {
            None => continue,
            Some(b' ' | b'\t') => {
                if let (true, Some((_, value))) = (open, copied.last_mut()) {
                    go_on(value, trim(line));
                }
            }
            Some(_) => {
                let header = header(line);
                open = header.is_some();
                copied.extend(header);
            }
        }
        if copied.len() > crate::limits::HEADER_LINES {
            break;
        }
    }
    copied
}

fn printable((_, value): &(HeaderId, Vec<u8>)) -> bool {
    value.iter().all(|octet| Class::TEXT.has(*octet))
}

/// RFC3261§7.3.1 - all the folds between two words are one blank, and those before the first one or behind the last
/// are none.
fn go_on(value: &mut Vec<u8>, line: &[u8]) {
    if !(value.is_empty() || line.is_empty()) {
        value.push(b' ');
    }
    value.extend_from_slice(line);
}

fn header(line: &[u8]) -> Option<(HeaderId, Vec<u8>)> {
    let colon = memchr::memchr(b':', line)?;
    let id = HeaderId::find(trim(&line[..colon]))?;
    COPIED
        .contains(&id)
        .then(|| (id, trim(&line[colon + 1..]).to_vec()))
}

/// CRs before a line's CRLF are blanks at its end.
fn without_returns(mut line: &[u8]) -> &[u8] {
    while let [rest @ .., b'\r'] = line {
        line = rest;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_bad_request() {
        let input = b"\r\nINVITE <sip:b> SIP/2.0\r\nv: SIP/2.0/UDP h\r\n ;branch=z\r\nVia : x\nf: a\r\nX: y\r\n z\r\nTo: \x01\r\n\r\nCSeq: 1 A";
        let salvage = salvage(input).unwrap();
        assert_eq!(salvage.method, b"INVITE");
        assert_eq!(salvage.uri, b"<sip:b>");
        assert_eq!(
            salvage.lines,
            [
                (HeaderId::VIA, b"SIP/2.0/UDP h ;branch=z".to_vec()),
                (HeaderId::VIA, b"x".to_vec()),
                (HeaderId::FROM, b"a".to_vec())
            ]
        );
        assert_eq!(super::salvage(b"SIP/2.0 999 x\r\nVia: x\r\n\r\n"), None);
        assert_eq!(super::salvage(b"\x00\x01\x02"), None);
    }

    #[test]
    fn the_topmost_via_may_be_lost() {
        let found = |vias: &str| {
            let input = format!("BYE x\r\n{vias}");
            let salvage = salvage(input.as_bytes()).unwrap();
            (salvage.lines, salvage.topmost_via)
        };
        let line = || vec![(HeaderId::VIA, b"x".to_vec())];
        assert_eq!(found(""), (vec![], false));
        assert_eq!(found("Via: x\r\nVia: \x01\r\n"), (line(), true));
        assert_eq!(found("Via: \x01\r\nVia: x\r\n"), (line(), false));
    }

    #[test]
    fn the_request_uri_is_the_second_word() {
        let uri = |line: &str| salvage(line.as_bytes()).unwrap().uri.to_vec();
        assert_eq!(uri("INVITE sip:b SIP/2.0\r\nTo: a\r\n"), b"sip:b");
        assert_eq!(uri("INVITE sip:b\r\nTo: a\r\n"), b"sip:b");
        assert_eq!(uri("INVITE sip:b"), b"sip:b");
        for none in [
            "INVITE",
            "INVITE\r\n\r\n",
            "INVITE  sip:b SIP/2.0",
            "INVITE\tsip:b SIP/2.0",
        ] {
            assert_eq!(uri(none), b"");
        }
        let long = "b".repeat(crate::limits::REQUEST_URI_BYTES);
        assert_eq!(uri(&format!("INVITE {long} SIP/2.0")), long.as_bytes());
        assert_eq!(uri(&format!("INVITE {long}b SIP/2.0")), b"");
    }

    /// As the parser unfolds them.
    #[test]
    fn folds_before_the_first_word_and_folds_that_are_blank() {
        let input = b"BYE <sip:b> SIP/2.0\r\nTo:\r\n sip:a \r\n \t\r\n ;tag=1\r\n \r\nf:\r\n \r\ni: a\x0C\r\n\r\n";
        assert_eq!(
            salvage(input).unwrap().lines,
            [
                (HeaderId::TO, b"sip:a ;tag=1".to_vec()),
                (HeaderId::FROM, b"".to_vec())
            ]
        );
    }
}

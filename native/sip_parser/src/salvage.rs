//! What is left of a refused message: enough to answer it.

use crate::chars::Class;
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

/// The method and the raw From, To, Call-ID, CSeq and Via lines of a request that did not parse.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Salvage<'a> {
    /// The first word of the start line.
    pub method: &'a [u8],
    /// The lines in order, folds made one blank; none that could not be printed again.
    pub lines: Vec<(HeaderId, Vec<u8>)>,
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
    Some(Salvage {
        method: &first[..length],
        lines: copied_lines(rest),
    })
}

fn copied_lines<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Vec<(HeaderId, Vec<u8>)> {
    let mut copied: Vec<(HeaderId, Vec<u8>)> = Vec::new();
    // Whether a folded line would go on with the last one copied.
    let mut open = false;
    for line in lines {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line.first() {
            None => break,
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
    copied.retain(|(_, value)| value.iter().all(|octet| Class::TEXT.has(*octet)));
    copied
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

/// The line without the blanks at its ends; a line that begins with one is no header.
fn trim(mut line: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = line {
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

//! Hosts: names and addresses, in a Via and in a URI.

use super::{Printed, Printer, Wanted};
use crate::term::Raw;
use sip_parser::Class;
use smallvec::SmallVec;

const HOST: Wanted = Wanted::Words("a host");

impl<'a> Printer<'a> {
    /// A host as it stands before a port: an IPv6 address gets its brackets.
    pub(super) fn host(&mut self, term: Raw<'a>) -> Printed {
        let text = self.octets(term, HOST)?;
        if is_name(text) || (text.first() == Some(&b'[') && is_host(text)) {
            self.put(text);
        } else if is_address(text) {
            self.out.push(b'[');
            self.put(text);
            self.out.push(b']');
        } else {
            return self.refuse(HOST, term);
        }
        Ok(())
    }
}

/// A host name or an IPv4 address, as nearly all are.
#[inline]
pub(super) fn is_name(text: &[u8]) -> bool {
    !matches!(text, [] | [b'-' | b'.', ..]) && Class::HOST.all(text)
}

/// An IPv6 address without its brackets.
pub(super) fn is_address(text: &[u8]) -> bool {
    is_usual_address(text) || (text.contains(&b':') && is_host(&[b"[", text, b"]"].concat()))
}

/// RFC4291§2.2 - groups of up to four digits, eight of them, or fewer with one `::`. An address with an IPv4 tail is
/// left to the parser.
fn is_usual_address(text: &[u8]) -> bool {
    let (mut groups, mut digits, mut gaps) = (0, 0, 0);
    for (place, octet) in text.iter().enumerate() {
        match octet {
            b':' if digits > 0 => {
                groups += 1;
                digits = 0;
            }
            b':' if place == 0 => {}
            b':' if text[place - 1] == b':' => gaps += 1,
            octet if Class::HEX.has(*octet) && digits < 4 => digits += 1,
            _ => return false,
        }
    }
    let last = usize::from(digits > 0);
    let closed = last == 1 || text.ends_with(b"::");
    let opened = !text.starts_with(b":") || text.starts_with(b"::");
    match gaps {
        0 => closed && opened && groups + last == 8,
        1 => closed && opened && groups + last < 8,
        _ => false,
    }
}

/// Whether the parser takes the whole text for a host: there are addresses that no other code takes (RFC 5118 §4.10).
#[cold]
fn is_host(text: &[u8]) -> bool {
    let uri: SmallVec<[u8; 64]> = b"sip:".iter().chain(text).copied().collect();
    let bare = |uri: sip_parser::Uri| {
        uri.userinfo.is_none() && uri.port.is_none() && uri.authority.len() == text.len()
    };
    sip_parser::parse_uri(&uri).is_ok_and(bare)
}

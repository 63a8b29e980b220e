//! The names table: methods, transport protocols and default ports.

/// A transport protocol of `names.tbl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// As it is written in a Via.
    pub name: &'static str,
    /// The port of a sent-by that has none.
    pub port: Option<u16>,
}

include!(concat!(env!("OUT_DIR"), "/names.rs"));

/// The place in [`METHODS`] of the method that `text` is.
///
/// RFC3261§7.1 - methods are case-sensitive: only the exact text is a known one.
///
/// ```
/// use sip_parser::{METHODS, find_method};
/// assert_eq!(find_method(b"INVITE").map(|place| METHODS[place]), Some("INVITE"));
/// assert_eq!(find_method(b"invite"), None);
/// ```
#[inline]
pub fn find_method(text: &[u8]) -> Option<usize> {
    METHODS.iter().position(|name| name.as_bytes() == text)
}

/// The place in [`PROTOCOLS`] of the transport protocol that `text` is, in any letter case.
///
/// ```
/// use sip_parser::{PROTOCOLS, find_protocol};
/// assert_eq!(find_protocol(b"udp").and_then(|place| PROTOCOLS[place].port), Some(5060));
/// assert_eq!(find_protocol(b"QUIC"), None);
/// ```
#[inline]
pub fn find_protocol(text: &[u8]) -> Option<usize> {
    PROTOCOLS
        .iter()
        .position(|protocol| protocol.name.as_bytes().eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_found_as_it_is_written() {
        for (place, name) in METHODS.iter().enumerate() {
            assert_eq!(find_method(name.as_bytes()), Some(place), "{name}");
            assert_eq!(find_method(name.to_lowercase().as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn every_protocol_is_found_in_any_letter_case() {
        for (place, Protocol { name, .. }) in PROTOCOLS.iter().enumerate() {
            let lower = name.to_lowercase();
            for text in [*name, &lower] {
                assert_eq!(find_protocol(text.as_bytes()), Some(place), "{text}");
            }
        }
    }

    #[test]
    fn no_other_name_is_found() {
        for name in ["", "INVIT", "INVITES", "UD", "UDPX", "TLS-SCTP"] {
            assert_eq!(find_method(name.as_bytes()), None, "{name}");
            assert_eq!(find_protocol(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn names_are_upper_case_and_in_order() {
        let protocols = PROTOCOLS.map(|protocol| protocol.name);
        for names in [&METHODS[..], &protocols[..]] {
            assert!(names.is_sorted_by(|one, next| one < next), "{names:?}");
            assert!(names.iter().all(|name| name.to_uppercase() == **name));
        }
    }

    #[test]
    fn rfc3261_19_1_2_default_ports() {
        assert_eq!((SIP_PORT, SIPS_PORT), (5060, 5061));
    }
}

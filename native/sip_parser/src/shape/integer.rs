//! Numbers: Content-Length, Expires, Max-Forwards; Session-Expires with its parameters.

use crate::cursor::Cursor;
use crate::error::Parsed;
use crate::params;
use crate::tree::{Item, Tree};

/// `1*DIGIT`; RFC3261§20.19 - `delta-seconds` goes up to 2**32-1.
pub(super) fn element(cursor: &mut Cursor<'_>) -> Parsed<Item> {
    cursor.number(u32::MAX).map(Item::Integer)
}

/// RFC3261§20.22 - "an integer in the range 0-255".
pub(super) fn max_forwards(cursor: &mut Cursor<'_>) -> Parsed<Item> {
    cursor.number(255).map(Item::Integer)
}

pub(super) fn with_params(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let value = cursor.number(u32::MAX)?;
    let params = params::semicolon_list(cursor, tree)?;
    Ok(Item::IntegerParams { value, params })
}

#[cfg(test)]
mod tests {
    use crate::shape::testing::{reads, refuses};

    /// What is not `1*DIGIT`.
    const MALFORMED: [&str; 9] = [
        "", "-1", "+5", "0x5", "five", "3 49", "349, 349", "1.5", "349 x",
    ];

    #[test]
    fn rfc3261_20_14_content_length() {
        reads("Content-Length", "349", &["349"]);
        reads("l", "173", &["173"]);
        reads("l", "0", &["0"]);
        refuses("Content-Length", &MALFORMED);
        refuses("Content-Length", &["4294967296", "99999999999999999999"]);
    }

    #[test]
    fn rfc3261_20_19_expires() {
        reads("Expires", "5", &["5"]);
        reads("Expires", "4294967295", &["4294967295"]);
        reads("Expires", "00000000000000000005", &["5"]);
        refuses("Expires", &MALFORMED);
        refuses("Expires", &["4294967296"]);
    }

    #[test]
    fn rfc3261_20_22_max_forwards() {
        reads("Max-Forwards", "6", &["6"]);
        reads("Max-Forwards", "0", &["0"]);
        reads("Max-Forwards", "255", &["255"]);
        refuses("Max-Forwards", &MALFORMED);
        refuses("Max-Forwards", &["256", "300"]);
    }

    #[test]
    fn rfc3261_20_23_min_expires() {
        reads("Min-Expires", "60", &["60"]);
        refuses("Min-Expires", &MALFORMED);
    }

    #[test]
    fn rfc4028_4_session_expires_and_5_min_se() {
        reads(
            "Session-Expires",
            "4000;refresher=uac",
            &["4000;refresher=uac"],
        );
        reads("x", "90 ; refresher = uas ;x", &["90;refresher=uas;x"]);
        reads("Min-SE", "3600;lr", &["3600;lr"]);
        refuses("Session-Expires", &MALFORMED);
        reads("Min-SE", "60;;a=;", &["60;a"]);
        refuses("Min-SE", &["60 a", "60;=a"]);
    }

    #[test]
    fn rfc6442_4_3_geolocation_error() {
        reads(
            "Geolocation-Error",
            r#"100 ; code="Cannot Process Location""#,
            &[r#"100;code="Cannot Process Location""#],
        );
    }

    #[test]
    fn numbers_of_other_extensions() {
        for name in ["RSeq", "Flow-Timer", "Max-Breadth"] {
            reads(name, "988789", &["988789"]);
            refuses(name, &MALFORMED);
        }
    }
}

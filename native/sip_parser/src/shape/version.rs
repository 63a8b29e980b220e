//! `1*DIGIT "." 1*DIGIT`: MIME-Version (RFC 3261 §20.24), and the end of a SIP-Version.

use crate::cursor::Cursor;
use crate::error::Parsed;
use crate::tree::Item;

pub(super) fn element(cursor: &mut Cursor<'_>) -> Parsed<Item> {
    let (major, minor) = numbers(cursor)?;
    Ok(Item::Version { major, minor })
}

pub(crate) fn numbers(cursor: &mut Cursor<'_>) -> Parsed<(u16, u16)> {
    let major = cursor.number(u32::from(u16::MAX))?;
    cursor.expect(b'.')?;
    let minor = cursor.number(u32::from(u16::MAX))?;
    Ok((major as u16, minor as u16))
}

#[cfg(test)]
mod tests {
    use crate::shape::testing::{reads, refuses};

    #[test]
    fn rfc3261_20_24_mime_version() {
        reads("MIME-Version", "1.0", &["1.0"]);
        reads("MIME-Version", "012.34", &["12.34"]);
        refuses(
            "MIME-Version",
            &[
                "", "1", "1.", ".0", "1.0.0", "1 .0", "-1.0", "65536.0", "1.0 (x)", "a.b",
            ],
        );
    }
}

//! CSeq (RFC 3261 §20.16) and RAck (RFC 3262 §7.2).

use crate::cursor::Cursor;
use crate::error::Parsed;
use crate::tree::Item;

/// RFC3261§8.1.1.5 - a sequence number is less than 2**31.
const LARGEST: u32 = (1 << 31) - 1;

/// `1*DIGIT LWS Method`
pub(super) fn element(cursor: &mut Cursor<'_>) -> Parsed<Item> {
    let number = cursor.number(LARGEST)?;
    cursor.blanks()?;
    Ok(Item::Cseq {
        number,
        method: cursor.token()?,
    })
}

/// `response-num LWS CSeq-num LWS Method`
pub(super) fn rack(cursor: &mut Cursor<'_>) -> Parsed<Item> {
    let response = cursor.number(u32::MAX)?;
    cursor.blanks()?;
    let cseq = cursor.number(LARGEST)?;
    cursor.blanks()?;
    Ok(Item::Rack {
        response,
        cseq,
        method: cursor.token()?,
    })
}

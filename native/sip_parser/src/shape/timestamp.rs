//! `1*DIGIT [ "." *DIGIT ] [ LWS delay ]` (RFC 3261 §20.38).

use crate::chars::Class;
use crate::cursor::Cursor;
use crate::error::{Fault, Parsed};
use crate::tree::Item;

pub(super) fn element(cursor: &mut Cursor<'_>) -> Parsed<Item> {
    let start = cursor.pos();
    cursor.some(Class::DIGIT)?;
    let time = fraction(cursor, start)?;
    cursor.skip_blanks();
    if cursor.at_end() {
        return Ok(Item::Timestamp { time, delay: 0.0 });
    }
    // `delay = *DIGIT [ "." *DIGIT ]`: here the digits before the point may be missing.
    let start = cursor.pos();
    cursor.run(Class::DIGIT);
    let delay = fraction(cursor, start)?;
    Ok(Item::Timestamp { time, delay })
}

fn fraction(cursor: &mut Cursor<'_>, start: usize) -> Parsed<f64> {
    if cursor.take(b'.') {
        cursor.run(Class::DIGIT);
    }
    let digits = core::str::from_utf8(cursor.bytes(cursor.since(start)));
    match digits.ok().and_then(|text| text.parse::<f64>().ok()) {
        Some(value) if value.is_finite() => Ok(value),
        _ => Err(Fault::Malformed(start)),
    }
}

//! `1*DIGIT [ "." *DIGIT ] [ LWS delay ]` (RFC 3261 §20.38).

use crate::chars::Class;
use crate::cursor::Cursor;
use crate::error::{Fault, Parsed};
use crate::tree::Item;

pub(super) fn element(cursor: &mut Cursor<'_>) -> Parsed<Item> {
    let start = cursor.pos();
    cursor.some(Class::DIGIT)?;
    let time = fraction(cursor, start)?;
    if cursor.at_end() {
        return Ok(Item::Timestamp { time, delay: 0.0 });
    }
    cursor.blanks()?;
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

#[cfg(test)]
mod tests {
    use crate::shape::testing::{reads, refuses};

    #[test]
    fn rfc3261_20_38_timestamp() {
        reads("Timestamp", "54", &["54 0"]);
        reads("Timestamp", "54.25 0.5", &["54.25 0.5"]);
        reads("Timestamp", "54. \t.125", &["54 0.125"]);
        reads("Timestamp", "0 7.", &["0 7"]);
        reads("Timestamp", "1234567890.123 3", &["1234567890.123 3"]);
    }

    #[test]
    fn malformed_timestamps() {
        refuses(
            "Timestamp",
            &[
                "", "nan", "inf", "-1", "+1", ".5", "1e5", "1 2 3", "1,5", "1 .", "1 x", "1 -1",
                "1.2.3",
            ],
        );
        refuses("Timestamp", &[&"9".repeat(400)]);
    }
}

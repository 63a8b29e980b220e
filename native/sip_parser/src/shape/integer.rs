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

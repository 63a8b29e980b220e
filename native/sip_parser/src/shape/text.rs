//! `[ TEXT-UTF8-TRIM ]`: Subject, Server, User-Agent, Organization.

use crate::chars::Class;
use crate::cursor::Cursor;
use crate::error::Parsed;
use crate::tree::Item;

/// Any text without control characters. Comments in Server and User-Agent are not judged, and an empty
/// one of these is taken too: devices without a name to tell send that.
pub(super) fn element(cursor: &mut Cursor<'_>) -> Parsed<Item> {
    Ok(Item::Text(cursor.run(Class::TEXT)))
}

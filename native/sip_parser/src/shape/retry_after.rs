//! `delta-seconds [ comment ] *( SEMI retry-param )` (RFC 3261 §20.33).

use crate::cursor::Cursor;
use crate::error::Parsed;
use crate::params;
use crate::tree::{Item, Text, Tree};

pub(super) fn element(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let seconds = cursor.number(u32::MAX)?;
    cursor.skip_blanks();
    let comment = if cursor.peek() == Some(b'(') {
        cursor.comment()?
    } else {
        Text::default()
    };
    let params = params::semicolon_list(cursor, tree)?;
    Ok(Item::RetryAfter {
        seconds,
        comment,
        params,
    })
}

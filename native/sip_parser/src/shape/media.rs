//! `m-type SLASH m-subtype *( SEMI m-parameter )`: Content-Type, Accept (RFC 3261 §20.1, §20.15).

use crate::cursor::Cursor;
use crate::error::Parsed;
use crate::params;
use crate::tree::{Item, Tree};

pub(super) fn element(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let main = cursor.token()?;
    if !cursor.take_separator(b'/') {
        return cursor.fault();
    }
    let sub = cursor.token()?;
    let params = params::semicolon_list(cursor, tree)?;
    Ok(Item::Media { main, sub, params })
}

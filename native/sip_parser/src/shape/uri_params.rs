//! `LAQUOT absoluteURI RAQUOT *( SEMI generic-param )`: Alert-Info, Call-Info, Error-Info.

use super::address;
use crate::cursor::Cursor;
use crate::error::Parsed;
use crate::params;
use crate::tree::{Item, Tree};

pub(super) fn element(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let uri = address::bracketed(cursor, tree)?;
    let params = params::semicolon_list(cursor, tree)?;
    Ok(Item::UriParams { uri, params })
}

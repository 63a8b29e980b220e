//! Tokens, alone (Allow, Supported, Priority) or with parameters (Accept-Language, Event, Reason).

use crate::cursor::Cursor;
use crate::error::Parsed;
use crate::params;
use crate::tree::{Item, Tree};

#[inline]
pub(super) fn element(cursor: &mut Cursor<'_>) -> Parsed<Item> {
    cursor.token().map(Item::Token)
}

#[inline]
pub(super) fn with_params(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let token = cursor.token()?;
    let params = params::semicolon_list(cursor, tree)?;
    Ok(Item::TokenParams { token, params })
}

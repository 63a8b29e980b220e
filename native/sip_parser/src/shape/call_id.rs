//! `callid = word [ "@" word ]`: Call-ID, In-Reply-To; and Replaces, Join, Target-Dialog.

use crate::chars::Class;
use crate::cursor::Cursor;
use crate::error::Parsed;
use crate::params;
use crate::tree::{Item, Span, Tree};

pub(super) fn element(cursor: &mut Cursor<'_>) -> Parsed<Item> {
    call_id(cursor).map(Item::Token)
}

#[inline]
fn call_id(cursor: &mut Cursor<'_>) -> Parsed<Span> {
    let start = cursor.pos();
    cursor.some(Class::WORD)?;
    if cursor.take(b'@') {
        cursor.some(Class::WORD)?;
    }
    Ok(cursor.since(start))
}

pub(super) fn with_params(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let token = call_id(cursor)?;
    let params = params::semicolon_list(cursor, tree)?;
    Ok(Item::TokenParams { token, params })
}

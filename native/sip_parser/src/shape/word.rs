//! A word or a quoted string with parameters (P-Visited-Network-ID, Identity, User-to-User), and
//! parameters with nothing before them (P-Charging-Vector).

use crate::cursor::Cursor;
use crate::error::Parsed;
use crate::params;
use crate::tree::{Item, Tree};

pub(super) fn with_params(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let word = params::value(cursor)?;
    let params = params::semicolon_list(cursor, tree)?;
    Ok(Item::WordParams { word, params })
}

pub(super) fn params_only(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let start = tree.params.len();
    loop {
        let param = params::generic(cursor)?;
        tree.push_param(param)?;
        if !cursor.take_separator(b';') {
            return Ok(Item::Params(params::finish(cursor, tree, start)?));
        }
    }
}

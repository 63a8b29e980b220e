//! The values of headers: one file per shape of `headers.tbl`.

mod address;
mod auth;
mod call_id;
mod cseq;
mod date;
mod each;
mod integer;
mod media;
mod privacy;
mod retry_after;
#[cfg(test)]
mod testing;
mod text;
mod timestamp;
mod token;
mod uri_params;
mod version;
mod via;
mod warning;
mod word;

pub(crate) use each::{Element, each};
pub(crate) use version::numbers as version_numbers;

use crate::cursor::Cursor;
use crate::error::{Fault, Parsed};
use crate::table::{Repeat, Row, Shape};
use crate::tree::{Item, Span, Tree};

/// Reads the value of one line, or of all of an on-demand one, and appends its elements to the tree.
pub(crate) fn value(row: &Row, text: &[u8], span: Span, tree: &mut Tree) -> Parsed<()> {
    let mut cursor = Cursor::new(text, span);
    match row.shape {
        Shape::Auth => auth::list(row.repeat, &mut cursor, tree)?,
        Shape::Privacy => privacy::list(&mut cursor, tree)?,
        Shape::Raw => return cursor.fault(),
        _ => elements(row, &mut cursor, tree)?,
    }
    if cursor.at_end() {
        Ok(())
    } else {
        cursor.fault()
    }
}

/// What the elements of all lines together, from `first` on, must be.
#[inline]
pub(crate) fn check(row: &Row, tree: &Tree, first: usize) -> Parsed<()> {
    if row.shape != Shape::Contact {
        return Ok(());
    }
    // RFC3261§10.3 - `*` stands alone in a Contact.
    let items = &tree.items[first..];
    match items.len() > 1 && items.contains(&Item::Star) {
        true => Err(Fault::Malformed(0)),
        false => Ok(()),
    }
}

#[inline]
fn elements(row: &Row, cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<()> {
    loop {
        if matches!(cursor.peek(), Some(b',') | None) && skips_empty(row) {
            skip_separators(cursor, b',');
            if cursor.at_end() {
                return Ok(());
            }
        }
        let at = cursor.pos();
        let item = element(row, cursor, tree)?;
        tree.push_item(item, at)?;
        if matches!(row.repeat, Repeat::One | Repeat::Lines) || !cursor.take_separator(b',') {
            return Ok(());
        }
    }
}

/// Whether empty elements of the list (`,a`, `a,,b`, `a,`) are passed over. Those of a Via are not: each of its
/// elements is a hop (RFC4475§3.1.2.1).
#[inline]
fn skips_empty(row: &Row) -> bool {
    matches!(row.repeat, Repeat::List | Repeat::List0) && row.shape != Shape::Via
}

/// Passes over separators with nothing between them.
#[inline]
fn skip_separators(cursor: &mut Cursor<'_>, separator: u8) {
    while cursor.take(separator) {
        cursor.skip_blanks();
    }
}

#[inline(always)]
fn element(row: &Row, cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    match row.shape {
        Shape::Via => via::element(cursor, tree),
        Shape::Address => address::element(row.repeat, cursor, tree),
        Shape::NameAddr => address::name_addr_only(cursor, tree),
        Shape::ReferTo => address::refer_to(cursor, tree),
        Shape::Route => address::route(cursor, tree),
        Shape::Contact => address::contact(cursor, tree),
        Shape::Token => token::element(cursor),
        Shape::TokenParams => token::with_params(cursor, tree),
        Shape::CallId => call_id::element(row.repeat, cursor),
        Shape::CallIdParams => call_id::with_params(cursor, tree),
        Shape::Cseq => cseq::element(cursor),
        Shape::Rack => cseq::rack(cursor),
        Shape::Integer => integer::element(cursor),
        Shape::MaxForwards => integer::max_forwards(cursor),
        Shape::IntegerParams => integer::with_params(cursor, tree),
        Shape::Media => media::element(cursor, tree),
        Shape::Text => text::element(cursor),
        Shape::UriParams => uri_params::element(cursor, tree),
        Shape::AuthInfo => auth::info(cursor, tree),
        Shape::Date => date::element(cursor),
        Shape::Version => version::element(cursor),
        Shape::RetryAfter => retry_after::element(cursor, tree),
        Shape::Timestamp => timestamp::element(cursor),
        Shape::Warning => warning::element(cursor),
        Shape::Params => word::params_only(cursor, tree),
        Shape::WordParams => word::with_params(cursor, tree),
        // Those are for `value`.
        Shape::Auth | Shape::Privacy | Shape::Raw => cursor.fault(),
    }
}

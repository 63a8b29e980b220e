//! The values of headers: one file per shape of `headers.tbl`.

mod address;
mod auth;
mod call_id;
mod cseq;
mod date;
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
        _ if row.repeat == Repeat::List0 && cursor.at_end() => return Ok(()),
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
        let item = element(row.shape, cursor, tree)?;
        tree.items.push(item);
        if matches!(row.repeat, Repeat::One | Repeat::Lines) || !cursor.take_separator(b',') {
            return Ok(());
        }
    }
}

#[inline]
fn element(shape: Shape, cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    match shape {
        Shape::Via => via::element(cursor, tree),
        Shape::Address => address::element(cursor, tree),
        Shape::Route => address::name_addr_only(cursor, tree),
        Shape::Contact => address::contact(cursor, tree),
        Shape::Token => token::element(cursor),
        Shape::TokenParams => token::with_params(cursor, tree),
        Shape::CallId => call_id::element(cursor),
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
        // Whole lists are read by `value`, raw headers are never read.
        Shape::Auth | Shape::Privacy | Shape::Raw => cursor.fault(),
    }
}

//! `( name-addr / addr-spec ) *( SEMI generic-param )`: From, To, Contact, Route and their like.

use crate::chars::Class;
use crate::cursor::Cursor;
use crate::error::{Fault, Parsed};
use crate::params;
use crate::tree::{Item, Param, Range, Span, Text, Tree, UriId};
use crate::uri;

#[inline]
pub(super) fn element(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let start = cursor.pos();
    match display_name(cursor)? {
        Some(display) => name_addr(cursor, tree, display),
        None => {
            cursor.set_pos(start);
            let uri = addr_spec(cursor, tree)?;
            finish(cursor, tree, Text::default(), uri)
        }
    }
}

/// RFC3261§20.30, §20.34 - Route and Record-Route always have the brackets.
#[inline]
pub(super) fn name_addr_only(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    match display_name(cursor)? {
        Some(display) => name_addr(cursor, tree, display),
        None => cursor.fault(),
    }
}

/// RFC3261§20.10 - `*` alone, or addresses whose `q` and `expires` follow their own grammar.
pub(super) fn contact(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    if cursor.peek() == Some(b'*') {
        let mut rest = *cursor;
        rest.take(b'*');
        // RFC3261§10.3 - with anything else beside it (a line before, a comma behind) it is a fault.
        if rest.at_end() {
            *cursor = rest;
            return Ok(Item::Star);
        }
    }
    let item = element(cursor, tree)?;
    if let Item::Address { params, .. } = item {
        check_contact_params(cursor, tree.params_of(params))?;
    }
    Ok(item)
}

fn check_contact_params(cursor: &Cursor<'_>, params: &[Param]) -> Parsed<()> {
    for param in params {
        let value = cursor.bytes(param.value.span);
        let name = cursor.bytes(param.name);
        let good = match name.len() {
            1 if name.eq_ignore_ascii_case(b"q") => is_qvalue(value),
            7 if name.eq_ignore_ascii_case(b"expires") => {
                !value.is_empty() && value.iter().all(u8::is_ascii_digit)
            }
            _ => true,
        };
        if !good {
            return Err(Fault::Malformed(param.name.start as usize));
        }
    }
    Ok(())
}

/// `qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )`
fn is_qvalue(value: &[u8]) -> bool {
    match value {
        [b'0'] | [b'1'] => true,
        [b'0', b'.', decimals @ ..] => {
            decimals.len() <= 3 && decimals.iter().all(u8::is_ascii_digit)
        }
        [b'1', b'.', decimals @ ..] => decimals.len() <= 3 && decimals.iter().all(|d| *d == b'0'),
        _ => false,
    }
}

/// What stands before `<`, or nothing where no `<` comes.
///
/// Blanks between the words and `<` are not asked for (RFC4475§3.1.1.6), and an unquoted name may have
/// UTF-8 in it.
#[inline]
fn display_name(cursor: &mut Cursor<'_>) -> Parsed<Option<Text>> {
    match cursor.peek() {
        Some(b'<') => Ok(Some(Text::default())),
        Some(b'"') => {
            let text = cursor.quoted_string()?;
            cursor.skip_blanks();
            if cursor.peek() == Some(b'<') {
                Ok(Some(text))
            } else {
                cursor.fault()
            }
        }
        _ => {
            let words = cursor.run(Class::DISPLAY);
            if cursor.peek() != Some(b'<') {
                return Ok(None);
            }
            Ok(Some(Text {
                span: trim_end(cursor, words),
                escaped: false,
            }))
        }
    }
}

fn trim_end(cursor: &Cursor<'_>, span: Span) -> Span {
    let text = cursor.bytes(span);
    let blanks = text
        .iter()
        .rev()
        .take_while(|octet| Class::WSP.has(**octet))
        .count();
    Span {
        end: span.end - blanks as u32,
        ..span
    }
}

#[inline]
fn name_addr(cursor: &mut Cursor<'_>, tree: &mut Tree, display: Text) -> Parsed<Item> {
    let uri = bracketed(cursor, tree)?;
    finish(cursor, tree, display, uri)
}

#[inline]
fn finish(cursor: &mut Cursor<'_>, tree: &mut Tree, display: Text, uri: UriId) -> Parsed<Item> {
    let params: Range = params::semicolon_list(cursor, tree)?;
    check_tag(cursor, tree.params_of(params))?;
    Ok(Item::Address {
        display,
        uri,
        params,
    })
}

/// RFC3261§25.1 - `tag-param = "tag" EQUAL token`: a tag without a value identifies nothing.
#[inline]
fn check_tag(cursor: &Cursor<'_>, params: &[Param]) -> Parsed<()> {
    let empty = params.iter().find(|param| {
        param.value.span.is_empty()
            && param.name.len() == 3
            && cursor.bytes(param.name).eq_ignore_ascii_case(b"tag")
    });
    match empty {
        Some(param) => Err(Fault::Malformed(param.name.start as usize)),
        None => Ok(()),
    }
}

/// `LAQUOT addr-spec RAQUOT`. A `>` can stand nowhere in a URI, so the first one ends it.
#[inline]
pub(super) fn bracketed(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<UriId> {
    cursor.expect(b'<')?;
    let start = cursor.pos();
    let Some(length) = memchr::memchr(b'>', cursor.rest()) else {
        return cursor.fault();
    };
    let uri = uri::whole(&mut cursor.until(start + length))?;
    cursor.set_pos(start + length + 1);
    Ok(tree.push_uri(uri))
}

/// RFC3261§20 - without brackets a URI has neither comma, question mark nor semicolon, so it ends there;
/// what follows belongs to the header.
fn addr_spec(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<UriId> {
    let ends = |octet: &u8| matches!(octet, b',' | b';' | b'?' | b' ' | b'\t');
    let rest = cursor.rest();
    let end = cursor.pos() + rest.iter().position(ends).unwrap_or(rest.len());
    let uri = uri::whole(&mut cursor.until(end))?;
    cursor.set_pos(end);
    if cursor.peek() == Some(b'?') {
        return cursor.fault();
    }
    Ok(tree.push_uri(uri))
}

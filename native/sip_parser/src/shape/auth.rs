//! Challenges, credentials and Authentication-Info (RFC 3261 §20.6, §20.7, §20.27, §20.28, §20.44).

use crate::chars::Class;
use crate::cursor::Cursor;
use crate::error::Parsed;
use crate::params;
use crate::tree::{Item, Param, Span, Tree};

/// One or more challenges. Commas part both the parameters of one and the challenges, so a name without
/// `=` behind a comma begins the next challenge.
pub(super) fn list(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<()> {
    loop {
        let item = one(cursor, tree)?;
        tree.items.push(item);
        if !cursor.take_separator(b',') {
            return Ok(());
        }
    }
}

fn one(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let scheme = cursor.token()?;
    let start = tree.params.len();
    let before = cursor.pos();
    cursor.skip_blanks();
    if cursor.at_end() || cursor.peek() == Some(b',') {
        return Ok(Item::Auth {
            scheme,
            params: tree.params_from(start),
            token68: None,
        });
    }
    if cursor.pos() == before {
        return cursor.fault();
    }
    if let Some(token68) = token68(cursor) {
        return Ok(Item::Auth {
            scheme,
            params: tree.params_from(start),
            token68: Some(token68),
        });
    }
    comma_list(cursor, tree)?;
    let params = params::finish(cursor, tree, start)?;
    Ok(Item::Auth {
        scheme,
        params,
        token68: None,
    })
}

/// RFC7235§2.1 - `token68`: what Basic and Bearer send in place of parameters.
fn token68(cursor: &mut Cursor<'_>) -> Option<Span> {
    let mut ahead = *cursor;
    let start = ahead.pos();
    while ahead.peek().is_some_and(|octet| {
        octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
    }) {
        ahead.set_pos(ahead.pos() + 1);
    }
    while ahead.take(b'=') {}
    let span = ahead.since(start);
    ahead.skip_blanks();
    if span.is_empty() || !(ahead.at_end() || ahead.peek() == Some(b',')) {
        return None;
    }
    cursor.set_pos(span.end as usize);
    Some(span)
}

/// `auth-param *( COMMA auth-param )`, up to a comma behind which no parameter stands.
fn comma_list(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<()> {
    loop {
        let param = auth_param(cursor)?;
        tree.push_param(param)?;
        let mut ahead = *cursor;
        if !ahead.take_separator(b',') || !starts_param(ahead) {
            return Ok(());
        }
        *cursor = ahead;
    }
}

fn starts_param(mut cursor: Cursor<'_>) -> bool {
    cursor.token().is_ok() && cursor.take_separator(b'=')
}

/// `auth-param = auth-param-name EQUAL ( token / quoted-string )`; the value is never missing.
fn auth_param(cursor: &mut Cursor<'_>) -> Parsed<Param> {
    let name = cursor.token()?;
    if !cursor.take_separator(b'=') {
        return cursor.fault();
    }
    let value = match cursor.peek() {
        Some(b'"') => cursor.quoted_string()?,
        _ => crate::tree::Text {
            span: cursor.some(Class::VALUE)?,
            escaped: false,
        },
    };
    Ok(Param { name, value })
}

/// `ainfo *( COMMA ainfo )`
pub(super) fn info(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let start = tree.params.len();
    comma_list(cursor, tree)?;
    Ok(Item::Params(params::finish(cursor, tree, start)?))
}

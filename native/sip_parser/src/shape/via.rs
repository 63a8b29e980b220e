//! `sent-protocol LWS sent-by *( SEMI via-params )` (RFC 3261 §20.42).

use super::version;
use crate::cursor::Cursor;
use crate::error::{Fault, Parsed};
use crate::params;
use crate::tree::{Item, Param, Tree, Via};
use crate::uri;

#[inline]
pub(super) fn element(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let version = sent_protocol(cursor)?;
    let transport = cursor.token()?;
    cursor.blanks()?;
    let host = uri::host(cursor)?;
    // RFC3261§20.42 - blanks may stand around the colon of the port.
    let port = if cursor.take_separator(b':') {
        Some(uri::port(cursor)?)
    } else {
        None
    };
    let params = params::semicolon_list(cursor, tree)?;
    check_branch(cursor, tree.params_of(params))?;
    Ok(Item::Via(Via {
        version,
        transport,
        host,
        port,
        params,
    }))
}

/// `"SIP" SLASH 1*DIGIT "." 1*DIGIT SLASH`
#[inline]
fn sent_protocol(cursor: &mut Cursor<'_>) -> Parsed<(u16, u16)> {
    const USUAL: &[u8] = b"SIP/2.0/";
    if cursor.rest().starts_with(USUAL) {
        cursor.set_pos(cursor.pos() + USUAL.len());
        cursor.skip_blanks();
        return Ok((2, 0));
    }
    let start = cursor.pos();
    let name = cursor.token()?;
    if !cursor.bytes(name).eq_ignore_ascii_case(b"SIP") {
        return Err(Fault::Malformed(start));
    }
    slash(cursor)?;
    let version = version::numbers(cursor)?;
    slash(cursor)?;
    Ok(version)
}

fn slash(cursor: &mut Cursor<'_>) -> Parsed<()> {
    if cursor.take_separator(b'/') {
        Ok(())
    } else {
        cursor.fault()
    }
}

/// RFC3261§25.1 - `via-branch = "branch" EQUAL token`: an empty one would key a transaction by nothing.
#[inline]
fn check_branch(cursor: &Cursor<'_>, params: &[Param]) -> Parsed<()> {
    let empty = params.iter().find(|param| {
        param.value.span.is_empty()
            && param.name.len() == 6
            && cursor.bytes(param.name).eq_ignore_ascii_case(b"branch")
    });
    match empty {
        Some(param) => Err(Fault::Malformed(param.name.start as usize)),
        None => Ok(()),
    }
}

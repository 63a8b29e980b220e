//! `callid = word [ "@" word ]`: Call-ID, In-Reply-To; and Replaces, Join, Target-Dialog. It is opaque to all but its
//! maker, so any visible octets are taken, with as many `@` as there are.

use crate::chars::Class;
use crate::cursor::Cursor;
use crate::error::Parsed;
use crate::params;
use crate::table::Repeat;
use crate::tree::{Item, Span, Tree};

/// The whole value, or in a list all up to the next comma.
#[inline]
pub(super) fn element(repeat: Repeat, cursor: &mut Cursor<'_>) -> Parsed<Item> {
    match repeat {
        Repeat::One => cursor.some(Class::VISIBLE),
        _ => before(cursor, b','),
    }
    .map(Item::Token)
}

/// Visible octets up to this one.
fn before(cursor: &mut Cursor<'_>, end: u8) -> Parsed<Span> {
    let rest = cursor.rest();
    let length = memchr::memchr(end, rest).unwrap_or(rest.len());
    let call_id = cursor.until(cursor.pos() + length).some(Class::VISIBLE)?;
    cursor.set_pos(call_id.end as usize);
    Ok(call_id)
}

pub(super) fn with_params(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let token = before(cursor, b';')?;
    let params = params::semicolon_list(cursor, tree)?;
    Ok(Item::TokenParams { token, params })
}

#[cfg(test)]
mod tests {
    use crate::shape::testing::{reads, refuses, refuses_at};

    #[test]
    fn rfc3261_20_8_call_id() {
        for call_id in [
            "f81d4fae-7dec-11d0-a765-00a0c91e6bf6@biloxi.com",
            "f81d4fae-7dec-11d0-a765-00a0c91e6bf6@192.0.2.4",
            "a",
            "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{",
            "7f#2a$91@192.0.2.200",
            "@h",
            "a@",
            "a@b@c",
            "a;b=c|d&e",
            "a,b",
            "\u{e9}@h",
        ] {
            reads("Call-ID", call_id, &[call_id]);
            reads("i", call_id, &[call_id]);
        }
        refuses("Call-ID", &["", "a b", "a, b", "a\tb", "a\u{7}", "a\u{7f}"]);
        refuses_at("Call-ID", "a@b c", 3);
    }

    #[test]
    fn rfc3261_20_21_in_reply_to() {
        reads(
            "In-Reply-To",
            "70710@saturn.bell-tel.com, 17320@saturn.bell-tel.com",
            &["70710@saturn.bell-tel.com", "17320@saturn.bell-tel.com"],
        );
        reads("In-Reply-To", ",a@b;c,, d ,", &["a@b;c", "d"]);
        refuses("In-Reply-To", &["a b", "a, b c"]);
    }

    #[test]
    fn rfc3891_rfc3911_rfc4538_dialogs_by_call_id() {
        for name in ["Replaces", "Join"] {
            reads(
                name,
                "98732@sip.example.com ;from-tag=r33th4x0r ;to-tag=ff87ff;early-only",
                &["98732@sip.example.com;from-tag=r33th4x0r;to-tag=ff87ff;early-only"],
            );
            refuses(name, &["", ";to-tag=1", "a@b, c@d", "a b;to-tag=1"]);
        }
        reads(
            "Target-Dialog",
            "fa77as7dad8-sd98ajzz@host.example.com ;local-tag=kkaz-;remote-tag=6544",
            &["fa77as7dad8-sd98ajzz@host.example.com;local-tag=kkaz-;remote-tag=6544"],
        );
    }
}

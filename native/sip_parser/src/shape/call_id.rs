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
        ] {
            reads("Call-ID", call_id, &[call_id]);
            reads("i", call_id, &[call_id]);
        }
        refuses(
            "Call-ID",
            &[
                "", "@h", "a@", "a@b@c", "a b", "a;b", "a, b", "a@b,c", "\u{e9}",
            ],
        );
        refuses_at("Call-ID", "a@b@c", 3);
    }

    #[test]
    fn rfc3261_20_21_in_reply_to() {
        reads(
            "In-Reply-To",
            "70710@saturn.bell-tel.com, 17320@saturn.bell-tel.com",
            &["70710@saturn.bell-tel.com", "17320@saturn.bell-tel.com"],
        );
        refuses("In-Reply-To", &["", "a,", ",a", "a@b;c"]);
    }

    #[test]
    fn rfc3891_rfc3911_rfc4538_dialogs_by_call_id() {
        for name in ["Replaces", "Join"] {
            reads(
                name,
                "98732@sip.example.com ;from-tag=r33th4x0r ;to-tag=ff87ff;early-only",
                &["98732@sip.example.com;from-tag=r33th4x0r;to-tag=ff87ff;early-only"],
            );
            refuses(
                name,
                &["", ";to-tag=1", "a@b, c@d", "a@b;to-tag=1;to-tag=2"],
            );
        }
        reads(
            "Target-Dialog",
            "fa77as7dad8-sd98ajzz@host.example.com ;local-tag=kkaz-;remote-tag=6544",
            &["fa77as7dad8-sd98ajzz@host.example.com;local-tag=kkaz-;remote-tag=6544"],
        );
    }
}

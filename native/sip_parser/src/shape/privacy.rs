//! `priv-value *( ";" priv-value )` (RFC 3323 §4.2).

use crate::cursor::Cursor;
use crate::error::Parsed;
use crate::tree::{Item, Tree};

pub(super) fn list(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<()> {
    loop {
        super::skip_separators(cursor, b';');
        let at = cursor.pos();
        let token = cursor.token()?;
        tree.push_item(Item::Token(token), at)?;
        if !cursor.take_separator(b';') {
            return Ok(());
        }
        super::skip_separators(cursor, b';');
        if cursor.at_end() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::shape::testing::{reads, refuses};

    #[test]
    fn rfc3323_4_2_privacy() {
        reads("Privacy", "id", &["id"]);
        reads(
            "Privacy",
            "header;user ; critical",
            &["header", "user", "critical"],
        );
        reads("Privacy", ";id;; user;", &["id", "user"]);
        refuses("Privacy", &["", ";", "id,user", "id=1"]);
    }
}

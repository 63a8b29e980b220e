//! `priv-value *( ";" priv-value )` (RFC 3323 §4.2).

use crate::cursor::Cursor;
use crate::error::Parsed;
use crate::tree::{Item, Tree};

pub(super) fn list(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<()> {
    loop {
        let token = cursor.token()?;
        tree.items.push(Item::Token(token));
        if !cursor.take_separator(b';') {
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
        refuses("Privacy", &["", ";", "id;", "id,user", "id;;user", "id=1"]);
    }
}

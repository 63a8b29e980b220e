//! `[ TEXT-UTF8-TRIM ]`: Subject, Server, User-Agent, Organization.

use crate::chars::Class;
use crate::cursor::Cursor;
use crate::error::Parsed;
use crate::tree::Item;

/// Any text without control characters. Comments in Server and User-Agent are not judged, and an empty
/// one of these is taken too: devices without a name to tell send that.
pub(super) fn element(cursor: &mut Cursor<'_>) -> Parsed<Item> {
    Ok(Item::Text(cursor.run(Class::TEXT)))
}

#[cfg(test)]
mod tests {
    use crate::shape::testing::{reads, refuses_at};

    #[test]
    fn rfc3261_20_25_organization() {
        reads("Organization", "Boxes by Bob", &["Boxes by Bob"]);
        reads("Organization", "", &[""]);
    }

    #[test]
    fn rfc3261_20_35_server_and_20_41_user_agent() {
        reads("Server", "HomeServer v2", &["HomeServer v2"]);
        reads("User-Agent", "Softphone Beta1.5", &["Softphone Beta1.5"]);
        reads(
            "User-Agent",
            "Acme/1.0 (x (y) ;,\"",
            &["Acme/1.0 (x (y) ;,\""],
        );
    }

    #[test]
    fn rfc3261_20_36_subject() {
        reads("Subject", "Need more boxes", &["Need more boxes"]);
        reads("s", "Tech Support", &["Tech Support"]);
        reads(
            "s",
            "A tornado is heading our way!",
            &["A tornado is heading our way!"],
        );
        reads("s", "Привет, \\ \"мир", &["Привет, \\ \"мир"]);
    }

    #[test]
    fn rfc3261_25_1_text_has_no_control_character() {
        refuses_at("Subject", "a\u{0}b", 1);
        refuses_at("Server", "ab\u{1b}", 2);
        refuses_at("User-Agent", "\u{7f}", 0);
    }
}

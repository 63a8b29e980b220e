//! `delta-seconds [ comment ] *( SEMI retry-param )` (RFC 3261 §20.33).

use crate::cursor::Cursor;
use crate::error::Parsed;
use crate::params;
use crate::tree::{Item, Text, Tree};

pub(super) fn element(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let seconds = cursor.number(u32::MAX)?;
    cursor.skip_blanks();
    let comment = if cursor.peek() == Some(b'(') {
        cursor.comment()?
    } else {
        Text::default()
    };
    let params = params::semicolon_list(cursor, tree)?;
    Ok(Item::RetryAfter {
        seconds,
        comment,
        params,
    })
}

#[cfg(test)]
mod tests {
    use crate::shape::testing::{reads, refuses};

    #[test]
    fn rfc3261_20_33_retry_after() {
        reads(
            "Retry-After",
            "18000;duration=3600",
            &[r#"18000 "";duration=3600"#],
        );
        reads(
            "Retry-After",
            "120 (I'm in a meeting)",
            &[r#"120 "I'm in a meeting""#],
        );
        reads("Retry-After", "5", &[r#"5 """#]);
        reads(
            "Retry-After",
            r"5(a \) (b (c)) é) ; duration = 1;x",
            &[r#"5 "a ) (b (c)) é";duration=1;x"#],
        );
        refuses(
            "Retry-After",
            &[
                "",
                "(x)",
                "-1",
                "5 x",
                "5 (open",
                "5 (a) (b)",
                "5 (a\\",
                "5 a)",
                "5 ((a)",
                "4294967296",
                "5;=",
            ],
        );
    }
}

//! `warn-code SP warn-agent SP warn-text` (RFC 3261 §20.43).

use crate::chars::Class;
use crate::cursor::Cursor;
use crate::error::{Fault, Parsed};
use crate::tree::Item;

pub(super) fn element(cursor: &mut Cursor<'_>) -> Parsed<Item> {
    let start = cursor.pos();
    let digits = cursor.run(Class::DIGIT);
    if digits.len() != 3 {
        return Err(Fault::Malformed(start));
    }
    cursor.set_pos(start);
    let code = cursor.number(999)? as u16;
    cursor.blanks()?;
    // `hostport / pseudonym`
    let agent = cursor.some(Class::VALUE)?;
    cursor.blanks()?;
    let text = cursor.quoted_string()?;
    Ok(Item::Warning { code, agent, text })
}

#[cfg(test)]
mod tests {
    use crate::shape::testing::{reads, reads_lines, refuses};

    #[test]
    fn rfc3261_20_43_warning() {
        reads_lines(
            "Warning",
            &[
                r#"307 isi.edu "Session parameter 'foo' not understood""#,
                r#"301 isi.edu "Incompatible network address type 'E.164'""#,
            ],
            &[
                r#"307 isi.edu "Session parameter 'foo' not understood""#,
                r#"301 isi.edu "Incompatible network address type 'E.164'""#,
            ],
        );
        reads(
            "Warning",
            r#"399 [2001:db8::1]:5060 "a, \"b\"" , 370	h	"""#,
            &[r#"399 [2001:db8::1]:5060 "a, \"b\"""#, r#"370 h """#],
        );
    }

    #[test]
    fn rfc3261_25_1_warn_code_is_three_digits() {
        refuses(
            "Warning",
            &[
                r#"1812 overture "In Progress""#,
                r#"39 h "x""#,
                r#"h "x""#,
                r#"399 "x""#,
                r#"399h "x""#,
                r#"399 h"x""#,
                "399 h x",
                "399 h",
                r#"399 h "x"#,
                r#"399 h "x" y"#,
            ],
        );
    }
}

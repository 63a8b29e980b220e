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

//! The elements of a header one by one: a malformed one does not take the others with it.

use super::{element, skip_separators, skips_empty, value};
use crate::cursor::Cursor;
use crate::error::Fault;
use crate::limits;
use crate::table::{Row, Shape};
use crate::tree::{Item, Span, Tree};

/// An element, or where one stands that is malformed, and the fault.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Element {
    Good(Item),
    Bad(Span, Fault),
}

/// Reads the value of one line as [`value`] does, and goes on behind each element that is malformed.
pub(crate) fn each(
    row: &Row,
    text: &[u8],
    span: Span,
    tree: &mut Tree,
    elements: &mut Vec<Element>,
) {
    let mark = tree.mark();
    match value(row, text, span, tree) {
        Ok(()) => {
            let items = tree.items_of(tree.items_from(mark)).iter();
            elements.extend(items.map(|item| Element::Good(*item)));
        }
        Err(fault) => {
            tree.reset(mark);
            match is_split(row) {
                true => split(row, Cursor::new(text, span), tree, elements),
                false => elements.push(Element::Bad(span, fault)),
            }
        }
    }
}

/// Whether its elements are told apart by commas alone.
fn is_split(row: &Row) -> bool {
    row.shape == Shape::Via || skips_empty(row) && !matches!(row.shape, Shape::Auth | Shape::Raw)
}

fn split(row: &Row, mut cursor: Cursor<'_>, tree: &mut Tree, elements: &mut Vec<Element>) {
    let most = elements.len() + limits::SEPARATE_ELEMENTS;
    loop {
        if skips_empty(row) {
            skip_separators(&mut cursor, b',');
            if cursor.at_end() {
                return;
            }
        }
        let (start, mark) = (cursor, tree.mark());
        match one(row, &mut cursor, tree) {
            Ok(item) => elements.push(Element::Good(item)),
            Err(fault) => {
                tree.reset(mark);
                cursor = start;
                match elements.len() < most && matches!(fault, Fault::Malformed(_)) {
                    true => cursor.set_pos(next_comma(start)),
                    false => cursor.set_end(),
                }
                let span = cursor.trim_end(cursor.since(start.pos()));
                elements.push(Element::Bad(span, fault));
            }
        }
        if !cursor.take_separator(b',') {
            return;
        }
    }
}

/// One element with a comma or nothing behind it.
#[cold]
fn one(row: &Row, cursor: &mut Cursor<'_>, tree: &mut Tree) -> Result<Item, Fault> {
    let at = cursor.pos();
    let item = element(row, cursor, tree)?;
    let mut behind = *cursor;
    if !behind.at_end() && !behind.take_separator(b',') {
        return cursor.fault();
    }
    tree.push_item(item, at)?;
    Ok(item)
}

/// Where the element ends that begins here and can't be read: at the first comma outside of quotes and brackets, where
/// a `<` that nothing closes is no bracket.
fn next_comma(cursor: Cursor<'_>) -> usize {
    let rest = cursor.rest();
    let last_closing = memchr::memrchr(b'>', rest).unwrap_or(0);
    let (mut quoted, mut bracketed, mut at) = (false, false, 0);
    while let Some(octet) = rest.get(at) {
        match octet {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b'<' if !quoted => bracketed = at < last_closing,
            b'>' if !quoted => bracketed = false,
            b',' if !quoted && !bracketed => break,
            _ => {}
        }
        at += 1;
    }
    cursor.pos() + at.min(rest.len())
}

#[cfg(test)]
mod tests {
    use crate::shape::testing::each;

    #[test]
    fn good_elements_and_bad_ones() {
        assert_eq!(
            each(
                "Contact",
                &[
                    "<sip:a@192.0.2.1>;expires=600,<sip:b@192.0.2.1:5060transport=udp>;x=\"a,b\" ,sip:c@h",
                    " <sip:d@h>, ",
                    "\"e, f\" <sip:g, h@i j>,, \"k",
                ]
            ),
            [
                "<sip:a@192.0.2.1>;expires=600",
                "! <sip:b@192.0.2.1:5060transport=udp>;x=\"a,b\"",
                "<sip:c@h>",
                "<sip:d@h>",
                "! \"e, f\" <sip:g, h@i j>",
                "! \"k",
            ]
        );
        assert_eq!(
            each(
                "Via",
                &["SIP/2.0/UDP a;branch=b, SIP/2.0/UDP, SIP/2.0/TCP c"]
            ),
            ["2.0 UDP a -;branch=b", "! SIP/2.0/UDP", "2.0 TCP c -"]
        );
        assert_eq!(each("Via", &["SIP/2.0/UDP a,"]), ["2.0 UDP a -", "! "]);
        assert_eq!(
            each("Allow", &["INVITE, a@b, <c, ACK"]),
            ["INVITE", "! a@b", "! <c", "ACK"]
        );
    }

    #[test]
    fn what_is_no_list_is_read_whole() {
        assert_eq!(each("To", &["a, b", "<sip:c@d>"]), ["! a, b", "<sip:c@d>"]);
        assert_eq!(
            each("WWW-Authenticate", &["Digest a=1, b;c", "Basic c=\"d\""]),
            ["! Digest a=1, b;c", "Basic;c=d"]
        );
    }

    #[test]
    fn rfc3261_10_3_a_star_among_others_is_bad() {
        assert_eq!(each("Contact", &["*"]), ["*"]);
        assert_eq!(each("Contact", &["<sip:a@h>", "*"]), ["<sip:a@h>", "! *"]);
    }

    #[test]
    fn so_many_are_told_apart() {
        let many = "a@b,".repeat(crate::limits::SEPARATE_ELEMENTS + 9);
        let found = each("Allow", &[&many]);
        assert_eq!(found.len(), crate::limits::SEPARATE_ELEMENTS + 1);
        assert!(found.last().unwrap().len() > 30);
    }
}

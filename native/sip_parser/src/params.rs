//! `*( SEMI generic-param )`: the parameters behind a header's element.

use crate::chars::Class;
use crate::cursor::Cursor;
use crate::error::Parsed;
use crate::tree::{Param, Range, Text, Tree};
use smallvec::SmallVec;
use std::collections::HashSet;

/// Reads the parameters that come next, each led in by `;`. An empty one (`;;`, a trailing `;`) is passed over.
#[inline]
pub(crate) fn semicolon_list(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Range> {
    let start = push_list(cursor, tree, b"")?;
    Ok(finish(cursor, tree, start))
}

/// Pushes the parameters that come next, and returns where they start: the caller is to [`finish`] them. The one that
/// is named `identity` identifies nothing without a value, and is then as if it did not stand there.
#[inline]
pub(crate) fn push_list(
    cursor: &mut Cursor<'_>,
    tree: &mut Tree,
    identity: &[u8],
) -> Parsed<usize> {
    let start = tree.params.len();
    while cursor.take_separator(b';') {
        if ends_param(cursor) {
            continue;
        }
        let param = generic(cursor)?;
        if param.value.span.is_empty()
            && param.name.len() == identity.len()
            && cursor.bytes(param.name).eq_ignore_ascii_case(identity)
        {
            continue;
        }
        tree.push_param(param)?;
    }
    Ok(start)
}

/// Whether the next octet is one that stands behind a parameter, or none.
#[inline]
pub(crate) fn ends_param(cursor: &Cursor<'_>) -> bool {
    matches!(cursor.peek(), Some(b';' | b',') | None)
}

/// Closes the parameters that were pushed from `start` on. Of those with one name the last counts, as for most who
/// read SIP, though RFC 3261 §7.3.1 lets a name stand once.
#[inline]
pub(crate) fn finish(cursor: &Cursor<'_>, tree: &mut Tree, start: usize) -> Range {
    if is_repeated(cursor, &tree.params[start..]) {
        keep_last(cursor, tree, start);
    }
    tree.params_from(start)
}

/// `generic-param = token [ EQUAL gen-value ]`, `gen-value = token / host / quoted-string`. `name=` is as `name`.
#[inline]
pub(crate) fn generic(cursor: &mut Cursor<'_>) -> Parsed<Param> {
    let name = cursor.token()?;
    if !cursor.take_separator(b'=') || ends_param(cursor) {
        return Ok(Param {
            name,
            value: Text::default(),
        });
    }
    Ok(Param {
        name,
        value: value(cursor)?,
    })
}

/// A parameter's value: a quoted string, a `<URI>` (`info` of RFC 8224 §4), or bare text.
#[inline]
pub(crate) fn value(cursor: &mut Cursor<'_>) -> Parsed<Text> {
    match cursor.peek() {
        Some(b'"') => cursor.quoted_string(),
        Some(b'<') => bracketed(cursor),
        _ => Ok(Text {
            span: cursor.some(Class::VALUE)?,
            escaped: false,
        }),
    }
}

fn bracketed(cursor: &mut Cursor<'_>) -> Parsed<Text> {
    let start = cursor.pos();
    cursor.expect(b'<')?;
    cursor.run(Class::URIC);
    cursor.run_escaped(Class::URIC)?;
    cursor.expect(b'>')?;
    Ok(Text {
        span: cursor.since(start),
        escaped: false,
    })
}

/// Whether a name stands twice. A handful is compared pair by pair, many are sorted first, so that the work stays
/// near linear.
#[inline]
fn is_repeated(cursor: &Cursor<'_>, params: &[Param]) -> bool {
    match params.len() {
        0 | 1 => return false,
        2..=12 => {}
        _ => return is_repeated_sorted(cursor, params),
    }
    params.iter().enumerate().skip(1).any(|(index, param)| {
        let name = cursor.bytes(param.name);
        params[..index].iter().any(|other| {
            other.name.len() == name.len() && cursor.bytes(other.name).eq_ignore_ascii_case(name)
        })
    })
}

#[cold]
fn is_repeated_sorted(cursor: &Cursor<'_>, params: &[Param]) -> bool {
    let mut names: SmallVec<[&[u8]; 64]> = params
        .iter()
        .map(|param| cursor.bytes(param.name))
        .collect();
    names.sort_unstable_by(|one, other| lower(one).cmp(lower(other)));
    names
        .windows(2)
        .any(|pair| pair[0].eq_ignore_ascii_case(pair[1]))
}

fn lower(name: &[u8]) -> impl Iterator<Item = u8> + '_ {
    name.iter().map(u8::to_ascii_lowercase)
}

/// Takes out each parameter behind which its name comes again; the others keep their order.
#[cold]
fn keep_last(cursor: &Cursor<'_>, tree: &mut Tree, start: usize) {
    let mut names = HashSet::new();
    let mut kept = tree.params.len();
    for index in (start..kept).rev() {
        let param = tree.params[index];
        if names.insert(cursor.bytes(param.name).to_ascii_lowercase()) {
            kept -= 1;
            tree.params[kept] = param;
        }
    }
    tree.params.drain(start..kept);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Span;

    fn names(text: &str) -> Parsed<Vec<(String, String, bool)>> {
        let mut tree = Tree::default();
        let mut cursor = Cursor::new(text.as_bytes(), Span::new(0, text.len()));
        let range = semicolon_list(&mut cursor, &mut tree)?;
        let get = |span: Span| String::from_utf8_lossy(span.of(text.as_bytes())).into_owned();
        Ok(tree
            .params_of(range)
            .iter()
            .map(|param| (get(param.name), get(param.value.span), param.value.escaped))
            .collect())
    }

    #[test]
    fn rfc3261_7_3_1_blanks_quotes_and_flags() {
        let own = |name: &str, value: &str, escaped| (name.to_owned(), value.to_owned(), escaped);
        assert_eq!(
            names(r#" ; a = 1 ;lr;b="x;\"y,";received=2001:db8::9:255"#),
            Ok(vec![
                own("a", "1", false),
                own("lr", "", false),
                own("b", r#"x;\"y,"#, true),
                own("received", "2001:db8::9:255", false)
            ])
        );
    }

    #[test]
    fn malformed_parameters() {
        for bad in [";=a", ";a=\"x", ";a=\"x\\"] {
            assert!(names(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn empty_parameters_and_values_are_none() {
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned(), false);
        assert_eq!(names(";; ;").unwrap(), []);
        assert_eq!(
            names(";a=;;b= ;c = ; d=1;").unwrap(),
            [own("a", ""), own("b", ""), own("c", ""), own("d", "1")]
        );
    }

    #[test]
    fn of_one_name_the_last_counts() {
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned(), false);
        assert_eq!(
            names(";tag=1;x;Tag=2;y;tAG=3").unwrap(),
            [own("x", ""), own("y", ""), own("tAG", "3")]
        );
        let many: String = (0..2000).map(|n| format!(";p{n}=v")).collect();
        assert_eq!(names(&many).unwrap().len(), 2000);
        let found = names(&(many + ";P77=w")).unwrap();
        assert_eq!(found.len(), 2000);
        assert_eq!(found.last(), Some(&own("P77", "w")));
        assert!(!found.contains(&own("p77", "v")));
    }
}

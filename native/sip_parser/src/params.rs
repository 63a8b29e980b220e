//! `*( SEMI generic-param )`: the parameters behind a header's element.

use crate::chars::Class;
use crate::cursor::Cursor;
use crate::error::{Fault, Parsed};
use crate::tree::{Param, Range, Text, Tree};
use smallvec::SmallVec;

/// Reads the parameters that come next, each led in by `;`.
#[inline]
pub(crate) fn semicolon_list(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Range> {
    let start = tree.params.len();
    while cursor.take_separator(b';') {
        let param = generic(cursor)?;
        tree.push_param(param)?;
    }
    finish(cursor, tree, start)
}

/// Closes the parameters that were pushed from `start` on.
#[inline]
pub(crate) fn finish(cursor: &Cursor<'_>, tree: &Tree, start: usize) -> Parsed<Range> {
    unique(cursor, &tree.params[start..])?;
    Ok(tree.params_from(start))
}

/// `generic-param = token [ EQUAL gen-value ]`, `gen-value = token / host / quoted-string`
#[inline]
pub(crate) fn generic(cursor: &mut Cursor<'_>) -> Parsed<Param> {
    let name = cursor.token()?;
    if !cursor.take_separator(b'=') {
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

/// RFC3261§7.3.1 - a parameter's name stands once in a value.
///
/// A handful is compared pair by pair, many are sorted first, so that the work stays near linear.
#[inline]
fn unique(cursor: &Cursor<'_>, params: &[Param]) -> Parsed<()> {
    match params.len() {
        0 | 1 => return Ok(()),
        2..=12 => {}
        _ => return unique_sorted(cursor, params),
    }
    for (index, param) in params.iter().enumerate().skip(1) {
        let name = cursor.bytes(param.name);
        let again = params[..index].iter().any(|other| {
            other.name.len() == name.len() && cursor.bytes(other.name).eq_ignore_ascii_case(name)
        });
        if again {
            return Err(Fault::Malformed(param.name.start as usize));
        }
    }
    Ok(())
}

#[cold]
fn unique_sorted(cursor: &Cursor<'_>, params: &[Param]) -> Parsed<()> {
    let mut names: SmallVec<[&[u8]; 64]> = params
        .iter()
        .map(|param| cursor.bytes(param.name))
        .collect();
    names.sort_unstable_by(|one, other| lower(one).cmp(lower(other)));
    match names
        .windows(2)
        .any(|pair| pair[0].eq_ignore_ascii_case(pair[1]))
    {
        true => cursor.fault(),
        false => Ok(()),
    }
}

fn lower(name: &[u8]) -> impl Iterator<Item = u8> + '_ {
    name.iter().map(u8::to_ascii_lowercase)
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
        for bad in [
            ";",
            ";;",
            ";=a",
            ";a=",
            ";a=;b",
            ";a=\"x",
            ";a=\"x\\",
            ";tag=1;tag=2",
            ";Tag=1;tAG=2",
        ] {
            assert!(names(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn many_parameters_are_unique_too() {
        let many: String = (0..2000).map(|n| format!(";p{n}=v")).collect();
        assert_eq!(names(&many).unwrap().len(), 2000);
        assert!(names(&(many + ";P77=w")).is_err());
    }
}

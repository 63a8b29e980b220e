//! What the tests of all shapes share: they read values as a message's lines are read.

#[path = "../../tests/common/show.rs"]
#[allow(dead_code)] // The tests of whole messages need more of it.
mod show;

use crate::{Element, Error, HeaderId, Parser, Reason};

/// The elements of a header, given line by line.
fn parse(name: &str, lines: &[&str]) -> Result<Vec<String>, Error> {
    let id = HeaderId::find(name.as_bytes()).expect(name);
    let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
    let mut parser = Parser::new();
    let values = parser.parse_values(id, &lines)?;
    Ok(show::items(&values, values.items()))
}

/// The elements one by one; behind a `!` the text of a bad one.
pub(super) fn each(name: &str, lines: &[&str]) -> Vec<String> {
    let id = HeaderId::find(name.as_bytes()).expect(name);
    let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
    let mut parser = Parser::new();
    let (values, elements) = parser.parse_each(id, &lines);
    let shown = elements.iter().map(|element| match element {
        Element::Good(item) => show::item(&values, item),
        Element::Bad(span, error) => {
            assert!(error.offset <= span.len(), "{name}: {lines:?}: {error}");
            format!("! {}", String::from_utf8_lossy(span.of(values.text())))
        }
    });
    shown.collect()
}

/// The value has these elements.
#[track_caller]
pub(super) fn reads(name: &str, value: &str, elements: &[&str]) {
    reads_lines(name, &[value], elements);
}

/// The lines have these elements together.
#[track_caller]
pub(super) fn reads_lines(name: &str, lines: &[&str], elements: &[&str]) {
    match parse(name, lines) {
        Ok(found) => assert_eq!(found, elements, "{name}: {lines:?}"),
        Err(error) => panic!("{name}: {lines:?}: {error}"),
    }
}

/// None of the values follows the grammar.
#[track_caller]
pub(super) fn refuses(name: &str, values: &[&str]) {
    for value in values {
        match parse(name, &[value]) {
            Ok(found) => panic!("{name}: {value:?} was read as {found:?}"),
            Err(error) => {
                assert_eq!(error.reason, Reason::InvalidHeader, "{name}: {value:?}");
                assert_eq!(error.header, HeaderId::find(name.as_bytes()));
                assert!(error.offset <= value.len(), "{name}: {value:?}");
            }
        }
    }
}

/// The value stops at this octet, where the fault is.
#[track_caller]
pub(super) fn refuses_at(name: &str, value: &str, offset: usize) {
    let error = parse(name, &[value]).expect_err(value);
    assert_eq!(error.offset, offset, "{name}: {value:?}");
}

//! What the tests of whole messages share.
#![allow(dead_code)] // Each test file takes what it needs.

pub mod show;

use sip_parser::{Error, Frame, Header, Message, Parser, Reason, Resume, frame, salvage};
use std::fs;
use std::path::{Path, PathBuf};

/// A file of the corpus, `"rfc4475/wsinv"` for example.
pub fn fixture(name: &str) -> Vec<u8> {
    let path = project()
        .join("test/fixtures")
        .join(name.to_owned() + ".dat");
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of all messages in a folder of the corpus, in order.
pub fn fixtures(folder: &str) -> Vec<String> {
    let files = fs::read_dir(project().join("test/fixtures").join(folder)).expect(folder);
    let mut names: Vec<String> = files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "dat"))
        .map(|path| format!("{folder}/{}", path.file_stem().unwrap().to_string_lossy()))
        .collect();
    names.sort();
    assert!(!names.is_empty(), "{folder} is empty");
    names
}

/// The root of the project.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A message as text: its first line, one line a header, its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub start: String,
    pub headers: Vec<String>,
    pub body: Option<Vec<u8>>,
}

/// Visits the whole tree; a span or a range that lies outside of its text or array panics.
pub fn shown(message: &Message<'_>) -> Shown {
    Shown {
        start: show::start_line(message),
        headers: message
            .headers()
            .iter()
            .map(|h| header(message, h))
            .collect(),
        body: message.body().map(<[u8]>::to_vec),
    }
}

/// `Name: element, element` where the header is typed, else `Name = line | line`. The name is the
/// table's, where that has it.
fn header(message: &Message<'_>, header: &Header) -> String {
    let spelled = show::string(header.name.of(message.text()));
    let name = header.id.map_or(spelled, |id| id.row().name.to_owned());
    match message.items(header) {
        Some(items) => format!("{name}: {}", show::items(message, items).join(", ")),
        None => {
            let lines: Vec<String> = message
                .values(header)
                .map(|value| show::string(value.of(message.text())))
                .collect();
            format!("{name} = {}", lines.join(" | "))
        }
    }
}

/// What the parser makes of the input, with all that must hold whatever that is.
pub fn parse(input: &[u8]) -> Result<Shown, Error> {
    let mut parser = Parser::new();
    match parser.parse(input) {
        Ok(message) => {
            body_is_of_the_input(&message, input);
            Ok(shown(&message))
        }
        Err(error) => {
            is_sane(&error, input);
            Err(error)
        }
    }
}

fn body_is_of_the_input(message: &Message<'_>, input: &[u8]) {
    let body = message.body().unwrap_or_default();
    let at = message.body_offset();
    assert_eq!(&input[at..at + body.len()], body);
    if !message.is_unfolded() {
        assert_eq!(message.text(), input);
    }
}

/// The error lies in the input, and so does what it quotes.
pub fn is_sane(error: &Error, input: &[u8]) {
    assert!(error.offset <= input.len(), "{error} of {}", input.len());
    let before = &input[..error.offset];
    let ends = before.iter().filter(|octet| **octet == b'\n').count();
    assert_eq!(error.line(input), ends + 1, "{error}");
    let excerpt = error.excerpt(input, 80);
    assert!(excerpt.len() <= 80 && input[error.offset..].starts_with(excerpt));
    assert!(!excerpt.contains(&b'\r') && !excerpt.contains(&b'\n'));
    assert!(
        error
            .to_string()
            .starts_with(&error.reason.name().replace('_', " "))
    );
    if let Some(salvage) = salvage(input) {
        assert!(!salvage.method.is_empty());
        let control = |octet: &u8| *octet < b' ' && *octet != b'\t' || *octet == 0x7F;
        assert!(
            !salvage
                .lines
                .iter()
                .any(|(_, value)| value.iter().any(control))
        );
    }
}

/// The message that must parse.
#[track_caller]
pub fn accept(name: &str) -> Shown {
    parse(&fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The message parses to exactly this.
#[track_caller]
pub fn yields(name: &str, start: &str, headers: &[&str], body: Option<usize>) {
    let found = accept(name);
    assert_eq!(found.start, start, "{name}");
    assert_eq!(found.headers, headers, "{name}");
    assert_eq!(found.body.map(|body| body.len()), body, "{name}");
}

/// The message is refused: why, in which header, and at which text.
#[track_caller]
pub fn refuses(name: &str, reason: Reason, header: Option<&str>, excerpt: &str) {
    let input = fixture(name);
    let error = parse(&input)
        .err()
        .unwrap_or_else(|| panic!("{name} was taken"));
    assert_eq!(error.reason, reason, "{name}");
    assert_eq!(error.header.map(|id| id.row().name), header, "{name}");
    assert_eq!(show::string(error.excerpt(&input, 40)), excerpt, "{name}");
}

/// Looks at a whole buffer for the first time.
pub fn frame_whole(buffer: &[u8]) -> Result<Frame, Error> {
    let framed = frame(buffer, Resume::default());
    if let Err(error) = &framed {
        is_sane(error, buffer);
    }
    framed
}

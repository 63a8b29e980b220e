//! A whole message, written by a pen.

use crate::common::Shown;
use crate::grammar::{self, Parts};
use crate::pen::{Pen, TEXT};
use sip_parser::{HeaderId, Level, ROW_COUNT, Repeat, Row, Shape};

/// What was written, and what must be read.
#[derive(Debug)]
pub struct Letter {
    pub wire: Vec<u8>,
    pub shown: Shown,
}

/// A header that is being gathered from its lines.
struct Gathered {
    name: String,
    typed: bool,
    values: Vec<String>,
}

pub fn write(pen: &mut Pen<'_>, body: &[u8]) -> Letter {
    let ends = ["", "", "\r\n", "\n\r\n\r\n"][pen.pick(4)];
    pen.put(ends);
    let start = start_line(pen);
    pen.line_end();
    let mut headers: Vec<Gathered> = Vec::new();
    for _ in 0..pen.pick(10) {
        match pen.pick(4) {
            0 => unlisted(pen, &mut headers),
            _ => listed(pen, &mut headers),
        }
    }
    let body = end(pen, &mut headers, body);
    Letter {
        wire: [pen.wire.as_bytes(), body.as_deref().unwrap_or_default()].concat(),
        shown: Shown {
            start,
            headers: headers.iter().map(Gathered::shown).collect(),
            body,
        },
    }
}

impl Gathered {
    fn shown(&self) -> String {
        match self.typed {
            true => format!("{}: {}", self.name, self.values.join(", ")),
            false => format!("{} = {}", self.name, self.values.join(" | ")),
        }
    }
}

fn start_line(pen: &mut Pen<'_>) -> String {
    if pen.once_in(3) {
        pen.put_any_case("SIP/");
        let version = grammar::version(pen);
        let status = 100 + pen.number(599);
        pen.put(&format!(" {status} "));
        let reason = if pen.once_in(3) {
            String::new()
        } else {
            pen.words_of(TEXT, 20)
        };
        return format!("{version} {status} {reason}");
    }
    let method = pen.token();
    pen.put(" ");
    let uri = grammar::uri(pen, Parts::RequestUri).text();
    pen.put(" ");
    pen.put_any_case("SIP/");
    format!("{method} {uri} {}", grammar::version(pen))
}

/// Writes `name: value`, folded; gives the value without folds and without the blanks around it.
fn line<T>(pen: &mut Pen<'_>, value: impl FnOnce(&mut Pen<'_>) -> T) -> (T, String) {
    let before = ["", "", " ", "\t "][pen.pick(4)];
    pen.put(before);
    pen.put(":");
    let start = pen.wire.len();
    pen.blanks();
    let read = value(pen);
    pen.blanks();
    let raw = pen.fold(start);
    pen.line_end();
    (read, raw.trim_matches([' ', '\t']).to_owned())
}

fn listed(pen: &mut Pen<'_>, headers: &mut Vec<Gathered>) {
    let id = HeaderId::all().nth(pen.pick(ROW_COUNT)).unwrap();
    let row = id.row();
    let present = headers.iter().position(|header| header.name == row.name);
    if id == HeaderId::CONTENT_LENGTH || !may_repeat(row, present.map(|at| &headers[at])) {
        return;
    }
    if row.compact != 0 && pen.once_in(2) {
        pen.put_any_case(&char::from(row.compact).to_string());
    } else {
        pen.put_any_case(row.name);
    }
    let (values, raw) = line(pen, |pen| grammar::value(pen, row));
    let typed = row.level != Level::Extension;
    // A `*` that is not alone makes the header text; that is tested elsewhere.
    let values = if typed { values } else { vec![raw] };
    gather(headers, present, row.name.to_owned(), typed, values);
}

fn may_repeat(row: &Row, present: Option<&Gathered>) -> bool {
    match present {
        None => true,
        Some(_) if row.shape == Shape::Contact => false,
        Some(_) => row.repeat != Repeat::One || row.level == Level::Extension,
    }
}

fn unlisted(pen: &mut Pen<'_>, headers: &mut Vec<Gathered>) {
    let name = ["X-Foo", "NewFangledHeader", "q", "-.!%*_+`'~"][pen.pick(4)];
    let name = pen.put_any_case(name);
    let present = headers
        .iter()
        .position(|header| header.name.eq_ignore_ascii_case(&name));
    let (_, raw) = line(pen, |pen| {
        if pen.once_in(8) {
            String::new()
        } else {
            pen.words_of(TEXT, 30)
        }
    });
    gather(headers, present, name, false, vec![raw]);
}

fn gather(
    headers: &mut Vec<Gathered>,
    present: Option<usize>,
    name: String,
    typed: bool,
    values: Vec<String>,
) {
    match present {
        Some(at) => headers[at].values.extend(values),
        None => headers.push(Gathered {
            name,
            typed,
            values,
        }),
    }
}

/// Writes Content-Length and the blank line, or not; gives the body to come.
fn end(pen: &mut Pen<'_>, headers: &mut Vec<Gathered>, body: &[u8]) -> Option<Vec<u8>> {
    let way = pen.pick(4);
    let length = if way == 3 { 0 } else { body.len() };
    if way != 2 {
        pen.put_any_case(["Content-Length", "l"][length % 2]);
        let (value, _) = line(pen, |pen| pen.put_number(length as u32));
        gather(
            headers,
            None,
            "Content-Length".to_owned(),
            true,
            vec![value],
        );
    }
    if way == 3 {
        return None;
    }
    let blank = ["\r\n", "\r\n", "\n"][pen.pick(3)];
    pen.put(blank);
    Some(body.to_vec())
}

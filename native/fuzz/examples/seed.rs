//! Cuts messages into what each target begins with: `cargo run --example seed -- FOLDER FILE…` writes
//! `FOLDER/TARGET/*` and `FOLDER/sip.dict`.

use sip_parser::{HeaderId, Parser, StartLine};
use std::collections::BTreeSet;
use std::path::Path;
use std::{env, fs, io};

/// Octets of the longest message that is worth mutating.
const LONGEST: usize = 8_192;

/// Words that the table does not have.
const WORDS: &[&str] = &[
    "\\x0D\\x0A",
    "\\x0D\\x0A ",
    "\\x0D\\x0A\\x0D\\x0A",
    "SIP/2.0",
    "SIP/2.0/UDP ",
    "INVITE",
    "ACK",
    "sip:",
    "sips:",
    "tel:",
    "urn:",
    ";tag=",
    ";branch=z9hG4bK",
    ";rport",
    ";lr",
    ";q=",
    ";expires=",
    "\\\"",
    "\\\\",
    "%41",
    "[::1]",
    "Digest ",
    "realm=\\\"",
    " GMT",
    "Content-Length: 0\\x0D\\x0A",
    "Mon, 01 Jan 2024 00:00:00 GMT",
    "Mon, 1 Jan 2024 00:00:00 UTC",
    "#",
    "?Replaces=",
    ";thinfo=\\\"",
    ";text=a b",
    ";;",
    ",,",
    "\\x0D\\x0D\\x0A",
    "<Bellcore-dr1>",
];

fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    let folder = arguments.next().expect("a folder");
    let folder = Path::new(&folder);
    let messages: Vec<Vec<u8>> = arguments.map(fs::read).collect::<Result<_, _>>()?;
    let mut seeds = Seeds::default();
    for pair in messages.windows(2) {
        if pair[0].len() <= LONGEST {
            seeds.cut(&pair[0], &pair[1]);
        }
    }
    seeds.write(folder)?;
    fs::write(folder.join("sip.dict"), dictionary())
}

/// The inputs of each target.
#[derive(Default)]
struct Seeds {
    message: BTreeSet<Vec<u8>>,
    uri: BTreeSet<Vec<u8>>,
    values: BTreeSet<Vec<u8>>,
    stream: BTreeSet<Vec<u8>>,
    linear: BTreeSet<Vec<u8>>,
}

impl Seeds {
    fn cut(&mut self, message: &[u8], next: &[u8]) {
        let piece = message.len() as u8;
        self.message.insert(message.to_vec());
        self.linear.insert([&[piece, piece / 3], message].concat());
        if next.len() <= LONGEST {
            self.stream.insert([&[piece], message, next].concat());
        }
        self.lines(message);
        let mut parser = Parser::new();
        let Ok(message) = parser.parse(message) else {
            return;
        };
        let text = message.text();
        if let StartLine::Request { .. } = message.start_line() {
            let line = text
                .split(|octet| *octet == b'\r')
                .next()
                .unwrap_or_default();
            self.uri.extend(
                line.split(|octet| *octet == b' ')
                    .nth(1)
                    .map(<[u8]>::to_vec),
            );
        }
        for header in message.headers() {
            let values: Vec<&[u8]> = message.values(header).map(|value| value.of(text)).collect();
            if let Some(id) = header.id {
                self.values
                    .insert([&[id.index() as u8], &values.join(&b'\n')[..]].concat());
            }
            self.uri
                .extend(values.iter().filter_map(|value| in_brackets(value)));
        }
    }

    /// The lines of the table's headers, of a message that is refused too.
    fn lines(&mut self, message: &[u8]) {
        for line in message.split(|octet| *octet == b'\n') {
            let line = line.trim_ascii_end();
            let Some(colon) = line.iter().position(|octet| *octet == b':') else {
                continue;
            };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii_start());
            if let Some(id) = HeaderId::find(name) {
                self.values.insert([&[id.index() as u8], value].concat());
            }
        }
    }

    fn write(self, folder: &Path) -> io::Result<()> {
        let targets = [
            ("message", self.message),
            ("uri", self.uri),
            ("values", self.values),
            ("stream", self.stream),
            ("linear", self.linear),
            // Its octets are choices: it makes its messages itself.
            ("grammar", BTreeSet::from([vec![0; 64]])),
        ];
        for (target, inputs) in targets {
            let folder = folder.join(target);
            fs::create_dir_all(&folder)?;
            for (number, input) in inputs.iter().enumerate() {
                fs::write(folder.join(format!("{number:05}")), input)?;
            }
        }
        Ok(())
    }
}

fn in_brackets(value: &[u8]) -> Option<Vec<u8>> {
    let start = value.iter().position(|octet| *octet == b'<')? + 1;
    let length = value[start..].iter().position(|octet| *octet == b'>')?;
    Some(value[start..start + length].to_vec())
}

/// In the form that libFuzzer reads.
fn dictionary() -> String {
    let names = HeaderId::all().map(|id| format!("{}:", id.row().name));
    let compact = HeaderId::all()
        .map(|id| id.row().compact)
        .filter(|letter| *letter != 0)
        .map(|letter| format!("{}:", char::from(letter)));
    let words = WORDS.iter().map(|word| (*word).to_owned());
    names
        .chain(compact)
        .chain(words)
        .map(|word| format!("\"{word}\"\n"))
        .collect()
}

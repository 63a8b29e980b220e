//! Streams of messages, cut anywhere.

use crate::common::{self, frame_whole, is_sane};
use crate::work;
use sip_parser::{Error, Frame, Parser, Resume, frame};

/// What becomes of a stream: where its messages end, and what comes of the rest.
#[derive(Debug, PartialEq)]
struct Fate {
    ends: Vec<usize>,
    rest: Result<Resume, Error>,
}

/// The octets of a stream. It comes in pieces of one to 64 octets, of which the first octet of the input is the seed.
pub fn stream(input: &[u8]) {
    let Some((seed, stream)) = input.split_first() else {
        return;
    };
    let whole = whole(stream);
    let cut = pieces(stream, *seed);
    agree(&whole, &cut);
    let mut start = 0;
    for end in &whole.ends {
        message_agrees(&stream[start..], end - start);
        start = *end;
    }
}

/// A first look at the stream.
pub(crate) fn first(stream: &[u8]) -> Result<Frame, Error> {
    frame(stream, Resume::default())
}

fn whole(stream: &[u8]) -> Fate {
    let mut ends = Vec::new();
    let mut start = 0;
    let rest = loop {
        let buffer = &stream[start..];
        match work::bounded(buffer.len(), || frame_whole(buffer)) {
            Ok(Frame::Complete(octets)) => {
                assert!((1..=buffer.len()).contains(&octets));
                start += octets;
                ends.push(start);
            }
            Ok(Frame::Partial(resume)) => break Ok(resume),
            Err(error) => {
                is_sane(&error, buffer);
                break Err(error);
            }
        }
    };
    Fate { ends, rest }
}

/// As one that reads from a socket does it: what was seen is not looked at again.
fn pieces(stream: &[u8], seed: u8) -> Fate {
    let mut ends = Vec::new();
    let (mut start, mut come, mut last) = (0, 0, Resume::default());
    let mut lengths = lengths(seed);
    let rest = loop {
        let buffer = &stream[start..come];
        match frame(buffer, last) {
            Ok(Frame::Complete(octets)) => {
                assert!((1..=buffer.len()).contains(&octets));
                (start, last) = (start + octets, Resume::default());
                ends.push(start);
            }
            Ok(Frame::Partial(resume)) => {
                assert_eq!(resume.scanned as usize, buffer.len());
                assert!(resume.start <= resume.scanned && last.total <= resume.total);
                if come == stream.len() {
                    break Ok(resume);
                }
                last = resume;
                come = stream.len().min(come + lengths.next().unwrap());
            }
            Err(error) => {
                is_sane(&error, buffer);
                break Err(error);
            }
        }
    };
    Fate { ends, rest }
}

/// Lengths of pieces: a seed below 64 gives that length always, others a row that looks random.
fn lengths(seed: u8) -> impl Iterator<Item = usize> {
    let mut state = u32::from(seed);
    std::iter::from_fn(move || {
        if seed < 64 {
            return Some(1 + usize::from(seed));
        }
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some(1 + (state >> 26) as usize)
    })
}

#[track_caller]
fn agree(whole: &Fate, cut: &Fate) {
    assert_eq!(cut, whole);
}

/// What was cut off the stream is one message: alone it parses as it does with what follows, and all of it is used.
fn message_agrees(stream: &[u8], octets: usize) {
    let alone = common::parse(&stream[..octets]);
    assert_eq!(alone, common::parse(stream));
    let mut parser = Parser::new();
    if let Ok(message) = parser.parse(&stream[..octets]) {
        let body = message.body().expect("a blank line");
        assert_eq!(message.body_offset() + body.len(), octets);
    }
}

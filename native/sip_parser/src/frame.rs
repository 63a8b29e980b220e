//! Where a message ends on a stream (RFC 3261 §18.3, §7.5).

use crate::error::{Error, Reason};
use crate::limits;
use crate::lines;
use crate::message::Parser;
use crate::table::HeaderId;

/// What the octets at hand are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message of this many octets, those of the line ends before it included.
    Complete(usize),
    /// The beginning of one. Call again with more octets behind these, and this.
    Partial(Resume),
}

/// What a first look at a buffer has found, so that the next look need not read it again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// Octets of the line ends before the message.
    pub start: u32,
    /// Octets in which no blank line ends.
    pub scanned: u32,
    /// Length of the whole message, once its headers are there; else 0.
    pub total: u32,
}

/// Finds the end of the first message in `buffer`.
///
/// ```
/// use sip_parser::{frame, Frame, Resume};
/// let buffer = b"BYE sip:h SIP/2.0\r\nContent-Length: 2\r\n\r\nhi!";
/// assert_eq!(frame(buffer, Resume::default()), Ok(Frame::Complete(buffer.len() - 1)));
/// let Ok(Frame::Partial(resume)) = frame(&buffer[..20], Resume::default()) else { panic!() };
/// assert_eq!(frame(buffer, resume), Ok(Frame::Complete(buffer.len() - 1)));
/// ```
pub fn frame(buffer: &[u8], resume: Resume) -> Result<Frame, Error> {
    let known = buffer.len().min(resume.start as usize);
    let start = known + lines::leading_line_ends(&buffer[known..]);
    if start > limits::MESSAGE_BYTES {
        return Err(Error::new(Reason::MessageTooLarge, limits::MESSAGE_BYTES));
    }
    if resume.total > 0 {
        return Ok(come(buffer, start, resume.total as usize));
    }
    match blank_line(buffer, start, resume.scanned as usize) {
        Some(body) => {
            let total = body.saturating_add(content_length(&buffer[..body])?);
            if total > limits::MESSAGE_BYTES {
                return Err(Error::new(Reason::MessageTooLarge, body));
            }
            Ok(come(buffer, start, total))
        }
        None if buffer.len() - start > limits::HEADERS_BYTES + BLANK_LINE_BEGUN => Err(Error::new(
            Reason::HeadersTooLarge,
            start + limits::HEADERS_BYTES,
        )),
        None => Ok(come(buffer, start, 0)),
    }
}

/// What may have come of the last header's line end and the blank line: `CR LF CR`.
const BLANK_LINE_BEGUN: usize = 3;

/// The message, if `total` octets of it are known to make it and are there.
fn come(buffer: &[u8], start: usize, total: usize) -> Frame {
    if total > 0 && buffer.len() >= total {
        return Frame::Complete(total);
    }
    Frame::Partial(Resume {
        start: start as u32,
        scanned: buffer.len() as u32,
        total: total as u32,
    })
}

/// The position behind the blank line that ends the headers. Two octets before what was scanned may be
/// the beginning of its line end.
fn blank_line(buffer: &[u8], start: usize, scanned: usize) -> Option<usize> {
    let from = start.max(scanned.saturating_sub(2));
    memchr::memchr_iter(b'\n', buffer.get(from..)?).find_map(|found| {
        let next = from + found + 1;
        match (buffer.get(next), buffer.get(next + 1)) {
            (Some(b'\n'), _) => Some(next + 1),
            (Some(b'\r'), Some(b'\n')) => Some(next + 2),
            _ => None,
        }
    })
}

/// RFC3261§18.3 - on a stream Content-Length is what frames a message, so it must be there.
fn content_length(head: &[u8]) -> Result<usize, Error> {
    let mut parser = Parser::new();
    match parser.content_length(head)? {
        Some(length) => Ok(length as usize),
        None => Err(Error {
            reason: Reason::MissingContentLength,
            header: Some(HeaderId::CONTENT_LENGTH),
            offset: head.len(),
        }),
    }
}

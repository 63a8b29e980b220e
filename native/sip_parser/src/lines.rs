//! Header framing (RFC 3261 §7.3.1): from text to named lines, grouped by header.

use crate::chars::Class;
use crate::cursor::Cursor;
use crate::error::{Error, Reason};
use crate::limits;
use crate::simd;
use crate::table::{self, HeaderId, NameIndex, ROW_COUNT};
use crate::tree::{Range, Span};
use smallvec::SmallVec;
use std::collections::HashMap;

/// One header line.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// The value without the blanks around it.
    value: Span,
    /// The next line of the same header in [`Lines::more`], or [`NO_LINE`].
    next: u32,
}

const NO_LINE: u32 = u32::MAX;

/// A header with all its lines.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Its row, where the table knows it.
    pub id: Option<HeaderId>,
    /// The name as the first of its lines spells it.
    pub name: Span,
    first: Line,
    /// Its last line in [`Lines::more`], or [`NO_LINE`] where the first is the only one.
    last: u32,
    /// The elements, if the value was parsed.
    pub(crate) items: Option<Range>,
}

/// The lines of a message and the headers that they make, in order of appearance.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The lines behind the first of their header.
    more: SmallVec<[Line; 24]>,
    pub(crate) headers: SmallVec<[Header; 32]>,
    unlisted: Unlisted,
    /// Whether a NUL stands behind a `\` somewhere: right in quotes, wrong in raw text.
    pub(crate) escaped_nul: bool,
}

/// What the header block turned out to be.
pub(crate) enum Block {
    /// All lines read; the body begins at the position, if there was a blank line.
    Read(Option<usize>),
    /// A line is folded: unfold the text and read again.
    Folded,
}

/// Where a line ends.
pub(crate) struct LineEnd {
    /// Position behind the line's text.
    pub(crate) end: usize,
    /// Position of the next line; none at the end of the input.
    pub(crate) next: Option<usize>,
}

/// Number of the octets of CR and LF that come before the start line (RFC 3261 §7.5).
pub(crate) fn leading_line_ends(input: &[u8]) -> usize {
    input
        .iter()
        .take_while(|octet| matches!(octet, b'\r' | b'\n'))
        .count()
}

/// The end of the line that begins at `from`: CRLF, or a bare LF, or the end of the input.
#[inline]
pub(crate) fn line_end(text: &[u8], from: usize, nul: &mut bool) -> Result<LineEnd, Error> {
    let mut at = from;
    while let Some(found) = simd::find_control(&text[at..]) {
        at += found;
        match (text[at], text.get(at + 1)) {
            (b'\r', Some(b'\n')) => {
                return Ok(LineEnd {
                    end: at,
                    next: Some(at + 2),
                });
            }
            (b'\n', _) => {
                return Ok(LineEnd {
                    end: at,
                    next: Some(at + 1),
                });
            }
            (b'\r', _) => return line_end_of_returns(text, at),
            (0, _) if is_escaped(text, at) => *nul = true,
            (0, _) => return Err(Error::new(Reason::ControlCharacter, at)),
            // A HTAB is a blank; what else it may be is for the grammar of the value.
            _ => {}
        }
        at += 1;
    }
    Ok(LineEnd {
        end: text.len(),
        next: None,
    })
}

/// CRs directly before a line's CRLF are blanks at its end, as some senders put them there. Anywhere else a CR alone
/// ends no line.
#[cold]
fn line_end_of_returns(text: &[u8], at: usize) -> Result<LineEnd, Error> {
    let rest = &text[at..];
    let returns = rest.iter().take_while(|octet| **octet == b'\r').count();
    match rest.get(returns) {
        Some(b'\n') => Ok(LineEnd {
            end: at,
            next: Some(at + returns + 1),
        }),
        _ => Err(Error::new(Reason::ControlCharacter, at)),
    }
}

/// Whether an odd number of `\` stands before `at`. Each run of them is counted once at most, as what
/// follows it is no `\`.
pub(crate) fn is_escaped(text: &[u8], at: usize) -> bool {
    text[..at]
        .iter()
        .rev()
        .take_while(|octet| **octet == b'\\')
        .count()
        % 2
        == 1
}

impl Lines {
    pub(crate) fn clear(&mut self) {
        self.more.clear();
        self.headers.clear();
        self.unlisted.clear();
        self.escaped_nul = false;
    }

    /// Reads the lines from `from` to the blank line or the end of `text`.
    pub(crate) fn read(&mut self, text: &[u8], start: usize, from: usize) -> Result<Block, Error> {
        let index = table::index();
        // Number of the header of each row, plus one; 0 where none has come.
        let mut seen = [0u16; ROW_COUNT];
        let mut at = from;
        loop {
            match (text.get(at), text.get(at + 1)) {
                (Some(b'\n'), _) => return Ok(Block::Read(Some(at + 1))),
                (Some(b'\r'), Some(b'\n')) => return Ok(Block::Read(Some(at + 2))),
                (Some(b' ' | b'\t'), _) => return Ok(Block::Folded),
                (None, _) => return Ok(Block::Read(None)),
                _ => {}
            }
            let Name { id, name, end } = name(index, text, at)?;
            let line = line_end(text, end, &mut self.escaped_nul)?;
            if line.end - start > limits::HEADERS_BYTES {
                return Err(Error::new(Reason::HeadersTooLarge, at));
            }
            if self.headers.len() + self.more.len() >= limits::HEADER_LINES {
                return Err(Error::new(Reason::TooManyHeaders, at));
            }
            let value = trim(text, end, line.end);
            match id {
                Some(id) => self.push_listed(id, name, value, &mut seen[id.index()]),
                None => self.push_unlisted(text, name, value),
            }
            match line.next {
                Some(next) => at = next,
                None => return Ok(Block::Read(None)),
            }
        }
    }

    #[inline]
    fn push_listed(&mut self, id: HeaderId, name: Span, value: Span, seen: &mut u16) {
        if *seen == 0 {
            self.push_header(Some(id), name, value);
            // There are no more headers than lines, and of those no more than `HEADER_LINES`.
            *seen = self.headers.len() as u16;
        } else {
            self.append(usize::from(*seen) - 1, value);
        }
    }

    #[inline]
    fn push_header(&mut self, id: Option<HeaderId>, name: Span, value: Span) {
        self.headers.push(Header {
            id,
            name,
            first: Line {
                value,
                next: NO_LINE,
            },
            last: NO_LINE,
            items: None,
        });
    }

    fn append(&mut self, header: usize, value: Span) {
        let number = self.more.len() as u32;
        self.more.push(Line {
            value,
            next: NO_LINE,
        });
        let header = &mut self.headers[header];
        match header.last {
            NO_LINE => header.first.next = number,
            last => self.more[last as usize].next = number,
        }
        header.last = number;
    }

    /// RFC3261§7.3.1 - names are compared in any letter case: such lines join under the first spelling.
    #[inline]
    fn push_unlisted(&mut self, text: &[u8], name: Span, value: Span) {
        match self.unlisted.find(text, name, &self.headers) {
            Some(header) => self.append(header, value),
            None => {
                self.unlisted.insert(text, name, self.headers.len());
                self.push_header(None, name, value);
            }
        }
    }

    /// The values of a header's lines, in order.
    #[inline]
    pub(crate) fn values(&self, header: Header) -> impl Iterator<Item = Span> + '_ {
        self.texts().values(header)
    }

    #[inline]
    pub(crate) fn texts(&self) -> Texts<'_> {
        Texts {
            more: &self.more,
            escaped_nul: self.escaped_nul,
        }
    }

    /// The texts, and the headers whose elements are to be set.
    pub(crate) fn split(&mut self) -> (Texts<'_>, &mut [Header]) {
        let texts = Texts {
            more: &self.more,
            escaped_nul: self.escaped_nul,
        };
        (texts, &mut self.headers)
    }
}

/// What stands in the lines.
#[derive(Clone, Copy)]
pub(crate) struct Texts<'a> {
    more: &'a [Line],
    escaped_nul: bool,
}

impl<'a> Texts<'a> {
    /// The values of a header's lines, in order.
    #[inline]
    pub(crate) fn values(self, header: Header) -> impl Iterator<Item = Span> + 'a {
        let mut line = Some(header.first);
        core::iter::from_fn(move || {
            let Line { value, next } = line?;
            line = self.more.get(next as usize).copied();
            Some(value)
        })
    }

    /// The value of a header's second line, if it has one.
    #[inline]
    pub(crate) fn second(self, header: Header) -> Option<Span> {
        let second = self.more.get(header.first.next as usize)?;
        Some(second.value)
    }

    /// Text that is handed on raw has no NUL, escaped or not: outside of quotes a `\` escapes nothing.
    pub(crate) fn check_raw(self, header: Header, text: &[u8]) -> Result<(), Error> {
        if !self.escaped_nul {
            return Ok(());
        }
        for value in self.values(header) {
            if let Some(at) = memchr::memchr(0, value.of(text)) {
                return Err(Error::new(
                    Reason::ControlCharacter,
                    value.start as usize + at,
                ));
            }
        }
        Ok(())
    }
}

/// A header's name as it stands in the text.
struct Name {
    id: Option<HeaderId>,
    name: Span,
    /// Position behind the colon.
    end: usize,
}

/// `header-name HCOLON`. What stands before the colon is mostly a name of the table as it is, and so a token.
#[inline]
fn name(index: &NameIndex, text: &[u8], start: usize) -> Result<Name, Error> {
    let line = &text[start..];
    let length = simd::find_octet(&line[..line.len().min(USUAL_NAME)], b':').unwrap_or(0);
    match index.find(&line[..length]) {
        Some(id) => Ok(Name {
            id: Some(id),
            name: Span::new(start, start + length),
            end: start + length + 1,
        }),
        None => any_name(index, text, start),
    }
}

/// Octets of the longest name of the table and its colon, in whole words.
const USUAL_NAME: usize = 32;

fn any_name(index: &NameIndex, text: &[u8], start: usize) -> Result<Name, Error> {
    let mut cursor = Cursor::new(text, Span::new(start, text.len()));
    let name = cursor.run(Class::TOKEN);
    // RFC3261§7.3.1 - blanks may stand before the colon.
    cursor.skip_blanks();
    if name.is_empty() || !cursor.take(b':') {
        return Err(Error::new(Reason::InvalidHeaderLine, start));
    }
    Ok(Name {
        id: index.find(name.of(text)),
        name,
        end: cursor.pos(),
    })
}

/// The text without the blanks around it, of which one before it is usual.
#[inline]
fn trim(text: &[u8], mut start: usize, mut end: usize) -> Span {
    let line = &text[..end];
    while line.get(start).is_some_and(|octet| Class::WSP.has(*octet)) {
        start += 1;
    }
    while let [.., last] = &text[start..end]
        && Class::WSP.has(*last)
    {
        end -= 1;
    }
    Span::new(start, end)
}

/// Finds the headers that the table does not know. A few are compared one by one, many are hashed, so
/// that a flood of names costs linear time.
#[derive(Debug, Default)]
struct Unlisted {
    few: SmallVec<[u32; 16]>,
    many: HashMap<Vec<u8>, u32>,
}

impl Unlisted {
    fn clear(&mut self) {
        self.few.clear();
        self.many.clear();
    }

    fn find(&self, text: &[u8], name: Span, headers: &[Header]) -> Option<usize> {
        let name = name.of(text);
        let same = |header: &&u32| {
            headers[**header as usize]
                .name
                .of(text)
                .eq_ignore_ascii_case(name)
        };
        if let Some(header) = self.few.iter().find(same) {
            return Some(*header as usize);
        }
        if self.many.is_empty() {
            return None;
        }
        self.many
            .get(&name.to_ascii_lowercase())
            .map(|header| *header as usize)
    }

    fn insert(&mut self, text: &[u8], name: Span, header: usize) {
        if self.few.len() < self.few.inline_size() {
            self.few.push(header as u32);
        } else {
            self.many
                .insert(name.of(text).to_ascii_lowercase(), header as u32);
        }
    }
}

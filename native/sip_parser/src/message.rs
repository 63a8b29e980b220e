//! From a datagram to a message.

use crate::error::{Error, Fault, Parsed, Reason};
use crate::fold::Unfolded;
use crate::limits;
use crate::lines::{self, Block, Header, Lines, Texts};
use crate::shape::{self, Element as Each};
use crate::start_line::{self, StartLine};
use crate::table::{HeaderId, Level, Repeat, Row};
use crate::tree::{Item, Param, Range, Span, Tree, Uri, UriId};
use crate::uri;

/// The memory that a message is parsed into. An ordinary message needs nothing of the heap; a larger one
/// grows it, and the next message uses it again.
#[derive(Debug, Default)]
pub struct Parser {
    lines: Lines,
    tree: Tree,
    unfolded: Unfolded,
}

/// A parsed message: its text, and the tree over it.
#[derive(Debug)]
pub struct Message<'a> {
    parser: &'a Parser,
    text: &'a [u8],
    /// Whether the text is a copy without folds, and not the input.
    unfolded: bool,
    start_line: StartLine,
    body: Option<&'a [u8]>,
    body_offset: usize,
}

/// The start line's span, the position of the body and whether there is a blank line.
struct Framed {
    start_line: Span,
    body: Option<usize>,
    unfolded: bool,
}

impl Parser {
    /// An empty parser.
    #[inline]
    pub fn new() -> Parser {
        Parser::default()
    }

    /// Parses one datagram.
    ///
    /// ```
    /// let mut parser = sip_parser::Parser::new();
    /// let message = parser.parse(b"OPTIONS sip:h SIP/2.0\r\nCSeq: 1 OPTIONS\r\n\r\n").unwrap();
    /// assert_eq!(message.headers().len(), 1);
    /// assert_eq!(message.body(), Some(&b""[..]));
    /// ```
    pub fn parse<'a>(&'a mut self, input: &'a [u8]) -> Result<Message<'a>, Error> {
        let framed = self.frame(input)?;
        let origin = |parser: &Parser, error: Error| parser.locate(error, framed.unfolded);
        let mut parts = self.typed(input, &framed);
        if framed.unfolded && self.unfolded.has_escaped() && parts.is_ok() {
            parts = self.settled(input, &framed);
        }
        let (start_line, content_length) = match parts {
            Ok(parts) => parts,
            Err(error) => return Err(origin(self, error)),
        };
        let (body, body_offset) = body(input, framed.body, content_length)?;
        let parser = &*self;
        let text = if framed.unfolded {
            &parser.unfolded.text
        } else {
            input
        };
        Ok(Message {
            parser,
            text,
            unfolded: framed.unfolded,
            start_line,
            body,
            body_offset,
        })
    }

    /// Finds the lines, unfolding the text first where it has to.
    fn frame(&mut self, input: &[u8]) -> Result<Framed, Error> {
        if input.len() > limits::MESSAGE_BYTES {
            return Err(Error::new(Reason::MessageTooLarge, limits::MESSAGE_BYTES));
        }
        let start = lines::leading_line_ends(input);
        if start == input.len() {
            return Err(Error::new(Reason::EmptyMessage, 0));
        }
        self.lines.clear();
        let first = lines::line_end(input, start, &mut self.lines.escaped_nul)?;
        if first.end - start > limits::HEADERS_BYTES {
            return Err(Error::new(Reason::HeadersTooLarge, start));
        }
        let start_line = Span::new(start, first.end);
        let Some(from) = first.next else {
            return Ok(Framed {
                start_line,
                body: None,
                unfolded: false,
            });
        };
        if matches!(input.get(from), Some(b' ' | b'\t')) {
            // RFC3261§7.1 - no LWS in a start line, so no fold.
            return Err(Error::new(Reason::InvalidStartLine, from));
        }
        match self.lines.read(input, start, from)? {
            Block::Read(body) => Ok(Framed {
                start_line,
                body,
                unfolded: false,
            }),
            Block::Folded => self.frame_unfolded(input, start),
        }
    }

    #[cold]
    fn frame_unfolded(&mut self, input: &[u8], start: usize) -> Result<Framed, Error> {
        self.lines.clear();
        let body = self.unfolded.fill(input, start)?;
        let text = &self.unfolded.text;
        let first = lines::line_end(text, 0, &mut false)?;
        if let Err(error) = self.lines.read(text, 0, first.next.unwrap_or(text.len())) {
            return Err(self.locate(error, true));
        }
        Ok(Framed {
            start_line: Span::new(0, first.end),
            body,
            unfolded: true,
        })
    }

    /// An error whose offset is a position in the input.
    fn locate(&self, error: Error, unfolded: bool) -> Error {
        match unfolded {
            true => Error {
                offset: self.unfolded.origin(error.offset),
                ..error
            },
            false => error,
        }
    }

    #[inline(always)]
    fn typed(&mut self, input: &[u8], framed: &Framed) -> Result<(StartLine, Option<u32>), Error> {
        let text = if framed.unfolded {
            &self.unfolded.text
        } else {
            input
        };
        let start_line = start_line::parse(text, framed.start_line)?;
        self.tree.clear();
        let content_length = parse_headers(&mut self.lines, &mut self.tree, text)?;
        Ok((start_line, content_length))
    }

    /// Reads the headers once more, with blanks for the folds behind a `\`. In quotes these would escape something, so what
    /// was no element before is none now.
    #[cold]
    fn settled(
        &mut self,
        input: &[u8],
        framed: &Framed,
    ) -> Result<(StartLine, Option<u32>), Error> {
        let headers = &mut self.lines.headers;
        let read: Vec<bool> = headers
            .iter()
            .map(|header| header.items.is_some())
            .collect();
        headers.iter_mut().for_each(|header| header.items = None);
        self.unfolded.settle();
        let parts = self.typed(input, framed)?;
        for (header, read) in self.lines.headers.iter_mut().zip(read) {
            header.items = header.items.filter(|_| read);
        }
        Ok(parts)
    }

    /// The Content-Length of a header block, nothing else of it being judged but its lines.
    pub(crate) fn content_length(&mut self, head: &[u8]) -> Result<Option<u32>, Error> {
        let framed = self.frame(head)?;
        let text = if framed.unfolded {
            &self.unfolded.text
        } else {
            head
        };
        let id = HeaderId::CONTENT_LENGTH;
        let Some(header) = self
            .lines
            .headers
            .iter()
            .find(|header| header.id == Some(id))
        else {
            return Ok(None);
        };
        self.tree.clear();
        match parse_header(id.row(), self.lines.texts(), *header, text, &mut self.tree) {
            Ok(()) => Ok(integer(&self.tree.items)),
            Err(error) => Err(self.locate(
                Error {
                    header: Some(id),
                    ..error
                },
                framed.unfolded,
            )),
        }
    }

    /// Parses the values of one header of the table, given line by line, as a message's lines are parsed.
    ///
    /// ```
    /// use sip_parser::{HeaderId, Item, Parser};
    /// let mut parser = Parser::new();
    /// let values = parser.parse_values(HeaderId::EXPIRES, &[b"3600"]).unwrap();
    /// assert_eq!(values.items(), [Item::Integer(3600)]);
    /// ```
    pub fn parse_values<'a>(
        &'a mut self,
        id: HeaderId,
        values: &[&[u8]],
    ) -> Result<Values<'a>, Error> {
        self.unfolded.text.clear();
        self.tree.clear();
        if values.len() > 1 && id.row().repeat == Repeat::One {
            return Err(Error {
                reason: Reason::RepeatedHeader,
                header: Some(id),
                offset: 0,
            });
        }
        for value in values {
            let span = self.unfolded.append(value);
            shape::value(id.row(), &self.unfolded.text, span, &mut self.tree)
                .map_err(|fault| refusal(id, fault))?;
        }
        shape::check(id.row(), &self.tree, 0).map_err(|fault| refusal(id, fault))?;
        Ok(Values { parser: self })
    }

    /// Parses the values of one header of the table, given line by line, and returns its elements in order, each for
    /// itself. A header that may stand once, credentials and challenges have one element a line.
    ///
    /// ```
    /// use sip_parser::{Element, HeaderId, Item, Parser};
    /// let mut parser = Parser::new();
    /// let (values, elements) = parser.parse_each(HeaderId::ALLOW, &[b"INVITE, @, ACK"]);
    /// let Element::Bad(text, error) = elements[1] else { panic!() };
    /// assert_eq!((text.of(values.text()), error.offset), (&b"@"[..], 0));
    /// assert!(matches!(elements[2], Element::Good(Item::Token(_))));
    /// ```
    pub fn parse_each<'a>(
        &'a mut self,
        id: HeaderId,
        values: &[&[u8]],
    ) -> (Values<'a>, Vec<Element>) {
        self.unfolded.text.clear();
        self.tree.clear();
        let mut elements = Vec::new();
        let mut stars = Vec::new();
        for value in values {
            let span = self.unfolded.append(value);
            let text = &self.unfolded.text;
            shape::each(id.row(), text, span, &mut self.tree, &mut elements);
            if let Some(Each::Good(Item::Star)) = elements.last() {
                stars.push((elements.len() - 1, span.end as usize));
            }
        }
        // RFC3261§10.3 - `*` stands alone in a Contact.
        if elements.len() > 1 {
            for (index, end) in stars {
                elements[index] = Each::Bad(Span::new(end - 1, end), Fault::Malformed(end - 1));
            }
        }
        let elements = elements.into_iter().map(|element| match element {
            Each::Good(item) => Element::Good(item),
            Each::Bad(span, fault) => {
                let error = refusal(id, fault);
                // The fault may lie behind the comma that ends the element for all others.
                let offset = error.offset.saturating_sub(span.start as usize);
                let offset = offset.min(span.len());
                Element::Bad(span, Error { offset, ..error })
            }
        });
        let elements = elements.collect();
        (Values { parser: self }, elements)
    }
}

/// An element of a header, or the text of a malformed one with its error, whose offset counts from there.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Element {
    Good(Item),
    Bad(Span, Error),
}

/// Types all headers that the table types; gives the Content-Length.
fn parse_headers(lines: &mut Lines, tree: &mut Tree, text: &[u8]) -> Result<Option<u32>, Error> {
    let mut content_length = None;
    let (texts, headers) = lines.split();
    for header in headers {
        let row = match header.id {
            Some(id) if id.row().level != Level::Extension => id.row(),
            _ => {
                texts.check_raw(*header, text)?;
                continue;
            }
        };
        let mark = tree.mark();
        match parse_header(row, texts, *header, text, tree) {
            Ok(()) => {
                let items = tree.items_from(mark);
                header.items = Some(items);
                if header.id == Some(HeaderId::CONTENT_LENGTH) {
                    content_length = integer(tree.items_of(items));
                }
            }
            Err(error) if row.level == Level::Essential => {
                return Err(Error {
                    header: header.id,
                    ..error
                });
            }
            Err(_) => {
                tree.reset(mark);
                texts.check_raw(*header, text)?;
            }
        }
    }
    Ok(content_length)
}

#[inline]
fn parse_header(
    row: &Row,
    texts: Texts<'_>,
    header: Header,
    text: &[u8],
    tree: &mut Tree,
) -> Result<(), Error> {
    if row.repeat == Repeat::One
        && let Some(second) = texts.second(header)
    {
        return Err(Error::new(Reason::RepeatedHeader, second.start as usize));
    }
    let invalid = start_line::invalid(Reason::InvalidHeader);
    let first = tree.items.len();
    for value in texts.values(header) {
        shape::value(row, text, value, tree).map_err(&invalid)?;
    }
    shape::check(row, tree, first).map_err(&invalid)
}

fn refusal(id: HeaderId, fault: Fault) -> Error {
    Error {
        header: Some(id),
        ..start_line::invalid(Reason::InvalidHeader)(fault)
    }
}

fn integer(items: &[Item]) -> Option<u32> {
    match items {
        [Item::Integer(value)] => Some(*value),
        _ => None,
    }
}

/// RFC3261§18.3 - in a datagram the body has as many octets as Content-Length says, what follows is dropped;
/// without one it goes to the end.
fn body(
    input: &[u8],
    start: Option<usize>,
    content_length: Option<u32>,
) -> Result<(Option<&[u8]>, usize), Error> {
    let rest = start.map(|start| &input[start..]);
    let too_short = Error {
        reason: Reason::BodyTooShort,
        header: Some(HeaderId::CONTENT_LENGTH),
        offset: start.unwrap_or(input.len()),
    };
    match (rest, content_length) {
        (None, None | Some(0)) => Ok((None, input.len())),
        (None, Some(_)) => Err(too_short),
        (Some(rest), None) => Ok((Some(rest), input.len() - rest.len())),
        (Some(rest), Some(length)) => match rest.get(..length as usize) {
            Some(body) => Ok((Some(body), input.len() - rest.len())),
            None => Err(too_short),
        },
    }
}

impl<'a> Message<'a> {
    /// The text that all spans point into: the input, or a copy of its headers without folds.
    #[inline]
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// Whether [`Message::text`] is such a copy.
    #[inline]
    pub fn is_unfolded(&self) -> bool {
        self.unfolded
    }

    /// The first line.
    #[inline]
    pub fn start_line(&self) -> &StartLine {
        &self.start_line
    }

    /// The headers in the order in which their first lines stand.
    #[inline]
    pub fn headers(&self) -> &'a [Header] {
        &self.parser.lines.headers
    }

    /// The header of this row, if the message has it.
    pub fn header(&self, id: HeaderId) -> Option<&'a Header> {
        self.headers().iter().find(|header| header.id == Some(id))
    }

    /// The elements of a header, of all its lines in order; none where it is text: a header that the table
    /// does not type, or one of which a line is malformed.
    #[inline]
    pub fn items(&self, header: &Header) -> Option<&'a [Item]> {
        header.items.map(|range| self.parser.tree.items_of(range))
    }

    /// The raw values of a header's lines, in order.
    #[inline]
    pub fn values(&self, header: &Header) -> impl Iterator<Item = Span> + 'a {
        self.parser.lines.values(*header)
    }

    /// The parameters of an element.
    #[inline]
    pub fn params(&self, range: Range) -> &'a [Param] {
        self.parser.tree.params_of(range)
    }

    /// The URI of an element.
    #[inline]
    pub fn uri(&self, id: UriId) -> &'a Uri {
        self.parser.tree.uri(id)
    }

    /// The body; none where no blank line ends the headers.
    #[inline]
    pub fn body(&self) -> Option<&'a [u8]> {
        self.body
    }

    /// Octets of the input before the body.
    #[inline]
    pub fn body_offset(&self) -> usize {
        self.body_offset
    }
}

/// The parsed values of one header.
#[derive(Debug)]
pub struct Values<'a> {
    parser: &'a Parser,
}

impl<'a> Values<'a> {
    /// The text that the spans point into.
    pub fn text(&self) -> &'a [u8] {
        &self.parser.unfolded.text
    }

    /// The elements in order.
    pub fn items(&self) -> &'a [Item] {
        &self.parser.tree.items
    }

    /// The parameters of an element.
    pub fn params(&self, range: Range) -> &'a [Param] {
        self.parser.tree.params_of(range)
    }

    /// The URI of an element.
    pub fn uri(&self, id: UriId) -> &'a Uri {
        self.parser.tree.uri(id)
    }
}

/// Parses a URI that stands alone.
///
/// ```
/// let uri = sip_parser::parse_uri(b"sip:alice@atlanta.com;lr").unwrap();
/// assert_eq!(uri.host.of(b"sip:alice@atlanta.com;lr"), b"atlanta.com");
/// ```
pub fn parse_uri(text: &[u8]) -> Result<Uri, Error> {
    if text.len() > limits::HEADERS_BYTES {
        return Err(Error::new(Reason::InvalidUri, limits::HEADERS_BYTES));
    }
    let parsed: Parsed<Uri> = uri::whole(&mut crate::cursor::Cursor::new(
        text,
        Span::new(0, text.len()),
    ));
    parsed.map_err(start_line::invalid(Reason::InvalidUri))
}

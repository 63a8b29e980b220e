//! What can be wrong with a message.

use crate::table::HeaderId;
use core::fmt;

/// Why a message was refused: the closed set of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Nothing but line ends.
    EmptyMessage,
    /// Neither a request line nor a status line (RFC 3261 §7.1, §7.2).
    InvalidStartLine,
    /// The Request-URI is no URI.
    InvalidRequestUri,
    /// The Request-URI has over [`crate::limits::REQUEST_URI_BYTES`] octets.
    RequestUriTooLong,
    /// The status code is not three digits from 100 to 699.
    InvalidStatusCode,
    /// A header line without a name or a colon (RFC 3261 §7.3.1).
    InvalidHeaderLine,
    /// A CR that ends no line, or a NUL, in the start line or a header.
    ControlCharacter,
    /// The value of an essential header does not follow its grammar.
    InvalidHeader,
    /// A header that may stand once stands twice.
    RepeatedHeader,
    /// Fewer octets follow the blank line than Content-Length says (RFC 3261 §18.3).
    BodyTooShort,
    /// A message on a stream without Content-Length (RFC 3261 §18.3).
    MissingContentLength,
    /// Over [`crate::limits::MESSAGE_BYTES`].
    MessageTooLarge,
    /// Over [`crate::limits::HEADERS_BYTES`].
    HeadersTooLarge,
    /// Over [`crate::limits::HEADER_LINES`].
    TooManyHeaders,
    /// Over [`crate::limits::NODES`].
    TooManyElements,
    /// A URI that was given alone is none.
    InvalidUri,
}

impl Reason {
    /// Every reason, for tables on the other side of a border.
    pub const ALL: [Reason; 16] = [
        Reason::EmptyMessage,
        Reason::InvalidStartLine,
        Reason::InvalidRequestUri,
        Reason::RequestUriTooLong,
        Reason::InvalidStatusCode,
        Reason::InvalidHeaderLine,
        Reason::ControlCharacter,
        Reason::InvalidHeader,
        Reason::RepeatedHeader,
        Reason::BodyTooShort,
        Reason::MissingContentLength,
        Reason::MessageTooLarge,
        Reason::HeadersTooLarge,
        Reason::TooManyHeaders,
        Reason::TooManyElements,
        Reason::InvalidUri,
    ];

    /// The name in lower case with underscores.
    pub fn name(self) -> &'static str {
        match self {
            Reason::EmptyMessage => "empty_message",
            Reason::InvalidStartLine => "invalid_start_line",
            Reason::InvalidRequestUri => "invalid_request_uri",
            Reason::RequestUriTooLong => "request_uri_too_long",
            Reason::InvalidStatusCode => "invalid_status_code",
            Reason::InvalidHeaderLine => "invalid_header_line",
            Reason::ControlCharacter => "control_character",
            Reason::InvalidHeader => "invalid_header",
            Reason::RepeatedHeader => "repeated_header",
            Reason::BodyTooShort => "body_too_short",
            Reason::MissingContentLength => "missing_content_length",
            Reason::MessageTooLarge => "message_too_large",
            Reason::HeadersTooLarge => "headers_too_large",
            Reason::TooManyHeaders => "too_many_headers",
            Reason::TooManyElements => "too_many_elements",
            Reason::InvalidUri => "invalid_uri",
        }
    }
}

/// A refusal: why, in which header, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// Why.
    pub reason: Reason,
    /// The header at fault, where it is one of the table's.
    pub header: Option<HeaderId>,
    /// Octets before the fault, from the start of what was given to the parser.
    pub offset: usize,
}

impl Error {
    pub(crate) fn new(reason: Reason, offset: usize) -> Error {
        Error {
            reason,
            header: None,
            offset,
        }
    }

    /// The line of the fault in `input`, counted from 1.
    pub fn line(&self, input: &[u8]) -> usize {
        let before = &input[..self.offset.min(input.len())];
        1 + memchr::memchr_iter(b'\n', before).count()
    }

    /// The text from the fault to its line's end, at most `length` octets of it.
    pub fn excerpt<'a>(&self, input: &'a [u8], length: usize) -> &'a [u8] {
        let rest = &input[self.offset.min(input.len())..];
        let end = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        &rest[..end.min(length)]
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} at octet {}",
            self.reason.name().replace('_', " "),
            self.offset
        )?;
        match self.header {
            Some(header) => write!(out, " ({})", header.row().name),
            None => Ok(()),
        }
    }
}

impl core::error::Error for Error {}

/// What stops the parser of one header: the caller knows whether that refuses the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The text at this offset is not what the grammar wants.
    Malformed(usize),
    /// The message has more elements and parameters than allowed.
    TooManyElements(usize),
}

pub(crate) type Parsed<T> = Result<T, Fault>;

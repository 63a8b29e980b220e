//! SIP messages (RFC 3261): bytes to a borrowed syntax tree.
//!
//! A [`Parser`] reads one datagram into a [`Message`]: the start line, every header that the table
//! ([`ROWS`]) types, the raw text of all others, and the body. The tree borrows the input; only folded
//! headers are copied, once, without their folds. An ordinary message is parsed without the heap, and the
//! time is linear in the input, whatever the input.
//!
//! ```
//! use sip_parser::{HeaderId, Item, Parser, StartLine};
//!
//! let input = b"INVITE sip:bob@biloxi.com SIP/2.0\r\n\
//!     v: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK776asdhds\r\n\
//!     CSeq: 314159 INVITE\r\n\r\n";
//! let mut parser = Parser::new();
//! let message = parser.parse(input)?;
//! let StartLine::Request { method, uri, .. } = message.start_line() else { panic!() };
//! assert_eq!(method.of(message.text()), b"INVITE");
//! assert_eq!(uri.host.of(message.text()), b"biloxi.com");
//! let via = message.header(HeaderId::VIA).and_then(|header| message.items(header)).unwrap();
//! let Item::Via(via) = via[0] else { panic!() };
//! let branch = &message.params(via.params)[0];
//! assert_eq!(branch.value.span.of(message.text()), b"z9hG4bK776asdhds");
//! # Ok::<(), sip_parser::Error>(())
//! ```
//!
//! A malformed value refuses the message only where the message cannot do without it ([`Level`]);
//! elsewhere the header is given as text. A refusal ([`Error`]) says why, in which header and where, and
//! [`salvage`] finds what an answer to the refused request must copy.
//!
//! Streams are cut by [`frame`].
#![forbid(unsafe_code)]

// The tests of the shapes and those in `tests/` print trees by the same code.
#[cfg(test)]
extern crate self as sip_parser;

mod chars;
mod cursor;
mod error;
mod fold;
mod frame;
pub mod limits;
mod lines;
mod message;
mod names;
mod params;
mod salvage;
mod shape;
mod simd;
mod start_line;
mod table;
mod tree;
mod uri;

pub use chars::Class;
pub use error::{Error, Reason};
pub use frame::{Frame, Resume, frame};
pub use lines::Header;
pub use message::{Element, Message, Parser, Values, parse_uri};
pub use names::{
    METHODS, NAMES_HASH, PROTOCOLS, Protocol, SIP_PORT, SIPS_PORT, find_method, find_protocol,
};
pub use salvage::{Salvage, salvage};
pub use start_line::StartLine;
pub use table::{HeaderId, Level, ROW_COUNT, ROWS, Repeat, Row, Shape, TABLE_HASH};
pub use tree::{Date, Item, Method, Param, Range, Span, Text, Uri, UriId, UriKind, Via, unescape};

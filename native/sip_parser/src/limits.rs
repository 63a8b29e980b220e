//! How much of anything a message may have.

/// Octets of a whole message: a stream's reader need never buffer more. The largest UDP datagram has
/// 65,507; bodies that come over streams (MIME, PIDF) seldom pass 100 KB.
pub const MESSAGE_BYTES: usize = 1 << 20;

/// Octets from the start line to the blank line: no header block that fits a datagram is refused.
pub const HEADERS_BYTES: usize = 65_535;

/// Header lines. Max-Forwards allows 255 hops, a Via, Route and Record-Route each.
pub const HEADER_LINES: usize = 4_096;

/// Elements and parameters of all typed headers together, a URI counting for two: real messages have under two hundred,
/// and a thousand Vias with three parameters each make four thousand. It bounds what a datagram costs its reader, who
/// makes of six octets (`<a:b>,`) a structure of some three hundred.
pub const NODES: usize = 4_096;

/// Octets of a Request-URI; over it a server answers 414 (RFC 3261 §21.4.12). RFC 9110 §4.1 asks
/// for 8,000 of a URI on the HTTP side.
pub const REQUEST_URI_BYTES: usize = 8_192;

/// Malformed elements of a line that [`crate::Parser::parse_each`] tells apart; behind them the rest is one.
pub const SEPARATE_ELEMENTS: usize = 256;

//! RFC 3261 messages: bytes to a borrowed syntax tree.
#![forbid(unsafe_code)]

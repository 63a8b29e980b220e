//! The torture messages of RFC 4475 and RFC 5118: what each must yield, whole.
//!
//! The first line, then each header in order, then the octets of the body. A header that is given as text
//! has a `=` behind its name.

#[path = "../common/mod.rs"]
mod common;

mod extra;
mod invalid;
mod ipv6;
mod special;
mod valid;

use sip_parser::{Parser, StartLine};

/// The components of a request's URI.
#[track_caller]
fn request_uri(name: &str, expected: &str) {
    let input = common::fixture(name);
    let mut parser = Parser::new();
    let message = parser.parse(&input).expect(name);
    let StartLine::Request { uri, .. } = message.start_line() else {
        panic!("{name} is a response");
    };
    let parts = common::show::uri_parts(message.text(), uri);
    assert_eq!(parts, expected, "{name}");
}

#[test]
fn every_message_of_the_archives_has_its_test() {
    let sources = concat!(
        include_str!("valid.rs"),
        include_str!("invalid.rs"),
        include_str!("special.rs"),
        include_str!("extra.rs"),
        include_str!("ipv6.rs")
    );
    for folder in ["rfc4475", "rfc4475-extra", "rfc5118"] {
        for name in common::fixtures(folder) {
            assert!(sources.contains(&format!("{name:?}")), "{name}");
        }
    }
}

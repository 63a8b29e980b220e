//! The malformed patterns of `test/fixtures/bad`, by the verdict that `PATTERNS.tsv` gives each.

mod common;

use common::{Shown, fixture, parse, project};
use sip_parser::{Error, Reason};
use std::fs;

/// Rejected by a layer above: each header is well formed, or missing, which the parser does not judge.
const LEFT_TO_VALIDATION: [&str; 6] = [
    "cseq-long-method-no-branch",
    "missing-callid",
    "missing-cseq",
    "missing-from",
    "missing-to",
    "start-line-only",
];

/// No SIP: it never comes to the parser, which would refuse it.
const NOT_SIP: [&str; 1] = ["stun-binding"];

struct Pattern {
    name: String,
    verdict: String,
}

fn patterns() -> Vec<Pattern> {
    let table = fs::read_to_string(project().join("test/fixtures/bad/PATTERNS.tsv")).unwrap();
    let patterns: Vec<Pattern> = table
        .lines()
        .skip(1)
        .map(|row| {
            let columns: Vec<&str> = row.split('\t').collect();
            Pattern {
                name: columns[0].trim_end_matches(".dat").to_owned(),
                verdict: columns[3].to_owned(),
            }
        })
        .collect();
    assert!(patterns.len() > 90);
    patterns
}

fn with_verdict(verdict: &str) -> impl Iterator<Item = (String, Result<Shown, Error>)> {
    patterns()
        .into_iter()
        .filter(move |pattern| pattern.verdict == verdict)
        .map(|pattern| {
            let found = parse(&fixture(&format!("bad/{}", pattern.name)));
            (pattern.name, found)
        })
}

#[test]
fn rejected() {
    for (name, found) in with_verdict("reject") {
        let left = LEFT_TO_VALIDATION.contains(&name.as_str());
        assert_eq!(found.is_ok(), left, "{name}: {found:?}");
    }
}

#[test]
fn accepted() {
    for (name, found) in with_verdict("accept") {
        let other = NOT_SIP.contains(&name.as_str());
        assert_eq!(found.is_err(), other, "{name}: {found:?}");
    }
}

/// The header at fault is given as text.
#[test]
fn degraded() {
    let faults = [
        (
            "auth-digest-truncated",
            "Authorization = Digest a a=\"\",real",
        ),
        ("contact-star-and-uri", "Contact = "),
        ("event-empty", "Event = "),
        ("expires-negative", "Expires = -1"),
    ];
    for (name, found) in with_verdict("field-error") {
        let (_, header) = faults
            .iter()
            .find(|(fault, _)| *fault == name)
            .expect(&name);
        let headers = found.expect(&name).headers;
        assert!(
            headers.iter().any(|h| h.starts_with(header)),
            "{name}: {headers:?}"
        );
    }
}

/// Where either is right, these are refused and all others taken.
#[test]
fn decided() {
    let refused = [
        ("multipart-nul-boundary", Reason::ControlCharacter),
        ("header-10000", Reason::TooManyHeaders),
        ("header-value-1mb", Reason::MessageTooLarge),
        ("header-value-nul", Reason::ControlCharacter),
        ("sl-method-65536", Reason::HeadersTooLarge),
        ("sl-uri-ipv6-zone", Reason::InvalidRequestUri),
        ("cl-dup-same", Reason::RepeatedHeader),
    ];
    for (name, found) in with_verdict("either") {
        let expected = refused.iter().find(|(refused, _)| *refused == name);
        let reason = found.err().map(|error| error.reason);
        assert_eq!(reason, expected.map(|(_, reason)| *reason), "{name}");
    }
}

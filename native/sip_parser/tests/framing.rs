//! Where messages end on a stream (RFC 3261 §18.3), however the stream is cut into pieces.

mod common;

use common::{fixture, fixtures, frame_whole, parse};
use sip_parser::{Error, Frame, HeaderId, Reason, Resume, frame, limits};

const FOLDERS: [&str; 7] = [
    "rfc4475",
    "rfc4475-extra",
    "rfc5118",
    "rfc5118-wire",
    "rfc5118-wire-cl",
    "rfc6216-cl",
    "clients",
];

fn message(headers: &str, body: &str) -> Vec<u8> {
    format!("BYE sip:h SIP/2.0\r\n{headers}\r\n{body}").into_bytes()
}

fn resume(framed: Result<Frame, Error>) -> Resume {
    match framed {
        Ok(Frame::Partial(resume)) => resume,
        other => panic!("{other:?}"),
    }
}

/// What is known of a message of which `octets` have come, by what the whole is.
fn agrees(cut: &Result<Frame, Error>, whole: &Result<Frame, Error>, octets: usize) -> bool {
    match (cut, whole) {
        (Ok(Frame::Complete(cut)), Ok(Frame::Complete(whole))) => cut == whole && octets >= *whole,
        (Ok(Frame::Partial(_)), Ok(Frame::Complete(whole))) => octets < *whole,
        (Ok(Frame::Partial(_)), Ok(Frame::Partial(_)) | Err(_)) => true,
        (Err(cut), Err(whole)) => cut == whole,
        _ => false,
    }
}

/// Feeds the message octet by octet, each look beginning where the last one ended, and looks anew
/// now and then.
fn cut_everywhere(name: &str, input: &[u8]) {
    let whole = frame_whole(input);
    let mut last = Resume::default();
    for octets in 0..=input.len() {
        let resumed = frame(&input[..octets], last);
        assert!(
            agrees(&resumed, &whole, octets),
            "{name}: {octets}: {resumed:?}"
        );
        // A fresh look at every octet of a long body would tell nothing new.
        if last.total == 0 || octets % 16 == 0 {
            let fresh = frame(&input[..octets], Resume::default());
            assert_eq!(fresh, resumed, "{name}: {octets}");
        }
        match resumed {
            Ok(Frame::Partial(next)) => {
                assert_eq!(next.scanned as usize, octets);
                last = next;
            }
            _ => break,
        }
    }
}

#[test]
fn every_message_cut_at_every_octet() {
    for name in FOLDERS.iter().flat_map(|folder| fixtures(folder)) {
        cut_everywhere(&name, &fixture(&name));
    }
}

#[test]
fn a_complete_message_parses_as_the_whole_does() {
    for name in FOLDERS.iter().flat_map(|folder| fixtures(folder)) {
        let input = fixture(&name);
        if let (Ok(Frame::Complete(octets)), Ok(whole)) = (frame_whole(&input), parse(&input)) {
            assert_eq!(parse(&input[..octets]), Ok(whole), "{name}");
        }
    }
}

#[test]
fn rfc3261_18_3_two_messages_in_one_buffer() {
    let input = fixture("rfc4475/dblreq");
    let Ok(Frame::Complete(first)) = frame_whole(&input) else {
        panic!("no message");
    };
    assert_eq!(input.len() - first, 450);
    let Ok(Frame::Complete(second)) = frame_whole(&input[first..]) else {
        panic!("no second message");
    };
    // RFC4475§3.1.1.8 - the blank in its "m =video" makes the SDP an octet longer than was declared.
    assert_eq!(&input[first + second..], b"C\r\n\r\n");
    let invite = parse(&input[first..]).unwrap();
    assert_eq!(invite.start, "INVITE sip:joe@example.com 2.0");
    assert_eq!(invite.body.unwrap().len(), 150);
}

#[test]
fn every_two_clients_messages_are_cut_apart() {
    for pair in fixtures("clients").windows(2) {
        let (one, other) = (fixture(&pair[0]), fixture(&pair[1]));
        let (Ok(Frame::Complete(first)), Ok(Frame::Complete(second))) =
            (frame_whole(&one), frame_whole(&other))
        else {
            continue;
        };
        let buffer = [&one[..first], &other[..second]].concat();
        assert_eq!(frame_whole(&buffer), Ok(Frame::Complete(first)), "{pair:?}");
        assert_eq!(
            frame_whole(&buffer[first..]),
            Ok(Frame::Complete(second)),
            "{pair:?}"
        );
    }
}

#[test]
fn rfc3261_20_14_content_length_in_every_spelling() {
    for headers in [
        "Content-Length: 3\r\n",
        "l:3\r\n",
        "L \t:\t003 \r\n",
        "CONTENT-LENGTH:\r\n 3\r\n",
        "Via: no via at all\r\nl: 3\r\nX: y\r\n",
        "l: 3\nX: y\n",
    ] {
        let input = message(headers, "abcdef");
        let end = input.len() - 3;
        assert_eq!(frame_whole(&input), Ok(Frame::Complete(end)), "{headers:?}");
        cut_everywhere(headers, &input);
    }
}

#[test]
fn rfc3261_18_3_a_stream_wants_content_length() {
    let input = message("Via: SIP/2.0/TCP h\r\n", "body");
    let error = frame_whole(&input).unwrap_err();
    assert_eq!(error.reason, Reason::MissingContentLength);
    assert_eq!(error.header, Some(HeaderId::CONTENT_LENGTH));
    assert_eq!(error.offset, input.len() - 4);
    for (headers, reason) in [
        ("", Reason::MissingContentLength),
        ("XContent-Length: 1\r\n", Reason::MissingContentLength),
        ("l: -1\r\n", Reason::InvalidHeader),
        ("l: 1, 1\r\n", Reason::InvalidHeader),
        ("l: 99999999999\r\n", Reason::InvalidHeader),
        ("l:\r\n", Reason::InvalidHeader),
        ("l: 1\r\nContent-Length: 1\r\n", Reason::RepeatedHeader),
        ("no colon\r\nl: 0\r\n", Reason::InvalidHeaderLine),
        ("X: a\rb\r\nl: 0\r\n", Reason::ControlCharacter),
    ] {
        let error = frame_whole(&message(headers, "body")).unwrap_err();
        assert_eq!(error.reason, reason, "{headers:?}");
    }
}

#[test]
fn rfc4475_on_a_stream() {
    for (name, reason) in [
        ("rfc4475/ncl", Reason::InvalidHeader),
        ("rfc4475/mcl01", Reason::RepeatedHeader),
        ("rfc4475/inv2543", Reason::MissingContentLength),
    ] {
        assert_eq!(
            frame_whole(&fixture(name)).unwrap_err().reason,
            reason,
            "{name}"
        );
    }
    // It declares 9999 octets: they may yet come.
    let clerr = fixture("rfc4475/clerr");
    let head = clerr
        .windows(4)
        .position(|octets| octets == b"\r\n\r\n")
        .unwrap()
        + 4;
    assert_eq!(resume(frame_whole(&clerr)).total as usize, head + 9999);
}

#[test]
fn rfc3261_7_5_line_ends_before_a_message() {
    let quiet = message("l: 0\r\n", "");
    for ends in ["\r\n", "\r\n\r\n", "\n\n\n", "\r\n\r\n\r\n\r\n\r\n"] {
        let input = [ends.as_bytes(), &quiet].concat();
        assert_eq!(
            frame_whole(&input),
            Ok(Frame::Complete(input.len())),
            "{ends:?}"
        );
        cut_everywhere(ends, &input);
        // Line ends alone are no message, and no error.
        let only = resume(frame_whole(ends.as_bytes()));
        assert_eq!(
            (only.start as usize, only.total),
            (ends.len(), 0),
            "{ends:?}"
        );
    }
    assert_eq!(resume(frame_whole(b"")), Resume::default());
}

#[test]
fn the_blank_line_may_come_in_pieces() {
    for end in ["\r\n\r\n", "\n\n", "\r\n\n", "\n\r\n"] {
        let input = format!("BYE sip:h SIP/2.0\r\nl: 0{end}").into_bytes();
        cut_everywhere(end, &input);
        assert_eq!(
            frame_whole(&input),
            Ok(Frame::Complete(input.len())),
            "{end:?}"
        );
    }
}

/// What was scanned may be overwritten by what would end the headers at once, and nobody notices.
#[test]
fn no_octet_is_read_again() {
    let mut buffer = message("X: y\r\nl: 0\r\n", "");
    buffer.truncate(buffer.len() - 2);
    let last = resume(frame_whole(&buffer));
    assert_eq!(last.scanned as usize, buffer.len());
    let scanned = buffer.len() - 2;
    buffer[1..scanned].fill(b'\n');
    buffer.extend_from_slice(b"Y: z");
    assert_eq!(resume(frame(&buffer, last)).scanned as usize, buffer.len());
    assert!(frame_whole(&buffer).is_err());
}

#[test]
fn no_line_end_before_a_message_is_read_again() {
    let mut buffer = b"\r\n".repeat(100);
    let last = resume(frame_whole(&buffer));
    assert_eq!((last.start, last.scanned), (200, 200));
    buffer.fill(b'x');
    buffer.extend_from_slice(b"\r\n");
    let next = resume(frame(&buffer, last));
    assert_eq!((next.start, next.scanned), (202, 202));
}

/// Once the headers are there, they are not read again either.
#[test]
fn a_body_is_only_counted() {
    let mut buffer = message("l: 100\r\n", "begun");
    let last = resume(frame_whole(&buffer));
    assert_eq!(last.total as usize, buffer.len() + 95);
    buffer.fill(b'\n');
    assert_eq!(resume(frame(&buffer, last)).total, last.total);
    buffer.resize(last.total as usize + 1, 0);
    assert_eq!(
        frame(&buffer, last),
        Ok(Frame::Complete(last.total as usize))
    );
}

#[test]
fn a_stale_resume_is_no_panic() {
    let last = resume(frame_whole(&message("X: y\r\n", "")[..20]));
    assert!(frame(b"", last).is_ok() && frame(b"BYE", last).is_ok());
    let ends = resume(frame_whole(b"\r\n\r\n\r\n"));
    assert!(frame(b"\r\n", ends).is_ok());
}

/// A message whose last header line ends `octets` behind its beginning.
fn with_headers_of(octets: usize) -> Vec<u8> {
    let mut input = b"BYE sip:h SIP/2.0\r\nl: 0\r\nX: ".to_vec();
    input.resize(octets, b'x');
    input.extend_from_slice(b"\r\n\r\n");
    input
}

#[test]
fn headers_up_to_the_limit_in_all_pieces() {
    let input = with_headers_of(limits::HEADERS_BYTES);
    let whole = frame_whole(&input);
    assert_eq!(whole, Ok(Frame::Complete(input.len())));
    for octets in input.len() - 8..=input.len() {
        let cut = frame_whole(&input[..octets]);
        assert!(agrees(&cut, &whole, octets), "{octets}: {cut:?}");
    }
    assert!(parse(&input).is_ok());
    let input = with_headers_of(limits::HEADERS_BYTES + 1);
    assert_eq!(
        frame_whole(&input).unwrap_err().reason,
        Reason::HeadersTooLarge
    );
    assert_eq!(parse(&input).unwrap_err().reason, Reason::HeadersTooLarge);
}

#[test]
fn headers_without_an_end() {
    let mut input = b"\r\n\r\n".to_vec();
    input.resize(4 + limits::HEADERS_BYTES + 3, b'x');
    assert!(frame_whole(&input).is_ok());
    input.push(b'x');
    let error = frame_whole(&input).unwrap_err();
    assert_eq!(
        (error.reason, error.offset),
        (Reason::HeadersTooLarge, 4 + limits::HEADERS_BYTES)
    );
}

#[test]
fn a_message_up_to_the_limit() {
    let head = message("l: 9999999\r\n", "").len();
    let length = limits::MESSAGE_BYTES - head;
    let framed = frame_whole(&message(&format!("l: {length:07}\r\n"), ""));
    assert_eq!(resume(framed).total as usize, limits::MESSAGE_BYTES);
    for length in [length + 1, u32::MAX as usize] {
        let framed = frame_whole(&message(&format!("l: {length:07}\r\n"), ""));
        assert_eq!(
            framed.unwrap_err().reason,
            Reason::MessageTooLarge,
            "{length}"
        );
    }
}

/// However much of the body has come with the headers.
#[test]
fn what_is_too_large_is_so_at_one_octet() {
    let head = message("l: 999999999\r\n", "");
    for body in ["", "a", "body"] {
        let error = frame_whole(&[&head, body.as_bytes()].concat()).unwrap_err();
        assert_eq!(
            (error.reason, error.offset),
            (Reason::MessageTooLarge, head.len()),
            "{body}"
        );
    }
}

#[test]
fn line_ends_without_a_message() {
    let ends = b"\n".repeat(limits::MESSAGE_BYTES + 1);
    assert!(frame_whole(&ends[1..]).is_ok());
    assert_eq!(
        frame_whole(&ends).unwrap_err().reason,
        Reason::MessageTooLarge
    );
}

//! What is compared. Each parses a whole message and types the headers that the message's own parser leaves as text,
//! so far as it has a type for them, one value for each header line as the crates' own accessors do it.

use std::cell::RefCell;
use std::hint::black_box;

/// One parser.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    /// The input that it is to be timed on; the message itself, but for httparse.
    pub(crate) prepare: fn(&[u8]) -> Vec<u8>,
    /// Parses, and gives a number that depends on the result; none where the message is refused.
    pub(crate) parse: fn(&[u8]) -> Option<u64>,
}

impl Subject {
    /// Whether it does not refuse the message.
    pub(crate) fn takes(&self, message: &[u8]) -> bool {
        (self.parse)(&(self.prepare)(message)).is_some()
    }
}

/// Ours and the crates that parse SIP come first.
pub(crate) static SUBJECTS: &[Subject] = &[
    Subject {
        name: "ours",
        prepare: whole,
        parse: crate::ours::parse,
    },
    Subject {
        name: "rsip",
        prepare: whole,
        parse: rsip,
    },
    Subject {
        name: "rsipstack",
        prepare: whole,
        parse: rsipstack,
    },
    Subject {
        name: "httparse",
        prepare: as_http,
        parse: httparse,
    },
    Subject {
        name: "copy",
        prepare: whole,
        parse: copy,
    },
    #[cfg(feature = "c")]
    Subject {
        name: "libosip2",
        prepare: whole,
        parse: c::osip2,
    },
    #[cfg(feature = "c")]
    Subject {
        name: "sofia-sip",
        prepare: whole,
        parse: c::sofia,
    },
];

fn whole(message: &[u8]) -> Vec<u8> {
    message.to_vec()
}

/// Counts typed values; a value that does not type is left as text, as ours does it.
fn typed<T, E>(count: &mut u64, value: Result<T, E>) {
    if let Ok(value) = value {
        black_box(value);
        *count += 1;
    }
}

fn rsip(message: &[u8]) -> Option<u64> {
    use rsip::Header;
    use rsip::headers::ToTypedHeader;
    let headers = match rsip::SipMessage::try_from(message).ok()? {
        rsip::SipMessage::Request(request) => {
            black_box((
                &request.method,
                &request.uri,
                &request.version,
                &request.body,
            ));
            request.headers
        }
        rsip::SipMessage::Response(response) => {
            black_box((&response.status_code, &response.version, &response.body));
            response.headers
        }
    };
    let mut count = 0;
    for header in headers {
        let count = &mut count;
        match header {
            Header::Accept(value) => typed(count, value.into_typed()),
            Header::AlertInfo(value) => typed(count, value.into_typed()),
            Header::Allow(value) => typed(count, value.into_typed()),
            Header::AuthenticationInfo(value) => typed(count, value.into_typed()),
            Header::Authorization(value) => typed(count, value.into_typed()),
            Header::CallInfo(value) => typed(count, value.into_typed()),
            Header::Contact(value) => typed(count, value.into_typed()),
            Header::ContentDisposition(value) => typed(count, value.into_typed()),
            Header::ContentLength(value) => typed(count, value.length()),
            Header::ContentType(value) => typed(count, value.into_typed()),
            Header::CSeq(value) => typed(count, value.into_typed()),
            Header::ErrorInfo(value) => typed(count, value.into_typed()),
            Header::Expires(value) => typed(count, value.seconds()),
            Header::From(value) => typed(count, value.into_typed()),
            Header::InReplyTo(value) => typed(count, value.into_typed()),
            Header::MaxForwards(value) => typed(count, value.num()),
            Header::MinExpires(value) => typed(count, value.seconds()),
            Header::Priority(value) => typed(count, value.into_typed()),
            Header::ProxyAuthenticate(value) => typed(count, value.into_typed()),
            Header::ProxyAuthorization(value) => typed(count, value.into_typed()),
            Header::RecordRoute(value) => typed(count, value.into_typed()),
            Header::ReplyTo(value) => typed(count, value.into_typed()),
            Header::Route(value) => typed(count, value.into_typed()),
            Header::To(value) => typed(count, value.into_typed()),
            Header::Via(value) => typed(count, value.into_typed()),
            Header::Warning(value) => typed(count, value.into_typed()),
            Header::WwwAuthenticate(value) => typed(count, value.into_typed()),
            other => drop(black_box(other)),
        }
    }
    Some(count)
}

fn rsipstack(message: &[u8]) -> Option<u64> {
    use rsipstack::sip::{self, Header, typed as form};
    let parsed = sip::parser::parse_message(message).ok()?;
    let mut count = 0;
    for header in sip::HasHeaders::headers(&parsed).iter() {
        let count = &mut count;
        let text = header.value();
        match header {
            Header::Allow(_) => typed(count, form::Allow::parse(text)),
            Header::Authorization(_) => typed(count, form::Authorization::parse(text)),
            Header::Contact(_) => typed(count, form::Contact::parse_header_list(text)),
            Header::ContentLength(_) | Header::Expires(_) => typed(count, text.parse::<u32>()),
            Header::CSeq(_) => typed(count, form::CSeq::parse(text)),
            Header::From(_) => typed(count, form::From::parse(text)),
            Header::MaxForwards(_) | Header::MinExpires(_) => typed(count, text.parse::<u32>()),
            Header::ProxyAuthenticate(_) => typed(count, form::ProxyAuthenticate::parse(text)),
            Header::ProxyAuthorization(_) => typed(count, form::ProxyAuthorization::parse(text)),
            Header::RecordRoute(_) => typed(count, form::RecordRoute::parse_header_list(text)),
            Header::Route(_) => typed(count, form::Route::parse_header_list(text)),
            Header::To(_) => typed(count, form::To::parse(text)),
            Header::Via(_) => typed(count, form::Via::parse(text)),
            Header::WwwAuthenticate(_) => typed(count, form::WwwAuthenticate::parse(text)),
            _ => {}
        }
    }
    black_box(&parsed);
    Some(count)
}

/// The header block behind a start line of HTTP, without the body.
fn as_http(message: &[u8]) -> Vec<u8> {
    let line = message
        .iter()
        .position(|octet| *octet == b'\n')
        .map_or(0, |at| at + 1);
    let end = message.windows(4).position(|four| four == b"\r\n\r\n");
    let block = &message[line..end.map_or(message.len(), |at| at + 4).max(line)];
    [b"GET / HTTP/1.1\r\n", block].concat()
}

fn httparse(input: &[u8]) -> Option<u64> {
    let mut headers = [httparse::EMPTY_HEADER; 96];
    let mut request = httparse::Request::new(&mut headers);
    let status = request.parse(input).ok()?;
    black_box(&request);
    status.is_complete().then_some(request.headers.len() as u64)
}

fn copy(message: &[u8]) -> Option<u64> {
    thread_local! {
        static TARGET: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    TARGET.with_borrow_mut(|target| {
        target.clear();
        target.extend_from_slice(message);
        black_box(target);
    });
    Some(0)
}

/// `c/parsers.c`
#[cfg(feature = "c")]
mod c {
    use std::ffi::{c_char, c_long};

    unsafe extern "C" {
        fn osip2_parse(octets: *const c_char, length: usize) -> c_long;
        fn sofia_parse(octets: *const c_char, length: usize) -> c_long;
    }

    pub(super) fn osip2(message: &[u8]) -> Option<u64> {
        // SAFETY: it reads so many octets from there, keeps none, and no other thread calls it.
        u64::try_from(unsafe { osip2_parse(message.as_ptr().cast(), message.len()) }).ok()
    }

    pub(super) fn sofia(message: &[u8]) -> Option<u64> {
        // SAFETY: as above.
        u64::try_from(unsafe { sofia_parse(message.as_ptr().cast(), message.len()) }).ok()
    }
}

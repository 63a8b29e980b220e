//! A URI as text. Its authority stands in the struct twice: as it was written, and in three fields that users change.
//! As long as both say the same it is printed as written; that keeps an explicit default port, which
//! RFC3261§19.1.4 takes for another URI than none.
//!
//! What nearly all URIs are made of is looked over as it is printed. Where there is anything else, escapes among it,
//! the parser reads what was printed, and must find the same components.

use super::host::{is_address, is_name};
use super::{Place, Printed, Printer, Stopped, Wanted};
use crate::term::Raw;
use sip_parser::{Class, HeaderId, Item, Parser, Span, StartLine, Uri, UriKind};

const A_URI: &str = "a URI";

/// Octets that end a user part, or mean something else in it, whoever reads it.
const NEVER_A_USER: &[u8] = b"@<>\"[]\\%";

/// The fields of the struct that the authority is made of.
struct Authority<'a> {
    authority: Raw<'a>,
    userinfo: Raw<'a>,
    host: Raw<'a>,
    port: Raw<'a>,
}

/// Whether a component is one of those that need no second look.
type Usual = Result<bool, Stopped>;

/// Where a printed URI and its components begin in the printer's text.
struct Places {
    start: usize,
    authority: usize,
    parameters: usize,
    headers: usize,
}

impl<'a> Printer<'a> {
    /// A `Sippet.URI`; one that the parser would not read back as this one is refused.
    pub(super) fn uri(&mut self, uri: Raw<'a>) -> Printed {
        let context = self.place;
        self.at(A_URI, |printer| printer.whole_uri(uri, context))
    }

    fn whole_uri(&mut self, uri: Raw<'a>, context: Place<'a>) -> Printed {
        let Some(
            [
                _,
                scheme,
                userinfo,
                authority,
                parameters,
                headers,
                host,
                port,
            ],
        ) = self.atoms.uri.fields(self.make, uri)
        else {
            return self.refuse(Wanted::Words(A_URI), uri);
        };
        let parts = Authority {
            authority,
            userinfo,
            host,
            port,
        };
        let start = self.out.len();
        let kind = self.scheme(scheme)?;
        let [parameter, header] = match kind {
            UriKind::Sip | UriKind::Sips => [Class::URI_PARAM, Class::URI_HEADER],
            UriKind::Tel | UriKind::Other => [Class::URIC; 2],
        };
        let mut places = Places {
            start,
            authority: self.out.len(),
            parameters: 0,
            headers: 0,
        };
        let mut usual = self.authority(&parts, kind)? && scheme != self.atoms.nil;
        places.parameters = self.out.len();
        usual &= self.optional(parameters, b';', parameter, "text that starts with ;")?;
        places.headers = self.out.len();
        usual &= self.uri_headers(headers, header)?;
        // RFC3966§3 - a tel URI has no headers
        usual &= kind != UriKind::Tel || places.headers == self.out.len();
        match usual || self.reads_back(&parts, places, context) {
            true => Ok(()),
            false => self.refuse(Wanted::Words("a URI that can be read back"), uri),
        }
    }

    fn scheme(&mut self, scheme: Raw<'a>) -> Result<UriKind, Stopped> {
        if scheme == self.atoms.nil {
            // In Alert-Info a name may stand in a URI's place.
            return Ok(UriKind::Other);
        }
        let wanted = Wanted::Words("a scheme");
        self.at("the scheme of a URI", |printer| {
            let text = printer.octets(scheme, wanted)?;
            let kind = match text {
                b"sip" => UriKind::Sip,
                b"sips" => UriKind::Sips,
                b"tel" => UriKind::Tel,
                [b'A'..=b'Z' | b'a'..=b'z', rest @ ..] if Class::SCHEME.all(rest) => UriKind::Other,
                _ => return Err(printer.refused(wanted, scheme)),
            };
            printer.put(text);
            printer.out.push(b':');
            Ok(kind)
        })
    }

    /// RFC3261§19.1.1 - headers, in which an `@` would end a userinfo where there is none.
    fn uri_headers(&mut self, term: Raw<'a>, class: Class) -> Usual {
        let start = self.out.len();
        let usual = self.optional(term, b'?', class, "text that starts with ?")?;
        Ok(usual && !self.out[start..].contains(&b'@'))
    }

    /// Without what leads it in, a component would be read as a part of the one before it.
    fn optional(&mut self, term: Raw<'a>, lead: u8, class: Class, wanted: &'static str) -> Usual {
        if term == self.atoms.nil {
            return Ok(true);
        }
        let wanted = Wanted::Words(wanted);
        match self.octets(term, wanted)? {
            [] => Ok(true),
            text if text[0] == lead => {
                self.put(text);
                Ok(class.all(&text[1..]))
            }
            _ => Err(self.refused(wanted, term)),
        }
    }

    fn authority(&mut self, parts: &Authority<'a>, kind: UriKind) -> Usual {
        let nil = self.atoms.nil;
        if parts.authority == nil {
            return self.built(parts, kind);
        }
        if parts.userinfo == nil && parts.host == nil {
            let text = self.octets(parts.authority, Wanted::Words("text"))?;
            self.put(text);
            return Ok(is_usual_opaque(text, kind));
        }
        match self.written(parts, kind) {
            Some((text, usual)) => {
                let text = self.bounded(text)?;
                self.put(text);
                Ok(usual)
            }
            None => self.built(parts, kind),
        }
    }

    /// The authority, where it says what userinfo, host and port say, and whether it is a usual one.
    fn written(&self, parts: &Authority<'a>, kind: UriKind) -> Option<(&'a [u8], bool)> {
        let sip = matches!(kind, UriKind::Sip | UriKind::Sips);
        let authority = self.make.octets(parts.authority)?;
        if parts.authority == parts.host {
            // The parser makes one term of both, where there is nothing else.
            let same = parts.userinfo == self.atoms.nil && self.is_left_out(parts.port, kind);
            return same.then_some((authority, sip && is_name(authority)));
        }
        let host = self.make.octets(parts.host)?;
        let (rest, user) = match parts.userinfo == self.atoms.nil {
            true => (authority, true),
            false => {
                let userinfo = self.make.octets(parts.userinfo)?;
                let rest = authority.strip_prefix(userinfo)?.strip_prefix(b"@")?;
                (rest, is_usual_user(userinfo))
            }
        };
        let (port, named) = match rest {
            [b'[', rest @ ..] => {
                let port = rest.strip_prefix(host)?.strip_prefix(b"]")?;
                (port, is_address(host))
            }
            _ => (rest.strip_prefix(host)?, is_name(host)),
        };
        let same = match port {
            [] => self.is_left_out(parts.port, kind),
            port => port_number(port)? == self.make.unsigned(parts.port)?,
        };
        same.then_some((authority, sip && user && named))
    }

    /// Whether a port is not printed where there is no authority to go by.
    fn is_left_out(&self, port: Raw<'a>, kind: UriKind) -> bool {
        port == self.atoms.nil
            || match self.make.unsigned(port) {
                Some(0) => true,
                Some(number) => kind.default_port().map(u64::from) == Some(number),
                None => false,
            }
    }

    fn built(&mut self, parts: &Authority<'a>, kind: UriKind) -> Usual {
        let nil = self.atoms.nil;
        if parts.userinfo != nil {
            self.userinfo(parts.userinfo)?;
            self.out.push(b'@');
        }
        if parts.host != nil {
            self.at("the host of a URI", |printer| printer.host(parts.host))?;
        }
        let sip = matches!(kind, UriKind::Sip | UriKind::Sips);
        let usual = sip && parts.host != nil;
        if self.is_left_out(parts.port, kind) {
            return Ok(usual);
        }
        match self.make.unsigned(parts.port) {
            Some(number @ 0..=65_535) => {
                self.out.push(b':');
                self.number(number);
                Ok(usual)
            }
            _ => Err(self.refused(Wanted::Words("a port"), parts.port)),
        }
    }

    /// RFC3261§19.1.1 - neither empty nor without a user; §19.1.2 - what may not stand there is escaped, as what some
    /// peers send is not. What would end it is refused, or the URI would be read as another.
    fn userinfo(&mut self, userinfo: Raw<'a>) -> Printed {
        let wanted = Wanted::Words("a userinfo with its escapes");
        let text = self.octets(userinfo, wanted)?;
        if is_usual_user(text) {
            self.put(text);
            return Ok(());
        }
        if matches!(text, [] | [b':', ..]) {
            return self.refuse(wanted, userinfo);
        }
        let mut rest = text;
        while let [octet, others @ ..] = rest {
            rest = others;
            match (*octet, others) {
                (b'%', [high, low, others @ ..])
                    if Class::HEX.has(*high) && Class::HEX.has(*low) =>
                {
                    self.out.extend_from_slice(&[b'%', *high, *low]);
                    rest = others;
                }
                (octet, _) if Class::USERINFO.has(octet) => self.out.push(octet),
                (0..=0x20 | 0x7F, _) => return self.refuse(wanted, userinfo),
                (octet, _) if NEVER_A_USER.contains(&octet) => {
                    return self.refuse(wanted, userinfo);
                }
                (octet, _) => self.escape(octet),
            }
        }
        Ok(())
    }

    fn escape(&mut self, octet: u8) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let [high, low] = [octet >> 4, octet & 0xF].map(|digit| DIGITS[usize::from(digit)]);
        self.out.extend_from_slice(&[b'%', high, low]);
    }

    /// Whether the parser finds in what was printed, at a place of this kind, the components that were meant.
    #[cold]
    fn reads_back(&self, parts: &Authority<'a>, places: Places, context: Place<'a>) -> bool {
        let text = &self.out[places.start..];
        let within = |before: &[u8], after: &[u8]| [before, text, after].concat();
        let same = |uri: &Uri, whole: &[u8], before: usize| {
            self.is_same(parts, &places, uri, &whole[before..], before)
        };
        let in_header = |id: HeaderId| {
            let value = within(b"<", b">");
            let mut parser = Parser::new();
            let Ok(values) = parser.parse_values(id, &[&value]) else {
                return false;
            };
            match values.items() {
                [Item::Address { uri, .. } | Item::UriParams { uri, .. }] => {
                    same(values.uri(*uri), &value, 1)
                }
                _ => false,
            }
        };
        match context {
            Place::Header(id) => in_header(id),
            Place::RequestLine => {
                let line = within(b"A ", b" SIP/2.0\r\n\r\n");
                match Parser::new()
                    .parse(&line)
                    .map(|message| *message.start_line())
                {
                    Ok(StartLine::Request { uri, .. }) => same(&uri, &line, 2),
                    _ => false,
                }
            }
            // Where the text goes from here, nobody knows. These take more than others do.
            _ => match sip_parser::parse_uri(text) {
                Ok(uri) if same(&uri, text, 0) => true,
                _ => in_header(HeaderId::REFER_TO) || in_header(HeaderId::ALERT_INFO),
            },
        }
    }

    /// Whether `uri`, whose positions are `before` more than those of `text`, has these components.
    fn is_same(
        &self,
        parts: &Authority<'a>,
        places: &Places,
        uri: &Uri,
        text: &[u8],
        before: usize,
    ) -> bool {
        let start = places.start;
        let is = |span: Span, from: usize, to: usize| match from == to {
            true => span.is_empty(),
            false => {
                (span.start as usize, span.end as usize)
                    == (from - start + before, to - start + before)
            }
        };
        let authority = is(uri.authority, places.authority, places.parameters);
        let parameters = is(uri.parameters, places.parameters, places.headers);
        let headers = is(uri.headers, places.headers, self.out.len());
        match uri.kind {
            // All that is behind the scheme.
            UriKind::Other => uri.authority.start as usize == places.authority - start + before,
            UriKind::Tel => authority && parameters && headers,
            UriKind::Sip | UriKind::Sips => {
                authority && parameters && headers && self.is_same_host(parts, uri, text, before)
            }
        }
    }

    /// Whether the parser found the host, and so the userinfo before it; what there is of both may stand in the
    /// authority alone.
    fn is_same_host(&self, parts: &Authority<'a>, uri: &Uri, text: &[u8], before: usize) -> bool {
        let nil = self.atoms.nil;
        if parts.userinfo == nil && parts.host == nil {
            return true;
        }
        let host = &text[uri.host.start as usize - before..uri.host.end as usize - before];
        let same = |field: &[u8]| {
            field == host
                || field.strip_prefix(b"[").and_then(|f| f.strip_suffix(b"]")) == Some(host)
        };
        uri.userinfo.is_none() == (parts.userinfo == nil)
            && self.make.octets(parts.host).is_some_and(same)
    }
}

/// `userinfo` but for escapes, as nearly all are.
#[inline]
fn is_usual_user(text: &[u8]) -> bool {
    !matches!(text, [] | [b':', ..]) && Class::USERINFO.all(text)
}

/// What stands behind the scheme of a URI that is neither sip nor sips, but for escapes.
fn is_usual_opaque(text: &[u8], kind: UriKind) -> bool {
    let opaque = !text.is_empty() && Class::URIC.all(text);
    match kind {
        UriKind::Sip | UriKind::Sips => false,
        UriKind::Tel => opaque && !text.contains(&b';'),
        UriKind::Other => opaque,
    }
}

/// The number behind the `:` of a port; none where there is another text.
fn port_number(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b":")?;
    let number = std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.bytes().all(|octet| octet.is_ascii_digit()))?
        .parse()
        .ok()?;
    (number <= 65_535).then_some(number)
}

//! A URI as text. Its authority stands in the struct twice: as it was written, and in three fields that users change.
//! As long as both say the same it is printed as written; that keeps an explicit default port, which
//! RFC3261§19.1.4 takes for another URI than none.

use super::{Printed, Printer, Wanted};
use crate::term::Raw;
use sip_parser::{Class, UriKind};

const A_URI: &str = "a URI";

/// The fields of the struct that the authority is made of.
struct Authority<'a> {
    authority: Raw<'a>,
    userinfo: Raw<'a>,
    host: Raw<'a>,
    port: Raw<'a>,
}

impl<'a> Printer<'a> {
    /// A `Sippet.URI`; a part that could end the URI or the line is refused.
    pub(super) fn uri(&mut self, uri: Raw<'a>) -> Printed {
        self.at(A_URI, |printer| printer.whole_uri(uri))
    }

    fn whole_uri(&mut self, uri: Raw<'a>) -> Printed {
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
        let kind = self.scheme(scheme)?;
        let authority = Authority {
            authority,
            userinfo,
            host,
            port,
        };
        self.authority(authority, kind)?;
        self.optional(parameters, b';', Wanted::Words("text that starts with ;"))?;
        self.optional(headers, b'?', Wanted::Words("text that starts with ?"))
    }

    fn scheme(&mut self, scheme: Raw<'a>) -> Result<UriKind, super::Stopped> {
        if scheme == self.atoms.nil {
            return Ok(UriKind::Other);
        }
        let kind = match self.make.octets(scheme) {
            Some(b"sip") => UriKind::Sip,
            Some(b"sips") => UriKind::Sips,
            _ => UriKind::Other,
        };
        self.at("the scheme of a URI", |printer| {
            printer.token(scheme).map(drop)
        })?;
        self.out.push(b':');
        Ok(kind)
    }

    /// Without what leads it in, a component would be read as a part of the one before it.
    fn optional(&mut self, term: Raw<'a>, lead: u8, wanted: Wanted) -> Printed {
        if term == self.atoms.nil {
            return Ok(());
        }
        match self.octets(term, wanted)? {
            [] => Ok(()),
            text if text[0] == lead => self.uri_text(text, term),
            _ => self.refuse(wanted, term),
        }
    }

    fn authority(&mut self, parts: Authority<'a>, kind: UriKind) -> Printed {
        match self.is_as_written(&parts, kind) {
            true => {
                let text = self.octets(parts.authority, Wanted::Words("text"))?;
                self.uri_text(text, parts.authority)
            }
            false => self.built(&parts, kind),
        }
    }

    /// Whether the authority says what userinfo, host and port say.
    fn is_as_written(&self, parts: &Authority<'a>, kind: UriKind) -> bool {
        let nil = self.atoms.nil;
        if parts.authority == nil {
            return false;
        }
        if parts.userinfo == nil && parts.host == nil {
            return true;
        }
        let (Some(authority), Some(host)) = (
            self.make.octets(parts.authority),
            self.make.octets(parts.host),
        ) else {
            return false;
        };
        let rest = match parts.userinfo == nil {
            true => Some(authority),
            false => self
                .make
                .octets(parts.userinfo)
                .and_then(|userinfo| authority.strip_prefix(userinfo)?.strip_prefix(b"@")),
        };
        let rest = rest.and_then(|rest| match rest {
            [b'[', rest @ ..] => rest.strip_prefix(host)?.strip_prefix(b"]"),
            _ => rest.strip_prefix(host),
        });
        match rest {
            None => false,
            Some([]) => self.is_left_out(parts.port, kind),
            Some(port) => port_number(port) == self.make.unsigned(parts.port),
        }
    }

    /// Whether a port is not printed where there is no authority to go by.
    fn is_left_out(&self, port: Raw<'a>, kind: UriKind) -> bool {
        port == self.atoms.nil
            || match self.make.unsigned(port) {
                Some(0) => true,
                Some(5060) => kind == UriKind::Sip,
                Some(5061) => kind == UriKind::Sips,
                _ => false,
            }
    }

    fn built(&mut self, parts: &Authority<'a>, kind: UriKind) -> Printed {
        let nil = self.atoms.nil;
        if parts.userinfo != nil {
            self.userinfo(parts.userinfo)?;
            self.out.push(b'@');
        }
        if parts.host != nil {
            self.at("the host of a URI", |printer| printer.host(parts.host))?;
        }
        if self.is_left_out(parts.port, kind) {
            return Ok(());
        }
        match self.make.unsigned(parts.port) {
            Some(number @ 0..=65_535) => {
                self.out.push(b':');
                self.number(number);
                Ok(())
            }
            _ => self.refuse(Wanted::Words("a port"), parts.port),
        }
    }

    /// RFC3261§19.1.1 - neither empty nor without a user; §19.1.2 - what may not stand there is escaped, or the URI
    /// would be read as another
    fn userinfo(&mut self, userinfo: Raw<'a>) -> Printed {
        let wanted = Wanted::Words("a userinfo with its escapes");
        let text = self.octets(userinfo, wanted)?;
        match !matches!(text, [] | [b':', ..]) && is_escaped(text) {
            true => self.put(text),
            false => return self.refuse(wanted, userinfo),
        }
        Ok(())
    }
}

/// The number behind the `:` of a port; none where there is another text.
fn port_number(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b":")?;
    std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.bytes().all(|octet| octet.is_ascii_digit()))?
        .parse()
        .ok()
}

/// Whether all that a userinfo can't hold is escaped.
fn is_escaped(mut text: &[u8]) -> bool {
    loop {
        text = match text {
            [] => return true,
            [b'%', high, low, rest @ ..] if Class::HEX.has(*high) && Class::HEX.has(*low) => rest,
            [octet, rest @ ..] if Class::USERINFO.has(*octet) => rest,
            _ => return false,
        }
    }
}

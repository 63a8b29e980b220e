//! Parameters: which stand in quotes, and which as they are.

use super::octets::{is_bare, is_token};
use super::{Place, Printed, Printer, Wanted};
use crate::term::{Pairs, Raw};
use sip_parser::{HeaderId, Shape};

const TEXT: Wanted = Wanted::Words("text");

/// RFC3840§9 - the values of feature parameters are always quoted: those that start with "+", and these
const BASE_TAGS: [&[u8]; 20] = [
    b"actor",
    b"application",
    b"audio",
    b"automata",
    b"class",
    b"control",
    b"data",
    b"description",
    b"duplex",
    b"events",
    b"extensions",
    b"isfocus",
    b"language",
    b"methods",
    b"mobility",
    b"priority",
    b"schemes",
    b"text",
    b"type",
    b"video",
];

/// RFC3261§20.27, §20.44 - the challenges
const CHALLENGES: [HeaderId; 2] = [HeaderId::WWW_AUTHENTICATE, HeaderId::PROXY_AUTHENTICATE];

impl<'a> Printer<'a> {
    fn is_in(&self, headers: &[HeaderId]) -> bool {
        matches!(self.place, Place::Header(id) if headers.contains(&id))
    }

    /// Parameters as they stand behind a value, each with its leading `;`.
    pub(super) fn params(&mut self, params: Pairs<'a>) -> Printed {
        for (name, value) in params {
            self.param(name, value)?;
        }
        Ok(())
    }

    pub(super) fn param(&mut self, name: Raw<'a>, value: Raw<'a>) -> Printed {
        self.out.push(b';');
        let name = self.token(name)?;
        let text = self.octets(value, TEXT)?;
        if text.is_empty() {
            return Ok(());
        }
        self.out.push(b'=');
        match self.is_quoted(name, text) {
            true => self.quoted_text(text, value),
            false => self.param_value(text, value),
        }
    }

    /// Whether the RFCs have quotes even where the parser would do without.
    #[inline]
    fn is_quoted(&self, name: &[u8], text: &[u8]) -> bool {
        match (name, self.place) {
            ([b'+', ..], _) => true,
            // RFC3329§2.2 - d-ver is a quoted string
            (b"d-ver", _) => true,
            // RFC3841§9.2, RFC3261§20.10 - base tags stand here
            (_, Place::Header(HeaderId::CONTACT))
            | (_, Place::Header(HeaderId::ACCEPT_CONTACT | HeaderId::REJECT_CONTACT)) => {
                BASE_TAGS.contains(&name)
            }
            // RFC3326§2 - the text of a reason is a quoted string
            (b"text", Place::Header(HeaderId::REASON)) => true,
            // RFC2045§5.1 - a value is a token, or in quotes: those who read a body by these headers read mail too
            (_, Place::Header(HeaderId::CONTENT_TYPE | HeaderId::ACCEPT))
            | (_, Place::Header(HeaderId::CONTENT_DISPOSITION)) => !is_token(text),
            _ => false,
        }
    }

    pub(super) fn auth_params(&mut self, params: Raw<'a>) -> Printed {
        let pairs = match self.make.pairs(params) {
            Some(pairs) if self.make.map_size(params) != Some(0) => pairs,
            _ => return self.refuse(Wanted::Shape(Shape::AuthInfo), params),
        };
        for (number, (name, value)) in pairs.enumerate() {
            if number > 0 {
                self.put(b", ");
            }
            let name = self.token(name)?;
            self.out.push(b'=');
            let text = self.octets(value, TEXT)?;
            match self.is_bare_auth(name, text) {
                true => self.put(text),
                false => self.quoted_text(text, value)?,
            }
        }
        Ok(())
    }

    /// RFC7616§3.3, §3.4, §3.5 - what must not be quoted, or stands without quotes in the examples (§3.9). All others
    /// are: there are peers that take nothing else.
    fn is_bare_auth(&self, name: &[u8], text: &[u8]) -> bool {
        let bare = match name {
            b"algorithm" | b"userhash" => !self.is_in(&[HeaderId::AUTHENTICATION_INFO]),
            b"qop" | b"nc" => !self.is_in(&CHALLENGES),
            b"stale" | b"charset" => self.is_in(&CHALLENGES),
            _ => false,
        };
        // A lone "nc==" would be read as token68 (RFC7235§2.1).
        bare && is_bare(text) && text[0] != b'='
    }
}

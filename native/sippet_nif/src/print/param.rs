//! Parameters: which stand in quotes, and which as they are.

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

/// RFC3841§9.2, RFC3261§20.10 - where base tags stand
const BASE_TAG_HEADERS: [HeaderId; 3] = [
    HeaderId::CONTACT,
    HeaderId::ACCEPT_CONTACT,
    HeaderId::REJECT_CONTACT,
];

/// RFC3261§25.1, RFC7616§3, RFC3310§3.2, RFC8898§4 - quoted strings even where a token would do
const QUOTED_AUTH: [&[u8]; 16] = [
    b"auts",
    b"authz_server",
    b"ck",
    b"cnonce",
    b"domain",
    b"error",
    b"ik",
    b"nextnonce",
    b"nonce",
    b"opaque",
    b"realm",
    b"response",
    b"rspauth",
    b"scope",
    b"uri",
    b"username",
];

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
        match self.is_quoted(name) {
            true => self.quoted_text(text, value),
            false => self.param_value(text, value),
        }
    }

    fn is_quoted(&self, name: &[u8]) -> bool {
        match name {
            [b'+', ..] => true,
            // RFC3329§2.2 - d-ver is a quoted string
            b"d-ver" => true,
            // RFC3326§2 - so is the text of a reason
            b"text" if self.is_in(&[HeaderId::REASON]) => true,
            _ => self.is_in(&BASE_TAG_HEADERS) && BASE_TAGS.contains(&name),
        }
    }

    /// RFC3261§25.1 - via-received is an address without brackets: its colons stand without quotes (RFC5118§4.5)
    pub(super) fn via_params(&mut self, params: Pairs<'a>) -> Printed {
        for (name, value) in params {
            self.out.push(b';');
            let name = self.token(name)?;
            let text = self.octets(value, TEXT)?;
            if text.is_empty() {
                continue;
            }
            self.out.push(b'=');
            match name {
                b"received" | b"maddr" => self.address_value(text, value)?,
                name if self.is_quoted(name) => self.quoted_text(text, value)?,
                _ => self.param_value(text, value)?,
            }
        }
        Ok(())
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
            match text.is_empty() || self.is_quoted_auth(name) {
                true => self.quoted_text(text, value)?,
                false => self.param_value(text, value)?,
            }
        }
        Ok(())
    }

    fn is_quoted_auth(&self, name: &[u8]) -> bool {
        match name {
            // RFC7616§3.3, §3.4 - the options of a challenge are quoted, the choice in credentials is not
            b"qop" => self.is_in(&[HeaderId::WWW_AUTHENTICATE, HeaderId::PROXY_AUTHENTICATE]),
            _ => QUOTED_AUTH.contains(&name),
        }
    }
}

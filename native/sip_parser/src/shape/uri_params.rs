//! `LAQUOT absoluteURI RAQUOT *( SEMI generic-param )`: Alert-Info, Call-Info, Error-Info.
//!
//! In the field the URI may be a bare name (`<Bellcore-dr1>`): that is read as one without a scheme.

use super::address;
use crate::cursor::Cursor;
use crate::error::Parsed;
use crate::params;
use crate::tree::{Item, Tree, UriId};
use crate::uri;

pub(super) fn element(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let uri = bracketed(cursor, tree)?;
    let params = params::semicolon_list(cursor, tree)?;
    Ok(Item::UriParams { uri, params })
}

fn bracketed(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<UriId> {
    let mut name = *cursor;
    match address::bracketed(cursor, tree) {
        Ok(uri) => Ok(uri),
        Err(fault) => match uri::name(&mut name) {
            Some(uri) => {
                *cursor = name;
                Ok(tree.push_uri(uri))
            }
            None => Err(fault),
        },
    }
}

#[cfg(test)]
mod tests {
    use crate::shape::testing::{reads, refuses, refuses_at};

    #[test]
    fn rfc3261_20_4_alert_info() {
        reads(
            "Alert-Info",
            "<http://www.example.com/sounds/moo.wav>",
            &["<http://www.example.com/sounds/moo.wav>"],
        );
        reads(
            "Alert-Info",
            "<urn:alert:service:call-waiting>",
            &["<urn:alert:service:call-waiting>"],
        );
        refuses(
            "Alert-Info",
            &[
                "http://h/x.wav",
                "\"name\" <http://h>",
                "<http://h",
                "<>",
                "info=alert-autoanswer",
                "<http://h> <i>",
                "<1a:>",
                "<sip:>",
                "<sip:a b>",
                "<a b>",
            ],
        );
        refuses_at("Alert-Info", "info=alert", 0);
    }

    #[test]
    fn names_that_are_no_uri() {
        for name in ["Bellcore-dr1", "127.0.0.1/Bellcore-dr3", "/ring", "1"] {
            reads(
                "Alert-Info",
                &format!(",<{name}>;info=x,"),
                &[&format!("<:{name}>;info=x")],
            );
        }
    }

    #[test]
    fn rfc3261_20_9_call_info() {
        reads(
            "Call-Info",
            "<http://wwww.example.com/alice/photo.jpg> ;purpose=icon, <http://www.example.com/alice/> ;purpose=info",
            &[
                "<http://wwww.example.com/alice/photo.jpg>;purpose=icon",
                "<http://www.example.com/alice/>;purpose=info",
            ],
        );
    }

    #[test]
    fn rfc3261_20_18_error_info() {
        reads(
            "Error-Info",
            "<sip:not-in-service-recording@atlanta.com>",
            &["<sip:not-in-service-recording@atlanta.com>"],
        );
    }

    #[test]
    fn rfc6442_4_1_geolocation() {
        reads(
            "Geolocation",
            "<cid:alice123@atlanta.example.com>, <https://lis.example.com:8222/y77syc7cuecbh>;x",
            &[
                "<cid:alice123@atlanta.example.com>",
                "<https://lis.example.com:8222/y77syc7cuecbh>;x",
            ],
        );
    }

    #[test]
    fn uris_of_other_extensions() {
        for name in [
            "Identity-Info",
            "Refer-Events-At",
            "Trigger-Consent",
            "P-User-Database",
            "Policy-ID",
        ] {
            reads(
                name,
                "<https://example.com/x.cer>;alg=rsa-sha1",
                &["<https://example.com/x.cer>;alg=rsa-sha1"],
            );
            refuses(name, &["https://example.com/x.cer"]);
        }
    }
}

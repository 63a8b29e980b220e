//! Challenges, credentials and Authentication-Info (RFC 3261 §20.6, §20.7, §20.27, §20.28, §20.44).

use crate::chars::Class;
use crate::cursor::Cursor;
use crate::error::Parsed;
use crate::params;
use crate::table::Repeat;
use crate::tree::{Item, Param, Span, Text, Tree};

/// Challenges. Commas part both the parameters of one and the challenges, so a name without `=` behind a comma begins
/// the next challenge. RFC3261§20.7 - credentials are no list: one a line.
pub(super) fn list(repeat: Repeat, cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<()> {
    loop {
        if repeat != Repeat::Lines {
            super::skip_separators(cursor, b',');
            if cursor.at_end() {
                return Ok(());
            }
        }
        let at = cursor.pos();
        let item = one(cursor, tree)?;
        tree.push_item(item, at)?;
        let more = cursor.take_separator(b',');
        if repeat == Repeat::Lines || !more {
            super::skip_separators(cursor, b',');
            return Ok(());
        }
    }
}

fn one(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let scheme = cursor.token()?;
    let start = tree.params.len();
    let before = cursor.pos();
    cursor.skip_blanks();
    let ahead = next_param(*cursor);
    if ahead.is_none() && (cursor.at_end() || cursor.peek() == Some(b',')) {
        return Ok(Item::Auth {
            scheme,
            params: tree.params_from(start),
            token68: None,
        });
    }
    if cursor.pos() == before {
        return cursor.fault();
    }
    if let Some(token68) = token68(cursor) {
        return Ok(Item::Auth {
            scheme,
            params: tree.params_from(start),
            token68: Some(token68),
        });
    }
    comma_list(cursor, tree)?;
    let params = params::finish(cursor, tree, start);
    Ok(Item::Auth {
        scheme,
        params,
        token68: None,
    })
}

/// RFC7235§2.1 - `token68`: what Basic and Bearer send in place of parameters.
fn token68(cursor: &mut Cursor<'_>) -> Option<Span> {
    let mut ahead = *cursor;
    let start = ahead.pos();
    while ahead.peek().is_some_and(|octet| {
        octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
    }) {
        ahead.set_pos(ahead.pos() + 1);
    }
    if ahead.pos() == start {
        return None;
    }
    while ahead.take(b'=') {}
    let span = ahead.since(start);
    ahead.skip_blanks();
    let ends = ahead.at_end() || ahead.peek() == Some(b',');
    if !ends || next_param(ahead).is_some() {
        return None;
    }
    cursor.set_pos(span.end as usize);
    Some(span)
}

/// `auth-param *( COMMA auth-param )`, up to a comma behind which no parameter stands. Commas that are missing between
/// two parameters, doubled, or behind the last one are what some senders have.
fn comma_list(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<()> {
    super::skip_separators(cursor, b',');
    loop {
        let param = auth_param(cursor)?;
        tree.push_param(param)?;
        match next_param(*cursor) {
            Some(ahead) => *cursor = ahead,
            None => return Ok(()),
        }
    }
}

/// Where the next parameter begins, if one does.
fn next_param(mut cursor: Cursor<'_>) -> Option<Cursor<'_>> {
    let start = cursor.pos();
    cursor.skip_blanks();
    super::skip_separators(&mut cursor, b',');
    (cursor.pos() > start && starts_param(cursor)).then_some(cursor)
}

fn starts_param(mut cursor: Cursor<'_>) -> bool {
    cursor.token().is_ok() && cursor.take_separator(b'=')
}

/// `auth-param = auth-param-name EQUAL ( token / quoted-string )`; an empty value is as `""`.
fn auth_param(cursor: &mut Cursor<'_>) -> Parsed<Param> {
    let name = cursor.token()?;
    if !cursor.take_separator(b'=') {
        return cursor.fault();
    }
    let value = match cursor.peek() {
        Some(b'"') => cursor.quoted_string()?,
        _ => Text {
            span: cursor.run(Class::VALUE),
            escaped: false,
        },
    };
    Ok(Param { name, value })
}

/// `ainfo *( COMMA ainfo )`
pub(super) fn info(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let start = tree.params.len();
    comma_list(cursor, tree)?;
    if cursor.take_separator(b',') {
        super::skip_separators(cursor, b',');
    }
    Ok(Item::Params(params::finish(cursor, tree, start)))
}

#[cfg(test)]
mod tests {
    use crate::shape::testing::{reads, reads_lines, refuses, refuses_at};

    #[test]
    fn rfc3261_20_6_authentication_info() {
        reads(
            "Authentication-Info",
            r#"nextnonce="47364c23432d2e131a5fb210812c""#,
            &[";nextnonce=47364c23432d2e131a5fb210812c"],
        );
        reads(
            "Authentication-Info",
            r#"qop=auth , rspauth="", cnonce="\"", nc=00000001"#,
            &[r#";qop=auth;rspauth;cnonce="\"";nc=00000001"#],
        );
        refuses(
            "Authentication-Info",
            &["", ",", "nextnonce", "a=1;b=2", "a=1,b"],
        );
    }

    #[test]
    fn rfc3261_20_7_authorization() {
        reads(
            "Authorization",
            r#"Digest username="Alice", realm="atlanta.com", nonce="84a4cc6f3082121f32b42a2187831a9e", response="7587245234b3434cc3412213e5f113a5432""#,
            &[concat!(
                "Digest;username=Alice;realm=atlanta.com;nonce=84a4cc6f3082121f32b42a2187831a9e",
                ";response=7587245234b3434cc3412213e5f113a5432"
            )],
        );
        // RFC3261§20.7 - several stand on lines of their own.
        reads_lines(
            "Authorization",
            &["Digest a=1", "Digest a=2"],
            &["Digest;a=1", "Digest;a=2"],
        );
        reads(
            "Authorization",
            "NoOneKnowsThisScheme opaque-data=here",
            &["NoOneKnowsThisScheme;opaque-data=here"],
        );
    }

    #[test]
    fn rfc3261_20_28_proxy_authorization() {
        reads(
            "Proxy-Authorization",
            r#"Digest username="Alice", realm="atlanta.com",nonce="c60f3082ee1212b402a21831ae",response="245f23415f11432b3434341c022""#,
            &[
                "Digest;username=Alice;realm=atlanta.com;nonce=c60f3082ee1212b402a21831ae;response=245f23415f11432b3434341c022",
            ],
        );
    }

    #[test]
    fn rfc3261_20_27_proxy_authenticate_and_20_44_www_authenticate() {
        for name in ["Proxy-Authenticate", "WWW-Authenticate"] {
            reads(
                name,
                r#"Digest realm="atlanta.com", domain="sip:ss1.carrier.com", qop="auth", nonce="f84f1cec41e6cbe5aea9c8e88d359", opaque="", stale=FALSE, algorithm=MD5"#,
                &[concat!(
                    "Digest;realm=atlanta.com;domain=sip:ss1.carrier.com;qop=auth",
                    ";nonce=f84f1cec41e6cbe5aea9c8e88d359;opaque;stale=FALSE;algorithm=MD5"
                )],
            );
            reads(
                name,
                r#"Digest qop="auth,auth-int" , realm = "a \"b\"""#,
                &[r#"Digest;qop="auth,auth-int";realm="a \"b\"""#],
            );
        }
    }

    #[test]
    fn rfc7616_3_3_challenges_on_one_line() {
        reads(
            "WWW-Authenticate",
            r#"Digest realm="a", algorithm=SHA-256, nonce="b", Digest realm="a", algorithm=MD5,Negotiate, Basic realm="c""#,
            &[
                "Digest;realm=a;algorithm=SHA-256;nonce=b",
                "Digest;realm=a;algorithm=MD5",
                "Negotiate",
                "Basic;realm=c",
            ],
        );
    }

    #[test]
    fn rfc7235_2_1_token68() {
        reads("Authorization", "Bearer abc==", &["Bearer abc=="]);
        reads(
            "Authorization",
            "Basic QWxhZGRpbjpvcGVu+/",
            &["Basic QWxhZGRpbjpvcGVu+/"],
        );
        reads("Authorization", "Bearer a.b-c_d~e", &["Bearer a.b-c_d~e"]);
        reads(
            "WWW-Authenticate",
            "Negotiate abc=, Digest a=b",
            &["Negotiate abc=", "Digest;a=b"],
        );
        reads("Authorization", "Digest a=b", &["Digest;a=b"]);
        refuses("Authorization", &["Bearer a b", "Bearer =", "Bearer a:b"]);
    }

    #[test]
    fn commas_that_are_missing_doubled_or_too_many() {
        for value in [
            "Digest a=1,,b=2",
            "Digest a=1 b=2",
            "Digest ,a=1, ,b=2,",
            "Digest a=1\t,b=2 , ,",
        ] {
            reads("Authorization", value, &["Digest;a=1;b=2"]);
            reads("WWW-Authenticate", value, &["Digest;a=1;b=2"]);
        }
        reads("Authorization", "Digest,", &["Digest"]);
        reads("Authentication-Info", ",a=1,b=2 c=3,", &[";a=1;b=2;c=3"]);
        reads(
            "WWW-Authenticate",
            r#",Digest realm="a" nonce="b",, Basic realm="c", , Negotiate,"#,
            &["Digest;realm=a;nonce=b", "Basic;realm=c", "Negotiate"],
        );
        reads("WWW-Authenticate", " , ", &[]);
    }

    #[test]
    fn parameters_twice_and_without_a_value() {
        reads("Authorization", "Digest a=1, A=2", &["Digest;A=2"]);
        reads("Authorization", "Digest a=, b=1", &["Digest;a;b=1"]);
    }

    #[test]
    fn malformed_credentials() {
        refuses_at("Authorization", "Digest user name=\"Alice\"", 11);
        refuses(
            "Authorization",
            &[
                "",
                "Digest a=\"1",
                "Digest;a=1",
                "Digest a=1 b",
                "Digest a=1 Basic b=2",
                "Digest,a=1",
                "\"Digest\" a=1",
            ],
        );
    }
}

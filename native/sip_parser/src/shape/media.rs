//! `m-type SLASH m-subtype *( SEMI m-parameter )`: Content-Type, Accept (RFC 3261 §20.1, §20.15).

use crate::cursor::Cursor;
use crate::error::Parsed;
use crate::params;
use crate::tree::{Item, Tree};

pub(super) fn element(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let main = cursor.token()?;
    if !cursor.take_separator(b'/') {
        return cursor.fault();
    }
    let sub = cursor.token()?;
    let params = params::semicolon_list(cursor, tree)?;
    Ok(Item::Media { main, sub, params })
}

#[cfg(test)]
mod tests {
    use crate::shape::testing::{reads, reads_lines, refuses, refuses_at};

    #[test]
    fn rfc3261_20_1_accept() {
        reads(
            "Accept",
            "application/sdp;level=1, application/x-private, text/html",
            &[
                "application/sdp;level=1",
                "application/x-private",
                "text/html",
            ],
        );
        // RFC3261§20.1 - "An empty Accept header field means that no formats are acceptable."
        reads("Accept", "", &[]);
        reads_lines(
            "Accept",
            &["", "*/*;q=0.1", "text/*"],
            &["*/*;q=0.1", "text/*"],
        );
        reads("Accept", ",text/html;,", &["text/html"]);
        refuses(
            "Accept",
            &["text", "text/", "/html", "text html", "text/html;=x"],
        );
    }

    #[test]
    fn rfc3261_20_15_content_type() {
        reads("Content-Type", "application/sdp", &["application/sdp"]);
        reads(
            "c",
            "text/html; charset=ISO-8859-4",
            &["text/html;charset=ISO-8859-4"],
        );
        reads(
            "Content-Type",
            r#"multipart/signed ; protocol="application/pkcs7-signature";micalg=sha1 ; boundary="b,\"x""#,
            &[
                r#"multipart/signed;protocol=application/pkcs7-signature;micalg=sha1;boundary="b,\"x""#,
            ],
        );
        reads("Content-Type", "Text / HTML", &["Text/HTML"]);
        refuses(
            "Content-Type",
            &[
                "",
                "text",
                "text/html, text/plain",
                "text//html",
                "text/html; charset=\"open",
            ],
        );
        refuses_at("Content-Type", "text;charset=x", 4);
    }
}

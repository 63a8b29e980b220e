//! CSeq (RFC 3261 §20.16) and RAck (RFC 3262 §7.2).

use crate::cursor::Cursor;
use crate::error::Parsed;
use crate::tree::Item;

/// RFC3261§8.1.1.5 - a sequence number is less than 2**31.
const LARGEST: u32 = (1 << 31) - 1;

/// `1*DIGIT LWS Method`
pub(super) fn element(cursor: &mut Cursor<'_>) -> Parsed<Item> {
    let number = cursor.number(LARGEST)?;
    cursor.blanks()?;
    Ok(Item::Cseq {
        number,
        method: cursor.token()?,
    })
}

/// `response-num LWS CSeq-num LWS Method`
pub(super) fn rack(cursor: &mut Cursor<'_>) -> Parsed<Item> {
    let response = cursor.number(u32::MAX)?;
    cursor.blanks()?;
    let cseq = cursor.number(LARGEST)?;
    cursor.blanks()?;
    Ok(Item::Rack {
        response,
        cseq,
        method: cursor.token()?,
    })
}

#[cfg(test)]
mod tests {
    use crate::shape::testing::{reads, refuses, refuses_at};

    #[test]
    fn rfc3261_20_16_cseq() {
        reads("CSeq", "4711 INVITE", &["4711 INVITE"]);
        reads("CSeq", "0009 \t NO-reply%41", &["9 NO-reply%41"]);
        reads("CSeq", "2147483647 BYE", &["2147483647 BYE"]);
        refuses(
            "CSeq",
            &[
                "",
                "1",
                "INVITE",
                "1INVITE",
                "0x1 INVITE",
                "-1 INVITE",
                "1 INVITE 2",
                "1 IN@VITE",
                "1, INVITE",
            ],
        );
    }

    #[test]
    fn rfc3261_8_1_1_5_less_than_two_to_the_31st() {
        for number in ["2147483648", "4294967296", "36893488147419103232"] {
            refuses_at("CSeq", &format!("{number} INVITE"), 0);
        }
    }

    #[test]
    fn rfc3262_7_2_rack() {
        reads("RAck", "776656 1 INVITE", &["776656 1 INVITE"]);
        reads(
            "RAck",
            "4294967295\t2147483647 PRACK",
            &["4294967295 2147483647 PRACK"],
        );
        refuses(
            "RAck",
            &[
                "",
                "776656 1",
                "1 INVITE",
                "1 2 3 4",
                "4294967296 1 INVITE",
                "1 2147483648 INVITE",
            ],
        );
    }
}

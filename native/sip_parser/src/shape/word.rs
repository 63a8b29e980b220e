//! A word or a quoted string with parameters (P-Visited-Network-ID, Identity, User-to-User), and
//! parameters with nothing before them (P-Charging-Vector).

use crate::cursor::Cursor;
use crate::error::Parsed;
use crate::params;
use crate::tree::{Item, Tree};

pub(super) fn with_params(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let word = params::value(cursor)?;
    let params = params::semicolon_list(cursor, tree)?;
    Ok(Item::WordParams { word, params })
}

pub(super) fn params_only(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let start = tree.params.len();
    let first = params::generic(cursor)?;
    tree.push_param(first)?;
    params::push_list(cursor, tree, b"")?;
    Ok(Item::Params(params::finish(cursor, tree, start)))
}

#[cfg(test)]
mod tests {
    use crate::shape::testing::{reads, refuses};

    #[test]
    fn rfc8224_4_identity() {
        reads(
            "Identity",
            "eyJhbGciOiJFUzI1NiJ9..sk;info=<https://cert.example.org/p.cer>;alg=ES256;ppt=shaken",
            &[
                r#"eyJhbGciOiJFUzI1NiJ9..sk;info="<https://cert.example.org/p.cer>";alg=ES256;ppt=shaken"#,
            ],
        );
        // RFC 4474 had the signature in quotes.
        reads(
            "y",
            r#""CyI4+nAkHrH3ntmaxgr01TMxTmtjP7MASwliNRdupRI=""#,
            &[r#""CyI4+nAkHrH3ntmaxgr01TMxTmtjP7MASwliNRdupRI=""#],
        );
        refuses(
            "Identity",
            &[";info=<x>", "a;info=<x", "a;info=<%zz>", "a b"],
        );
    }

    #[test]
    fn rfc7433_4_user_to_user() {
        reads(
            "User-to-User",
            "56a390f3d2b7310023a2;encoding=hex;purpose=foo, \"a b\"",
            &["56a390f3d2b7310023a2;encoding=hex;purpose=foo", r#""a b""#],
        );
    }

    #[test]
    fn rfc7315_5_3_p_visited_network_id() {
        reads(
            "P-Visited-Network-ID",
            r#"other.net, "Visited network number 1";x=y"#,
            &["other.net", r#""Visited network number 1";x=y"#],
        );
    }

    #[test]
    fn rfc7315_5_6_p_charging_vector() {
        reads(
            "P-Charging-Vector",
            "icid-value=\"AyretyU0dm+6O2IrT5tAFrbHLso=023551024\"; orig-ioi=home1.net",
            &[r#";icid-value="AyretyU0dm+6O2IrT5tAFrbHLso=023551024";orig-ioi=home1.net"#],
        );
        reads(
            "P-Charging-Vector",
            "icid-value=1234bc9876e;icid-generated-at=[2001:db8::1]",
            &[";icid-value=1234bc9876e;icid-generated-at=[2001:db8::1]"],
        );
        refuses("P-Charging-Vector", &["", ";a=1", "a=1,b", "a=\"1"]);
    }

    #[test]
    fn rfc7315_5_5_p_charging_function_addresses() {
        reads(
            "P-Charging-Function-Addresses",
            "ccf=192.0.8.1; ecf=192.0.8.3",
            &[";ccf=192.0.8.1;ecf=192.0.8.3"],
        );
    }
}

//! `sent-protocol LWS sent-by *( SEMI via-params )` (RFC 3261 §20.42).

use super::version;
use crate::cursor::Cursor;
use crate::error::{Fault, Parsed};
use crate::params;
use crate::tree::{Item, Param, Tree, Via};
use crate::uri;

#[inline]
pub(super) fn element(cursor: &mut Cursor<'_>, tree: &mut Tree) -> Parsed<Item> {
    let version = sent_protocol(cursor)?;
    let transport = cursor.token()?;
    cursor.blanks()?;
    let host = uri::host(cursor)?;
    // RFC3261§20.42 - blanks may stand around the colon of the port.
    let port = if cursor.take_separator(b':') {
        Some(uri::port(cursor)?)
    } else {
        None
    };
    // RFC3261§25.1 - `via-branch = "branch" EQUAL token`: an empty one would key a transaction by nothing.
    let start = params::push_list(cursor, tree, b"branch")?;
    check_branch(cursor, &tree.params[start..])?;
    let params = params::finish(cursor, tree, start);
    Ok(Item::Via(Via {
        version,
        transport,
        host,
        port,
        params,
    }))
}

/// `"SIP" SLASH 1*DIGIT "." 1*DIGIT SLASH`
#[inline]
fn sent_protocol(cursor: &mut Cursor<'_>) -> Parsed<(u16, u16)> {
    const USUAL: &[u8] = b"SIP/2.0/";
    if cursor.rest().starts_with(USUAL) {
        cursor.set_pos(cursor.pos() + USUAL.len());
        cursor.skip_blanks();
        return Ok((2, 0));
    }
    let start = cursor.pos();
    let name = cursor.token()?;
    if !cursor.bytes(name).eq_ignore_ascii_case(b"SIP") {
        return Err(Fault::Malformed(start));
    }
    slash(cursor)?;
    let version = version::numbers(cursor)?;
    slash(cursor)?;
    Ok(version)
}

fn slash(cursor: &mut Cursor<'_>) -> Parsed<()> {
    if cursor.take_separator(b'/') {
        Ok(())
    } else {
        cursor.fault()
    }
}

/// Of two branches nobody can say which one keys the transaction: readers would differ.
#[inline]
fn check_branch(cursor: &Cursor<'_>, params: &[Param]) -> Parsed<()> {
    let mut branches = params.iter().filter(|param| {
        param.name.len() == 6 && cursor.bytes(param.name).eq_ignore_ascii_case(b"branch")
    });
    let Some(first) = branches.next() else {
        return Ok(());
    };
    let value = cursor.bytes(first.value.span);
    match branches.find(|other| cursor.bytes(other.value.span) != value) {
        Some(other) => Err(Fault::Malformed(other.name.start as usize)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::shape::testing::{reads, reads_lines, refuses, refuses_at};

    #[test]
    fn rfc3261_20_42_via() {
        reads_lines(
            "Via",
            &[
                "SIP/2.0/UDP erlang.bell-telephone.com:5060;branch=z9hG4bK87asdks7",
                "SIP/2.0/UDP 192.0.2.1:5060 ;received=192.0.2.207 ;branch=z9hG4bK77asjd",
                "SIP / 2.0 / UDP first.example.com: 4000;ttl=16 ;maddr=224.2.0.1 ;branch=z9hG4bKa7c6a8dlze.1",
            ],
            &[
                "2.0 UDP erlang.bell-telephone.com 5060;branch=z9hG4bK87asdks7",
                "2.0 UDP 192.0.2.1 5060;received=192.0.2.207;branch=z9hG4bK77asjd",
                "2.0 UDP first.example.com 4000;ttl=16;maddr=224.2.0.1;branch=z9hG4bKa7c6a8dlze.1",
            ],
        );
        reads(
            "v",
            "SIP/2.0/TCP a,SIP/2.0/TLS b \t, SIP/2.0/x!y c",
            &["2.0 TCP a -", "2.0 TLS b -", "2.0 x!y c -"],
        );
        reads("Via", "sip/7.10/udp h : 1", &["7.10 udp h 1"]);
        reads("Via", "SIP/2.0/ UDP h", &["2.0 UDP h -"]);
    }

    #[test]
    fn rfc5118_4_5_ipv6_sent_by_and_received() {
        reads(
            "Via",
            "SIP/2.0/UDP [2001:db8::9:1]:6050;received=[2001:db8::9:255];branch=z9",
            &["2.0 UDP 2001:db8::9:1 6050;received=[2001:db8::9:255];branch=z9"],
        );
        reads(
            "Via",
            "SIP/2.0/UDP [::1];received=2001:db8::9:255",
            &["2.0 UDP ::1 -;received=2001:db8::9:255"],
        );
        refuses(
            "Via",
            &[
                "SIP/2.0/UDP [2001:db8::9:1;branch=a",
                "SIP/2.0/UDP [::g]",
                "SIP/2.0/UDP 2001:db8::1",
            ],
        );
    }

    #[test]
    fn rfc3581_3_rport() {
        reads(
            "Via",
            "SIP/2.0/UDP 10.1.1.1:4540;rport;branch=z9",
            &["2.0 UDP 10.1.1.1 4540;rport;branch=z9"],
        );
        reads("Via", "SIP/2.0/UDP h;rport=abc", &["2.0 UDP h -;rport=abc"]);
    }

    #[test]
    fn malformed_vias() {
        refuses_at("Via", "SIP/2.0/UDP", 11);
        refuses(
            "Via",
            &[
                "",
                "SIP/2.0/UDP ;branch=a",
                "SIP/2.0 UDP h",
                "SIP/2.0/UDPh",
                "SIP/2.0/UDP[::1]",
                "RTSP/2.0/UDP h",
                "SIP/2/UDP h",
                "SIP//UDP h",
                "SIP/2.0/U\u{1}P h",
                "SIP/2.0/UDP h:",
                "SIP/2.0/UDP h:65536",
                "SIP/2.0/UDP h:+1",
                "SIP/2.0/UDP -h",
                "SIP/2.0/UDP h i",
                "SIP/2.0/UDP h,",
                "SIP/2.0/UDP h;branch=a (comment)",
                "SIP/2.0/UDP 192.0.2.15;;,;,,",
                "SIP/2.0/UDP h,, SIP/2.0/UDP i",
                ",SIP/2.0/UDP h",
                "SIP/2.0/UDP h, SIP/2.0/UDP",
            ],
        );
    }

    #[test]
    fn rfc3261_25_1_a_branch_has_a_value() {
        refuses("Via", &["SIP/2.0/UDP h;branch=a;x;Branch=b"]);
        for empty in ["branch=", "branch", "Branch=\"\""] {
            reads(
                "Via",
                &format!("SIP/2.0/UDP h;{empty};x"),
                &["2.0 UDP h -;x"],
            );
            let two = format!("SIP/2.0/UDP h;branch=a;{empty}");
            reads("Via", &two, &["2.0 UDP h -;branch=a"]);
        }
        reads(
            "Via",
            "SIP/2.0/UDP h;branch=a;branch=a",
            &["2.0 UDP h -;branch=a"],
        );
        reads(
            "Via",
            "SIP/2.0/UDP h;branch=\"a b\"",
            &[r#"2.0 UDP h -;branch="a b""#],
        );
        reads(
            "Via",
            "SIP/2.0/UDP h;branch=z9hG4bK7:4f/1",
            &["2.0 UDP h -;branch=z9hG4bK7:4f/1"],
        );
    }

    #[test]
    fn parameters_twice_and_empty_ones() {
        reads(
            "Via",
            "SIP/2.0/UDP h;rport;;branch=a;received=1.1.1.1;rport=5060;received=2.2.2.2;ttl=;",
            &["2.0 UDP h -;branch=a;rport=5060;received=2.2.2.2;ttl"],
        );
    }
}

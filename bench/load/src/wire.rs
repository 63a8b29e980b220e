//! The little of SIP that a sender needs: it reads what the servers under measurement write, and no more.

/// A line of the head by its name, as `b"To"`, without the line end.
pub(crate) fn line<'a>(message: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    lines(message).find(|line| line.starts_with(name) && line.get(name.len()) == Some(&b':'))
}

pub(crate) fn lines(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    message
        .split(|octet| *octet == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .take_while(|line| !line.is_empty())
}

pub(crate) fn status(response: &[u8]) -> Option<u16> {
    number(response.strip_prefix(b"SIP/2.0 ")?.get(..3)?)
}

/// Which call a response is for, and which of its requests: what [`branch`] wrote.
pub(crate) fn branched(response: &[u8]) -> Option<(usize, u8)> {
    let via = line(response, b"Via")?;
    let start = via
        .windows(COOKIE.len())
        .position(|window| window == COOKIE)?
        + COOKIE.len();
    let rest = &via[start..];
    let end = rest.iter().position(|octet| *octet == b'.')?;
    Some((number(&rest[..end])?, *rest.get(end + 1)?))
}

const COOKIE: &[u8] = b"z9hG4bK.";

/// The branch of a call's request: its number and a letter.
pub(crate) fn branch(call: usize, letter: u8, run: u32) -> String {
    format!("z9hG4bK.{call}.{}.{run}", letter as char)
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

//! One element of each shape, written by a pen; each function gives what must be read.

use crate::common::show::{self, param};
use crate::pen::{ALNUM, CALL_ID, DISPLAY, Pen, TEXT, VALUE};
use sip_parser::{Repeat, Row, Shape};

/// A line of the header.
pub fn value(pen: &mut Pen<'_>, row: &Row) -> Vec<String> {
    if row.repeat == Repeat::List0 && pen.once_in(8) {
        pen.empty(",");
        return Vec::new();
    }
    let (separator, skips) = match (row.shape, row.repeat) {
        (Shape::Privacy, _) => (";", true),
        (_, Repeat::One | Repeat::Lines) => return vec![element(pen, row)],
        (Shape::Via, _) => (",", false),
        _ => (",", true),
    };
    if row.shape == Shape::Contact && pen.once_in(8) {
        pen.put("*");
        return vec!["*".to_owned()];
    }
    if skips {
        pen.empty(separator);
    }
    let mut elements = vec![element(pen, row)];
    while pen.once_in(3) {
        match skips {
            true => pen.separators(separator),
            false => pen.separator(separator),
        }
        elements.push(element(pen, row));
    }
    if skips {
        pen.empty(separator);
    }
    elements
}

fn element(pen: &mut Pen<'_>, row: &Row) -> String {
    match row.shape {
        Shape::Address => address(pen) + &params(pen),
        Shape::NameAddr => name_addr(pen) + &params(pen),
        Shape::ReferTo => refer_to(pen),
        Shape::Route => route(pen) + &params(pen),
        Shape::Contact => address(pen) + &contact_params(pen) + &params(pen),
        Shape::Auth => auth(pen),
        Shape::AuthInfo => auth_params(pen),
        Shape::CallId if row.repeat == Repeat::One => call_id(pen, ",;"),
        Shape::CallId => call_id(pen, ";"),
        Shape::CallIdParams => call_id(pen, ",") + &params(pen),
        Shape::Cseq => spaced(pen, &[(1 << 31) - 1]),
        Shape::Rack => spaced(pen, &[u32::MAX, (1 << 31) - 1]),
        Shape::Date => date(pen),
        Shape::Integer => number(pen, u32::MAX),
        Shape::MaxForwards => number(pen, 255),
        Shape::IntegerParams => number(pen, u32::MAX) + &params(pen),
        Shape::Media => media(pen) + &params(pen),
        Shape::Params => param_list(pen),
        Shape::Privacy | Shape::Token => pen.token(),
        Shape::RetryAfter => retry_after(pen) + &params(pen),
        Shape::Text if pen.once_in(8) => String::new(),
        Shape::Text | Shape::Raw => pen.words_of(TEXT, 20),
        Shape::Timestamp => timestamp(pen),
        Shape::TokenParams => pen.token() + &params(pen),
        Shape::UriParams if pen.once_in(4) => name(pen) + &params(pen),
        Shape::UriParams => bracketed(pen) + &params(pen),
        Shape::Version => version(pen),
        Shape::Via => via(pen) + &params(pen),
        Shape::Warning => warning(pen),
        Shape::WordParams => show::word(&param_value(pen)) + &params(pen),
    }
}

fn number(pen: &mut Pen<'_>, most: u32) -> String {
    let value = pen.number(most);
    pen.put_number(value)
}

/// Numbers and a method.
fn spaced(pen: &mut Pen<'_>, most: &[u32]) -> String {
    let mut read = String::new();
    for most in most {
        read += &number(pen, *most);
        read += " ";
        pen.some_blanks();
    }
    read + &pen.token()
}

/// `*( SEMI generic-param )`; a letter's names differ by their number.
fn params(pen: &mut Pen<'_>) -> String {
    let mut read = String::new();
    let most = if pen.once_in(16) { 20 } else { 4 };
    for number in 0..pen.pick(most) {
        pen.separators(";");
        read += &generic_param(pen, number);
    }
    pen.empty(";");
    read
}

fn generic_param(pen: &mut Pen<'_>, number: usize) -> String {
    let name = param_name(pen, number);
    if pen.once_in(3) {
        if pen.once_in(4) {
            pen.separator("=");
        }
        return param(&name, "");
    }
    pen.separator("=");
    param(&name, &param_value(pen))
}

fn param_name(pen: &mut Pen<'_>, number: usize) -> String {
    let letters = ["p", "Lr", "-.!%*_+`'~"][pen.pick(3)];
    let name = format!("{letters}{number}");
    pen.put_any_case(&name)
}

fn param_value(pen: &mut Pen<'_>) -> String {
    match pen.pick(4) {
        0 | 1 => pen.some_of(VALUE, 10),
        2 => pen.quoted(),
        _ => {
            pen.put("<");
            let uri = pen.some_of("aZ0-_.!~*'()[]/?:@&=+$,;#", 12);
            pen.put(">");
            format!("<{uri}>")
        }
    }
}

fn param_list(pen: &mut Pen<'_>) -> String {
    let mut read = generic_param(pen, 0);
    for number in 1..=pen.pick(4) {
        pen.separators(";");
        read += &generic_param(pen, number);
    }
    read
}

fn address(pen: &mut Pen<'_>) -> String {
    if pen.once_in(3) {
        return format!("<{}>", uri(pen, Parts::Authority).text());
    }
    name_addr(pen)
}

/// Without brackets its parameters are the URI's.
fn route(pen: &mut Pen<'_>) -> String {
    if pen.once_in(3) {
        let uri = format!("<{}>", uri(pen, Parts::Parameters).text());
        // A blank ends it: what follows is the header's.
        pen.put(" ");
        return uri;
    }
    name_addr(pen)
}

/// Without brackets all is the URI's, once it has headers.
fn refer_to(pen: &mut Pen<'_>) -> String {
    let start = pen.wire.len();
    match pen.pick(4) {
        0 | 1 => name_addr(pen) + &params(pen),
        2 => format!("<{}>", uri(pen, Parts::Authority).text()),
        _ => {
            let mut uri = uri(pen, Parts::Parameters);
            if !uri.kind.starts_with("Sip") {
                pen.wire.truncate(start);
                return name_addr(pen) + &params(pen);
            }
            pen.put("?");
            uri.headers = "?".to_owned() + &escapable(pen, headers(&uri));
            pen.put(" ");
            format!("<{}>", uri.text()) + &params(pen)
        }
    }
}

/// Text in brackets that is no URI.
fn name(pen: &mut Pen<'_>) -> String {
    pen.put("<");
    let name = pen.some_of(ALNUM, 4) + &pen.some_of("aZ0-_./!", 8);
    pen.put(">");
    format!("<:{name}>")
}

fn name_addr(pen: &mut Pen<'_>) -> String {
    let display = match pen.pick(3) {
        0 => String::new(),
        1 => {
            let display = pen.words_of(DISPLAY, 16);
            pen.blanks();
            display
        }
        _ => {
            let display = pen.quoted();
            pen.blanks();
            display
        }
    };
    let uri = bracketed(pen);
    if display.is_empty() {
        uri
    } else {
        format!("{display:?} {uri}")
    }
}

fn bracketed(pen: &mut Pen<'_>) -> String {
    pen.put("<");
    let uri = uri(pen, Parts::All).text();
    pen.put(">");
    format!("<{uri}>")
}

fn contact_params(pen: &mut Pen<'_>) -> String {
    let (name, value) = match pen.pick(4) {
        0 | 1 => return String::new(),
        2 => (
            "q",
            ["1", "0.", "0.5", "1.000", "0.1234", "a"][pen.pick(6)].to_owned(),
        ),
        _ => ("expires", pen.number(u32::MAX).to_string()),
    };
    pen.separator(";");
    let name = pen.put_any_case(name);
    pen.separator("=");
    pen.put(&value);
    param(&name, &value)
}

fn auth(pen: &mut Pen<'_>) -> String {
    let scheme = pen.token();
    match pen.pick(4) {
        0 => scheme,
        1 => {
            pen.some_blanks();
            let token68 = pen.some_of("aZ09-._~+/", 12) + ["", "=", "=="][pen.pick(3)];
            let equals = token68.trim_start_matches(|c| c != '=');
            pen.put(equals);
            format!("{scheme} {token68}")
        }
        _ => {
            pen.some_blanks();
            scheme + &auth_params(pen)
        }
    }
}

fn auth_params(pen: &mut Pen<'_>) -> String {
    let mut read = String::new();
    pen.empty(",");
    for number in 0..=pen.pick(6) {
        match pen.pick(12) {
            _ if number == 0 => {}
            // The comma may be missing.
            11 => pen.some_blanks(),
            _ => pen.separators(","),
        }
        let name = param_name(pen, number);
        pen.separator("=");
        let value = if pen.once_in(2) {
            pen.quoted()
        } else {
            pen.some_of(VALUE, 10)
        };
        read += &param(&name, &value);
    }
    read
}

fn call_id(pen: &mut Pen<'_>, more: &str) -> String {
    pen.some_of(&format!("{CALL_ID}{more}"), 20)
}

fn date(pen: &mut Pen<'_>) -> String {
    let day = 1 + pen.pick(28);
    let (month, year) = (pen.pick(12), pen.number(9999));
    let time = format!(
        "{:02}:{:02}:{:02}",
        pen.pick(24),
        pen.pick(60),
        pen.pick(60)
    );
    let weekday = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][pen.pick(7)];
    let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let name = &months[month * 3..month * 3 + 3];
    let zone = ["GMT", "GMT", "UTC"][pen.pick(3)];
    let digits = 1 + usize::from(!pen.once_in(3));
    pen.put(&format!(
        "{weekday}, {day:0digits$} {name} {year:04} {time} {zone}"
    ));
    format!("{year:04}-{:02}-{day:02} {time}", month + 1)
}

fn media(pen: &mut Pen<'_>) -> String {
    let main = pen.token();
    pen.separator("/");
    main + "/" + &pen.token()
}

fn retry_after(pen: &mut Pen<'_>) -> String {
    let seconds = number(pen, u32::MAX);
    pen.blanks();
    let comment = if pen.once_in(2) {
        pen.comment()
    } else {
        String::new()
    };
    format!("{seconds} {comment:?}")
}

fn timestamp(pen: &mut Pen<'_>) -> String {
    let time = ["54", "0054.", "1.25", "4294967296.000001"][pen.pick(4)];
    let delay = ["", "5", ".5", "0.125"][pen.pick(4)];
    pen.put(time);
    if !delay.is_empty() {
        pen.some_blanks();
        pen.put(delay);
    }
    let float = |text: &str| text.parse::<f64>().unwrap_or(0.0);
    format!("{} {}", float(time), float(delay))
}

pub fn version(pen: &mut Pen<'_>) -> String {
    let major = number(pen, u32::from(u16::MAX));
    pen.put(".");
    format!("{major}.{}", number(pen, u32::from(u16::MAX)))
}

fn via(pen: &mut Pen<'_>) -> String {
    pen.put_any_case("SIP");
    pen.separator("/");
    let version = if pen.once_in(4) {
        version(pen)
    } else {
        pen.put("2.0");
        "2.0".to_owned()
    };
    pen.separator("/");
    let transport = if pen.once_in(4) {
        pen.token()
    } else {
        pen.put_any_case("UDP")
    };
    pen.some_blanks();
    let host = host(pen);
    let port = if pen.once_in(2) {
        pen.separator(":");
        number(pen, 65_535)
    } else {
        "-".to_owned()
    };
    let mut branch = String::new();
    if pen.once_in(2) {
        pen.separator(";");
        let name = pen.put_any_case("branch");
        pen.separator("=");
        branch = param(&name, &pen.token());
    }
    format!("{version} {transport} {host} {port}{branch}")
}

fn warning(pen: &mut Pen<'_>) -> String {
    let code = 100 + pen.number(899);
    pen.put(&code.to_string());
    pen.some_blanks();
    let agent = pen.some_of(VALUE, 10);
    pen.some_blanks();
    format!("{code} {agent} {:?}", pen.quoted())
}

/// Writes a host; gives it without brackets.
fn host(pen: &mut Pen<'_>) -> String {
    let address = match pen.pick(5) {
        0 => return pen.some_of(ALNUM, 6),
        1 => return pen.some_of(ALNUM, 1) + &pen.some_of("aZ0-._", 12),
        2 => "2001:db8::10",
        3 => "::ffff:192.0.2.10",
        _ => "2001:db8:::192.0.2.1",
    };
    pen.put(&format!("[{address}]"));
    address.to_owned()
}

/// The components of a URI, as they were written.
#[derive(Default)]
pub struct Uri {
    pub kind: &'static str,
    pub scheme: String,
    pub authority: String,
    pub user: Option<String>,
    pub host: String,
    pub port: Option<u32>,
    pub parameters: String,
    pub headers: String,
}

impl Uri {
    pub fn text(&self) -> String {
        format!(
            "{}:{}{}{}",
            self.scheme, self.authority, self.parameters, self.headers
        )
    }
}

/// Which parts a URI may have where it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// Without brackets: no comma, semicolon or question mark.
    Authority,
    /// Without brackets, but that its parameters are its own.
    Parameters,
    All,
    /// All but blanks, which end it in a start line.
    RequestUri,
}

/// The octets of a URI's headers. Without a user an `@` in them would end one.
fn headers(uri: &Uri) -> &'static str {
    match uri.user {
        Some(_) => "aZ0-_.!~*'()[]/?:+$&=;@",
        None => "aZ0-_.!~*'()[]/?:+$&=;",
    }
}

/// Writes a URI.
pub fn uri(pen: &mut Pen<'_>, parts: Parts) -> Uri {
    let bare = matches!(parts, Parts::Authority | Parts::Parameters);
    let (kind, scheme) = [
        ("Sip", "sip"),
        ("Sips", "sips"),
        ("Tel", "tel"),
        ("Other", "x-a.b+c"),
    ][pen.pick(4)];
    let scheme = pen.put_any_case(scheme);
    pen.put(":");
    let start = pen.wire.len();
    let mut uri = Uri {
        kind,
        scheme,
        ..Uri::default()
    };
    match kind {
        "Tel" => drop(pen.some_of("0123456789+-.()#*", 14)),
        "Other" => drop(pen.some_of(
            if bare {
                "aZ0-_.!~*'():/@&=+$[]#"
            } else {
                "aZ0:/?#[]@!$&'()*+,;="
            },
            20,
        )),
        _ => hostport(pen, &mut uri, bare),
    }
    uri.authority = pen.wire[start..].to_owned();
    if kind != "Other" && parts != Parts::Authority {
        uri.parameters = component(pen, ";", "aZ0-_.!~*'()[]/:&+$;=");
        if kind.starts_with("Sip") && parts == Parts::All && pen.once_in(6) {
            uri.parameters += &quoted_param(pen);
        }
    }
    if kind.starts_with("Sip") && !bare {
        uri.headers = component(pen, "?", headers(&uri));
    }
    uri
}

/// Writes a parameter of a URI with a value in quotes; gives it as it is written.
fn quoted_param(pen: &mut Pen<'_>) -> String {
    let start = pen.wire.len();
    pen.put(";thinfo=");
    pen.quoted();
    pen.wire[start..].to_owned()
}

fn hostport(pen: &mut Pen<'_>, uri: &mut Uri, bare: bool) {
    if pen.once_in(2) {
        let octets = if bare {
            "aZ0-_.!~*'()&=+$/#^`{|}éΩ"
        } else {
            "aZ0-_.!~*'()&=+$,;?/#^`{|}éΩ"
        };
        uri.user = Some(match pen.once_in(12) {
            true => String::new(),
            false => pen.some_of(octets, 1) + &escapable(pen, &format!("{octets}:")),
        });
        pen.put("@");
    }
    uri.host = host(pen);
    if pen.once_in(2) {
        pen.put(":");
        uri.port = Some(pen.number(65_535));
        let port = uri.port.unwrap_or_default();
        pen.put_number(port);
    }
}

fn component(pen: &mut Pen<'_>, lead: &str, octets: &str) -> String {
    if !pen.once_in(2) {
        return String::new();
    }
    pen.put(lead);
    lead.to_owned() + &escapable(pen, octets)
}

/// Some of the octets, and escapes.
fn escapable(pen: &mut Pen<'_>, octets: &str) -> String {
    let mut text = String::new();
    for _ in 0..pen.pick(4) {
        text += &pen.some_of(octets, 4);
        if pen.once_in(2) {
            let escape = ["%41", "%00", "%fF", "%25"][pen.pick(4)];
            pen.put(escape);
            text += escape;
        }
    }
    text
}

//! The door between the SIP parser and the BEAM: `Sippet.Native` on the other side.
//!
//! It holds no grammar. What the parser found becomes terms of the documented shapes, errors become tuples.
#![deny(unsafe_code)]

mod atoms;
mod encode;
mod error;
mod literals;
mod print;
mod term;

use atoms::Atoms;
use encode::Encoder;
use literals::Literals;
use rustler::{Binary, Env, Error, NifResult, Term};
use sha2::{Digest, Sha512_256};
use sip_parser::{Element, Frame, HeaderId, Parser, Resume};
use term::{Maker, Raw};

rustler::init!("Elixir.Sippet.Native", load = load);

/// The CRC-32 of the header table and of the names table.
const TABLE_HASHES: (u32, u32) = (sip_parser::TABLE_HASH, sip_parser::NAMES_HASH);

/// Refuses a library that was built from other tables than its caller.
fn load(env: Env<'_>, hashes: Term<'_>) -> bool {
    Atoms::load(Maker::new(env));
    hashes
        .decode()
        .is_ok_and(|hashes: (u32, u32)| hashes == TABLE_HASHES)
}

fn read_literals<'a>(make: Maker<'a>, literals: Term<'a>) -> NifResult<Literals<'a>> {
    let elements = make.elements(literals.into()).ok_or(Error::BadArg)?;
    Literals::new(elements).ok_or(Error::BadArg)
}

#[rustler::nif]
fn parse<'a>(env: Env<'a>, input: Binary<'a>, literals: Term<'a>) -> NifResult<Term<'a>> {
    parse_message(env, input, literals)
}

/// The same for input that would hold a scheduler for too long.
#[rustler::nif(schedule = "DirtyCpu")]
fn parse_dirty<'a>(env: Env<'a>, input: Binary<'a>, literals: Term<'a>) -> NifResult<Term<'a>> {
    parse_message(env, input, literals)
}

fn parse_message<'a>(env: Env<'a>, input: Binary<'a>, literals: Term<'a>) -> NifResult<Term<'a>> {
    let make = Maker::new(env);
    let literals = read_literals(make, literals)?;
    let octets = input.as_slice();
    let whole = Raw::from(input.to_term(env));
    let mut parser = Parser::new();
    let raw = match parser.parse(octets) {
        Ok(message) => {
            let binary = (!message.is_unfolded()).then_some(whole);
            Encoder::new(make, literals, message.text(), binary).message(
                &message,
                whole,
                octets.len(),
            )?
        }
        Err(error) => error::message(make, literals, octets, error),
    };
    Ok(make.term(env, raw))
}

#[rustler::nif]
fn parse_uri<'a>(env: Env<'a>, input: Binary<'a>, literals: Term<'a>) -> NifResult<Term<'a>> {
    let make = Maker::new(env);
    let literals = read_literals(make, literals)?;
    let octets = input.as_slice();
    let whole = Raw::from(input.to_term(env));
    let raw = match sip_parser::parse_uri(octets) {
        Ok(uri) => Encoder::new(make, literals, octets, Some(whole)).uri(&uri)?,
        Err(error) => error::text(make, literals, octets, error),
    };
    Ok(make.term(env, raw))
}

/// The values of one header, by its row number in the table.
#[rustler::nif]
fn parse_values<'a>(
    env: Env<'a>,
    row: usize,
    values: Vec<Binary<'a>>,
    literals: Term<'a>,
) -> NifResult<Term<'a>> {
    parse_lines(env, row, values, literals)
}

/// The same for values that would hold a scheduler for too long.
#[rustler::nif(schedule = "DirtyCpu")]
fn parse_values_dirty<'a>(
    env: Env<'a>,
    row: usize,
    values: Vec<Binary<'a>>,
    literals: Term<'a>,
) -> NifResult<Term<'a>> {
    parse_lines(env, row, values, literals)
}

fn parse_lines<'a>(
    env: Env<'a>,
    row: usize,
    values: Vec<Binary<'a>>,
    literals: Term<'a>,
) -> NifResult<Term<'a>> {
    let make = Maker::new(env);
    let literals = read_literals(make, literals)?;
    let id = HeaderId::all().nth(row).ok_or(Error::BadArg)?;
    let lines: Vec<&[u8]> = values.iter().map(Binary::as_slice).collect();
    let mut parser = Parser::new();
    let raw = match parser.parse_values(id, &lines) {
        Ok(values) => {
            let encoder = Encoder::new(make, literals, values.text(), None);
            let value = encoder.value(id, values.items(), &values)?;
            make.tuple(&[Atoms::get().ok.into(), value])
        }
        Err(error) => error::text(make, literals, &lines.concat(), error),
    };
    Ok(make.term(env, raw))
}

/// The elements of one header, each for itself: `{:ok, element}`, or `{text, refusal}` of a malformed one.
#[rustler::nif]
fn parse_each<'a>(
    env: Env<'a>,
    row: usize,
    values: Vec<Binary<'a>>,
    literals: Term<'a>,
) -> NifResult<Term<'a>> {
    parse_elements(env, row, values, literals)
}

/// The same for values that would hold a scheduler for too long.
#[rustler::nif(schedule = "DirtyCpu")]
fn parse_each_dirty<'a>(
    env: Env<'a>,
    row: usize,
    values: Vec<Binary<'a>>,
    literals: Term<'a>,
) -> NifResult<Term<'a>> {
    parse_elements(env, row, values, literals)
}

fn parse_elements<'a>(
    env: Env<'a>,
    row: usize,
    values: Vec<Binary<'a>>,
    literals: Term<'a>,
) -> NifResult<Term<'a>> {
    let make = Maker::new(env);
    let literals = read_literals(make, literals)?;
    let id = HeaderId::all().nth(row).ok_or(Error::BadArg)?;
    let lines: Vec<&[u8]> = values.iter().map(Binary::as_slice).collect();
    let mut parser = Parser::new();
    let (values, elements) = parser.parse_each(id, &lines);
    let encoder = Encoder::new(make, literals, values.text(), None);
    let elements: NifResult<Vec<Raw<'a>>> = elements
        .iter()
        .map(|element| match element {
            Element::Good(item) => {
                let element = encoder.item(item, &values)?;
                Ok(make.tuple(&[Atoms::get().ok.into(), element]))
            }
            Element::Bad(span, error) => {
                let text = span.of(values.text());
                let refusal = error::text(make, literals, text, *error);
                Ok(make.tuple(&[make.binary(text), refusal]))
            }
        })
        .collect();
    Ok(make.term(env, make.list(&elements?)))
}

/// The text of a message or of a part of it; [`print::print`] says which there are.
#[rustler::nif(name = "print_nif")]
fn print_part<'a>(env: Env<'a>, part: Term<'a>) -> NifResult<Term<'a>> {
    let make = Maker::new(env);
    Ok(make.term(env, print::print(make, part.into(), false)?))
}

/// The same for what would hold a scheduler for too long.
#[rustler::nif(schedule = "DirtyCpu")]
fn print_dirty<'a>(env: Env<'a>, part: Term<'a>) -> NifResult<Term<'a>> {
    let make = Maker::new(env);
    Ok(make.term(env, print::print(make, part.into(), true)?))
}

/// `{:complete, octets}` or `{:partial, resume}`; `resume` is a number to be given back.
#[rustler::nif]
fn frame<'a>(
    env: Env<'a>,
    buffer: Binary<'a>,
    resume: u64,
    literals: Term<'a>,
) -> NifResult<Term<'a>> {
    frame_first(env, buffer, resume, literals)
}

/// The same for a buffer that would hold a scheduler for too long.
#[rustler::nif(schedule = "DirtyCpu")]
fn frame_dirty<'a>(
    env: Env<'a>,
    buffer: Binary<'a>,
    resume: u64,
    literals: Term<'a>,
) -> NifResult<Term<'a>> {
    frame_first(env, buffer, resume, literals)
}

fn frame_first<'a>(
    env: Env<'a>,
    buffer: Binary<'a>,
    resume: u64,
    literals: Term<'a>,
) -> NifResult<Term<'a>> {
    let make = Maker::new(env);
    let literals = read_literals(make, literals)?;
    let atoms = Atoms::get();
    let octets = buffer.as_slice();
    let resume = unpacked(resume);
    let raw = match sip_parser::frame(octets, resume) {
        Ok(Frame::Complete(length)) => {
            make.tuple(&[atoms.complete.into(), make.integer(length as u32)])
        }
        Ok(Frame::Partial(resume)) => {
            make.tuple(&[atoms.partial.into(), make.long(packed(resume))])
        }
        Err(error) => error::message(make, literals, octets, error),
    };
    Ok(make.term(env, raw))
}

/// Bits of each field: [`sip_parser::limits::MESSAGE_BYTES`] and the header block behind them fit.
const FIELD: u32 = 21;

fn packed(resume: Resume) -> u64 {
    let Resume {
        start,
        scanned,
        total,
    } = resume;
    u64::from(total) << (2 * FIELD) | u64::from(start) << FIELD | u64::from(scanned)
}

fn unpacked(resume: u64) -> Resume {
    let field = |number: u32| (resume >> (number * FIELD)) as u32 & ((1 << FIELD) - 1);
    Resume {
        start: field(1),
        scanned: field(0),
        total: field(2),
    }
}

/// CRC-32 of the tables that this library was built with.
#[rustler::nif]
fn table_hashes() -> (u32, u32) {
    TABLE_HASHES
}

/// SHA-512/256 (FIPS 180-4 §5.3.6.2), which RFC 7616 wants and OTP 25 has not.
#[rustler::nif]
fn sha512_256_nif<'a>(env: Env<'a>, input: Binary<'a>) -> Term<'a> {
    digest(env, input)
}

/// The same for input that would hold a scheduler for too long.
#[rustler::nif(schedule = "DirtyCpu")]
fn sha512_256_dirty<'a>(env: Env<'a>, input: Binary<'a>) -> Term<'a> {
    digest(env, input)
}

fn digest<'a>(env: Env<'a>, input: Binary<'a>) -> Term<'a> {
    let make = Maker::new(env);
    make.term(env, make.binary(&Sha512_256::digest(input.as_slice())))
}

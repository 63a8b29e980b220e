//! From the terms of the documented shapes to text: the way back of `encode`.
//!
//! Nothing is built on the way: the terms are read where they stand, each piece of text is looked over once and
//! goes into one buffer. Any term at all may stand anywhere, as users build messages by hand: what is not of
//! the shape is refused, and so is text that could end its line.

mod header;
mod host;
mod kind;
mod message;
mod octets;
mod order;
mod param;
mod shape;
mod uri;

use crate::atoms::Atoms;
use crate::term::{Maker, Raw};
pub(crate) use order::Order;
use rustler::{Error, NifResult};
use sip_parser::{HeaderId, Shape};

/// Octets up to which a head is printed on a normal scheduler; `bench/README.md` has the measurement.
const HEAD: usize = 16_384;

/// The same for the body, which is no more than copied.
const BODY: usize = 262_144;

/// Headers up to which a message is tried there: those with an empty list cost time without an octet.
const HEADERS: usize = 512;

/// Octets that the buffer starts with: most messages need no more.
const USUAL: usize = 2_048;

/// Why there is no text.
enum Stop<'a> {
    /// Too much for a normal scheduler.
    Large,
    /// A term that can't be printed where it stands.
    Refused(Place<'a>, Wanted, Raw<'a>),
    /// An atom that names no typed header.
    Untyped(Raw<'a>),
}

/// Printing goes on, or it has stopped and the printer knows why.
type Printed = Result<(), Stopped>;

/// The reason lies in the printer, so that a result is no more than a flag.
struct Stopped;

/// Where a refused term stands.
#[derive(Clone, Copy)]
enum Place<'a> {
    Header(HeaderId),
    Raw(Raw<'a>),
    RequestLine,
    Words(&'static str),
}

/// What should have stood there.
#[derive(Clone, Copy)]
enum Wanted {
    Shape(Shape),
    Words(&'static str),
}

struct Printer<'a> {
    make: Maker<'a>,
    atoms: &'static Atoms,
    out: Vec<u8>,
    /// Whether as much may be printed as there is.
    patient: bool,
    /// What is being printed, for the error.
    place: Place<'a>,
    stop: Option<Stop<'a>>,
}

/// Prints one of
///
/// * `{:message, start_line, headers, body}`
/// * `{:headers, headers, octets}`: the header section alone, of a body with so many octets
/// * `{:start_line, start_line}`
/// * `{:value, row, value}`: what stands behind the name of a header
/// * `{:uri, uri}`
///
/// and gives a binary, `:large` for what takes too long on a normal scheduler, or the refusal: `{:error, {place,
/// wanted, value}}`, where `wanted` is text or the number of a row whose shape it is, or `{:untyped, key}`.
pub(crate) fn print<'a>(make: Maker<'a>, part: Raw<'a>, patient: bool) -> NifResult<Raw<'a>> {
    let mut printer = Printer {
        make,
        atoms: Atoms::get(),
        out: Vec::with_capacity(USUAL),
        patient,
        place: Place::Words("a message"),
        stop: None,
    };
    let part = make.elements(part).ok_or(Error::BadArg)?;
    match printer.part(part)? {
        Ok(()) => Ok(make.binary(&printer.out)),
        Err(Stopped) => Ok(printer.stopped()),
    }
}

impl<'a> Printer<'a> {
    fn part(&mut self, part: &[Raw<'a>]) -> NifResult<Printed> {
        let tags = &self.atoms.parts;
        Ok(match *part {
            [tag, line, headers, body] if tag == tags.message => self.message(line, headers, body),
            [tag, headers, octets] if tag == tags.headers => {
                let octets = self.make.unsigned(octets).ok_or(Error::BadArg)?;
                self.headers(headers, octets)
            }
            [tag, line] if tag == tags.start_line => self.start_line(line),
            [tag, row, value] if tag == tags.value => {
                let row = self.make.unsigned(row).ok_or(Error::BadArg)?;
                let id = HeaderId::all().nth(row as usize).ok_or(Error::BadArg)?;
                self.whole_value(id, value)
            }
            [tag, uri] if tag == tags.uri => self.uri(uri),
            _ => return Err(Error::BadArg),
        })
    }

    #[inline]
    fn put(&mut self, text: &[u8]) {
        self.out.extend_from_slice(text);
    }

    /// A number in digits.
    fn number(&mut self, mut number: u64) {
        let mut digits = [0; 20];
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.put(&digits[first..]);
    }

    /// An integer that is not negative, or the digits of one.
    #[inline]
    fn integer_of(&self, term: Raw<'a>) -> Option<u64> {
        match self.make.unsigned(term) {
            None => self.digits(term),
            number => number,
        }
    }

    /// The text of a binary. All that grows without bound comes through here, so that this is where a normal
    /// scheduler is left.
    #[inline]
    fn octets(&mut self, term: Raw<'a>, wanted: Wanted) -> Result<&'a [u8], Stopped> {
        match self.make.octets(term) {
            None => Err(self.refused(wanted, term)),
            Some(text) => self.bounded(text),
        }
    }

    #[inline]
    fn bounded(&mut self, text: &'a [u8]) -> Result<&'a [u8], Stopped> {
        match self.out.len() + text.len() > HEAD && !self.patient {
            true => Err(self.large()),
            false => Ok(text),
        }
    }

    #[cold]
    fn large(&mut self) -> Stopped {
        self.stop = Some(Stop::Large);
        Stopped
    }

    #[cold]
    fn refused(&mut self, wanted: Wanted, value: Raw<'a>) -> Stopped {
        self.stop = Some(Stop::Refused(self.place, wanted, value));
        Stopped
    }

    #[cold]
    fn refuse(&mut self, wanted: Wanted, value: Raw<'a>) -> Printed {
        Err(self.refused(wanted, value))
    }

    #[cold]
    fn stopped(&self) -> Raw<'a> {
        let (make, atoms) = (self.make, self.atoms);
        let details = match &self.stop {
            None | Some(Stop::Large) => return atoms.parts.large.into(),
            Some(Stop::Untyped(key)) => make.tuple(&[atoms.parts.untyped.into(), *key]),
            Some(Stop::Refused(place, wanted, value)) => {
                let place = match place {
                    Place::Header(id) => make.binary(id.row().name.as_bytes()),
                    Place::Raw(name) => *name,
                    Place::RequestLine => make.binary(b"the request line"),
                    Place::Words(words) => make.binary(words.as_bytes()),
                };
                let wanted = match wanted {
                    Wanted::Words(words) => make.binary(words.as_bytes()),
                    Wanted::Shape(shape) => {
                        let row = HeaderId::all().find(|id| id.row().shape == *shape);
                        make.integer(row.map_or(0, HeaderId::index) as u32)
                    }
                };
                make.tuple(&[place, wanted, *value])
            }
        };
        make.tuple(&[atoms.error.into(), details])
    }
}

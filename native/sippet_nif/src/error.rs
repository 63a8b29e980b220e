//! `{:error, {reason, header, line, offset, excerpt, request}}`: what was wrong, and what an answer needs.

use crate::atoms::Atoms;
use crate::literals::Literals;
use crate::term::{Maker, Raw};
use sip_parser::{Error, HeaderId, salvage};

/// Octets of the offending text that an error carries.
const EXCERPT: usize = 80;

/// A message's refusal; for a request with its method, its Request-URI and the lines that an
/// answer copies.
#[cold]
pub(crate) fn message<'a>(
    make: Maker<'a>,
    literals: Literals<'a>,
    input: &[u8],
    error: Error,
) -> Raw<'a> {
    let atoms = Atoms::get();
    let request = match salvage(input) {
        None => atoms.nil.into(),
        Some(salvage) => {
            let lines: Vec<Raw<'a>> = salvage
                .lines
                .iter()
                // RFC3261§18.2.2 - one below the topmost Via must not take its place.
                .filter(|(id, _)| salvage.topmost_via || *id != HeaderId::VIA)
                .map(|(id, value)| make.tuple(&[literals.name(*id), make.binary(value)]))
                .collect();
            let method = atoms
                .method(salvage.method)
                .map_or_else(|| make.binary(salvage.method), Raw::from);
            let uri = match salvage.uri {
                b"" => atoms.nil.into(),
                text => make.binary(text),
            };
            make.tuple(&[method, uri, make.list(&lines)])
        }
    };
    refusal(make, literals, input, error, request)
}

/// The refusal of text that is no message.
#[cold]
pub(crate) fn text<'a>(
    make: Maker<'a>,
    literals: Literals<'a>,
    input: &[u8],
    error: Error,
) -> Raw<'a> {
    refusal(make, literals, input, error, Atoms::get().nil.into())
}

fn refusal<'a>(
    make: Maker<'a>,
    literals: Literals<'a>,
    input: &[u8],
    error: Error,
    request: Raw<'a>,
) -> Raw<'a> {
    let atoms = Atoms::get();
    let details = make.tuple(&[
        atoms.reason(error.reason).into(),
        error
            .header
            .map_or(atoms.nil.into(), |id| literals.name(id)),
        make.integer(error.line(input) as u32),
        make.integer(error.offset as u32),
        make.binary(error.excerpt(input, EXCERPT)),
        request,
    ]);
    make.tuple(&[atoms.error.into(), details])
}

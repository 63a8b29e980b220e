//! In which order the typed headers stand, and how their keys are found.

use crate::term::{Atom, Maker, Raw};
use sip_parser::{HeaderId, Level};

/// RFC3261§7.3.1 - header fields that proxies need appear toward the top.
const FIRST: [HeaderId; 9] = [
    HeaderId::VIA,
    HeaderId::ROUTE,
    HeaderId::RECORD_ROUTE,
    HeaderId::MAX_FORWARDS,
    HeaderId::FROM,
    HeaderId::TO,
    HeaderId::CALL_ID,
    HeaderId::CSEQ,
    HeaderId::CONTACT,
];

/// What describes the body stands last, behind the headers without a type. Content-Length is no line of the map.
const LAST: [HeaderId; 6] = [
    HeaderId::MIME_VERSION,
    HeaderId::CONTENT_DISPOSITION,
    HeaderId::CONTENT_ENCODING,
    HeaderId::CONTENT_LANGUAGE,
    HeaderId::CONTENT_TYPE,
    HeaderId::CONTENT_LENGTH,
];

const SLOTS: usize = 128;

/// The places of the typed headers, found by their atoms.
pub(crate) struct Order {
    slots: [Option<(Atom, u8)>; SLOTS],
    /// Each header in its place, with what stands before its value.
    lines: Vec<(HeaderId, Box<[u8]>)>,
}

impl Order {
    pub(crate) fn new(maker: Maker<'_>) -> Order {
        let middle = HeaderId::all().filter(|id| {
            id.row().level != Level::Extension && !FIRST.contains(id) && !LAST.contains(id)
        });
        let ids: Vec<HeaderId> = FIRST.into_iter().chain(middle).chain(LAST).collect();
        let mut slots = [None; SLOTS];
        for (place, id) in ids.iter().enumerate() {
            let atom = maker.atom(&id.row().name.to_ascii_lowercase().replace('-', "_"));
            let mut slot = slot(atom.into());
            while slots[slot].is_some() {
                slot = (slot + 1) % SLOTS;
            }
            slots[slot] = Some((atom, place as u8));
        }
        let line = |id: HeaderId| (id, format!("\r\n{}: ", id.row().name).into_bytes().into());
        Order {
            slots,
            lines: ids.into_iter().map(line).collect(),
        }
    }

    /// The place of a key; none of what is no typed header's.
    #[inline]
    pub(super) fn place(&self, key: Raw<'_>) -> Option<usize> {
        let mut slot = slot(key);
        while let Some((atom, place)) = self.slots[slot] {
            if key == atom {
                return Some(usize::from(place));
            }
            slot = (slot + 1) % SLOTS;
        }
        None
    }

    #[inline]
    pub(super) fn line(&'static self, place: usize) -> (HeaderId, &'static [u8]) {
        let (id, prefix) = &self.lines[place];
        (*id, prefix)
    }

    /// The places before the headers without a type, as a set of bits.
    #[inline]
    pub(super) fn first(&self) -> u64 {
        (1 << (self.lines.len() - LAST.len())) - 1
    }

    /// The places behind them, without Content-Length.
    #[inline]
    pub(super) fn last(&self) -> u64 {
        ((1 << (self.lines.len() - 1)) - 1) & !self.first()
    }
}

/// Atoms are numbered from the sixth bit on.
#[inline]
fn slot(key: Raw<'_>) -> usize {
    (key.number() >> 6) % SLOTS
}

//! The header table, and how a name on the wire finds its row.

use lazy_static::lazy_static;

/// A row number of [`ROWS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderId(u8);

/// The grammar of one element of a header's value; a file each in `src/shape/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The names are those of headers.tbl and of the files.
pub enum Shape {
    Address,
    Auth,
    AuthInfo,
    CallId,
    CallIdParams,
    Contact,
    Cseq,
    Date,
    Integer,
    IntegerParams,
    MaxForwards,
    Media,
    NameAddr,
    Params,
    Privacy,
    Rack,
    Raw,
    ReferTo,
    RetryAfter,
    Route,
    Text,
    Timestamp,
    Token,
    TokenParams,
    UriParams,
    Version,
    Via,
    Warning,
    WordParams,
}

/// How often an element may stand in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// One value on one line.
    One,
    /// Split at commas; the lines append in order. A value without an element says nothing.
    List,
    /// As `List`, and a value without an element has a meaning of its own.
    List0,
    /// One value on each line, which no comma splits; the lines append in order.
    Lines,
}

/// What becomes of a value that does not parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The message is refused.
    Essential,
    /// The header is given as text.
    Typed,
    /// The header is text in every message, and typed on demand.
    Extension,
}

/// One row of `headers.tbl`.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The spelling registered with IANA.
    pub name: &'static str,
    /// The compact form in lower case, or 0.
    pub compact: u8,
    /// The grammar of one element.
    pub shape: Shape,
    /// How often the element may stand.
    pub repeat: Repeat,
    /// What becomes of a malformed value.
    pub level: Level,
    /// The document that defines the field.
    pub rfc: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/table.rs"));

impl HeaderId {
    /// The row of this header.
    #[inline]
    pub fn row(self) -> &'static Row {
        &ROWS[self.index()]
    }

    /// The row number.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Every header of the table, in its order.
    pub fn all() -> impl Iterator<Item = HeaderId> {
        (0..ROW_COUNT).map(|index| HeaderId(index as u8))
    }

    /// Finds the header that `name` means: any letter case, long or compact form.
    ///
    /// ```
    /// use sip_parser::HeaderId;
    /// assert_eq!(HeaderId::find(b"call-id"), Some(HeaderId::CALL_ID));
    /// assert_eq!(HeaderId::find(b"I"), Some(HeaderId::CALL_ID));
    /// assert_eq!(HeaderId::find(b"Call_ID"), None);
    /// ```
    #[inline]
    pub fn find(name: &[u8]) -> Option<HeaderId> {
        INDEX.find(name)
    }
}

const SLOTS: usize = 1024;
const EMPTY: u8 = u8::MAX;

/// Open addressing over a cheap hash of four octets and the length, so that a look-up touches one
/// slot nearly always and never allocates.
pub(crate) struct NameIndex {
    slots: [u8; SLOTS],
    compact: [u8; 256],
}

lazy_static! {
    static ref INDEX: NameIndex = NameIndex::new();
}

/// The index, for a caller that looks up many names.
pub(crate) fn index() -> &'static NameIndex {
    &INDEX
}

impl NameIndex {
    fn new() -> NameIndex {
        let mut index = NameIndex {
            slots: [EMPTY; SLOTS],
            compact: [EMPTY; 256],
        };
        for id in HeaderId::all() {
            let row = id.row();
            let mut slot = hash(row.name.as_bytes());
            while index.slots[slot] != EMPTY {
                slot = (slot + 1) % SLOTS;
            }
            index.slots[slot] = id.0;
            if row.compact != 0 {
                index.compact[usize::from(row.compact)] = id.0;
                index.compact[usize::from(row.compact.to_ascii_uppercase())] = id.0;
            }
        }
        index
    }

    #[inline]
    pub(crate) fn find(&self, name: &[u8]) -> Option<HeaderId> {
        if let [letter] = name {
            let id = self.compact[usize::from(*letter)];
            return (id != EMPTY).then_some(HeaderId(id));
        }
        let mut slot = hash(name);
        loop {
            match self.slots[slot] {
                EMPTY => return None,
                id if same_name(ROWS[usize::from(id)].name.as_bytes(), name) => {
                    return Some(HeaderId(id));
                }
                _ => slot = (slot + 1) % SLOTS,
            }
        }
    }
}

#[inline]
fn same_name(canonical: &[u8], name: &[u8]) -> bool {
    canonical == name || canonical.eq_ignore_ascii_case(name)
}

#[inline]
fn hash(name: &[u8]) -> usize {
    let length = name.len();
    if length < 2 {
        return 0;
    }
    // Bit 5 folds the letter case; what else it folds is told apart by the comparison.
    let octet = |at: usize| usize::from(name[at] | 0x20);
    (octet(0).wrapping_mul(7)
        ^ octet(length / 2).wrapping_mul(61)
        ^ octet(length - 2).wrapping_mul(347)
        ^ octet(length - 1).wrapping_mul(29)
        ^ length.wrapping_mul(131))
        % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_any_spelling() {
        for id in HeaderId::all() {
            let name = id.row().name;
            assert_eq!(HeaderId::find(name.as_bytes()), Some(id), "{name}");
            assert_eq!(
                HeaderId::find(name.to_uppercase().as_bytes()),
                Some(id),
                "{name}"
            );
            assert_eq!(
                HeaderId::find(name.to_lowercase().as_bytes()),
                Some(id),
                "{name}"
            );
        }
    }

    #[test]
    fn rfc3261_7_3_3_all_twenty_compact_forms() {
        let forms: Vec<u8> = HeaderId::all()
            .map(|id| id.row().compact)
            .filter(|letter| *letter != 0)
            .collect();
        assert_eq!(forms.len(), 20);
        for id in HeaderId::all().filter(|id| id.row().compact != 0) {
            assert_eq!(HeaderId::find(&[id.row().compact]), Some(id));
            assert_eq!(
                HeaderId::find(&[id.row().compact.to_ascii_uppercase()]),
                Some(id)
            );
        }
        assert_eq!(HeaderId::find(b"z"), None);
    }

    #[test]
    fn an_underscore_is_no_hyphen() {
        assert_eq!(HeaderId::find(b"Call_ID"), None);
        assert_eq!(HeaderId::find(b""), None);
        assert_eq!(HeaderId::find(b"X-Unknown"), None);
    }

    #[test]
    fn most_names_are_found_at_the_first_slot() {
        let first = HeaderId::all()
            .filter(|id| index().slots[hash(id.row().name.as_bytes())] == id.index() as u8)
            .count();
        assert!(first * 10 > ROW_COUNT * 9, "{first} of {ROW_COUNT}");
    }
}

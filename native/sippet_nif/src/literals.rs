//! The words of `words.tbl`, the names of `headers.tbl` and what else stands in most messages, as literals of the caller.

use crate::term::Raw;
use lazy_static::lazy_static;
use sip_parser::{HeaderId, ROW_COUNT};

const SLOTS: usize = 512;
const EMPTY: u8 = u8::MAX;
const LONGEST: usize = 20;

/// Finds a word's number by its text, in its exact spelling.
struct Index {
    words: Vec<&'static [u8]>,
    slots: [u8; SLOTS],
}

lazy_static! {
    static ref INDEX: Index = Index::new();
}

impl Index {
    fn new() -> Index {
        let lines = include_str!("../words.tbl").lines();
        let words: Vec<&[u8]> = lines
            .filter(|line| !line.starts_with('#'))
            .map(str::as_bytes)
            .collect();
        let mut slots = [EMPTY; SLOTS];
        for (number, word) in words.iter().enumerate() {
            let mut slot = hash(word);
            while slots[slot] != EMPTY {
                slot = (slot + 1) % SLOTS;
            }
            slots[slot] = number as u8;
        }
        Index { words, slots }
    }

    #[inline]
    fn find(&self, text: &[u8]) -> Option<usize> {
        let mut slot = hash(text);
        loop {
            match self.slots[slot] {
                EMPTY => return None,
                number if self.words[usize::from(number)] == text => return Some(number.into()),
                _ => slot = (slot + 1) % SLOTS,
            }
        }
    }
}

#[inline]
fn hash(word: &[u8]) -> usize {
    let length = word.len();
    let (first, last) = match word {
        [] => return 0,
        [first, .., last] => (*first, *last),
        [only] => (*only, 0),
    };
    let middle = word[length / 2];
    (usize::from(first).wrapping_mul(31)
        ^ usize::from(last).wrapping_mul(257)
        ^ usize::from(middle).wrapping_mul(71)
        ^ length.wrapping_mul(113))
        % SLOTS
}

/// Literals before the names and the words.
const FIRST: usize = 3;

/// The caller's tuple: the empty binary, the empty map, the version 2.0, the names of the header table, then the words.
#[derive(Clone, Copy)]
pub(crate) struct Literals<'a> {
    terms: &'a [Raw<'a>],
    index: &'static Index,
}

impl<'a> Literals<'a> {
    /// Takes the tuple; none where it is not as long as the tables say.
    pub(crate) fn new(terms: &'a [Raw<'a>]) -> Option<Literals<'a>> {
        let index: &'static Index = &INDEX;
        let expected = FIRST + ROW_COUNT + index.words.len();
        (terms.len() == expected).then_some(Literals { terms, index })
    }

    /// The empty binary.
    #[inline]
    pub(crate) fn empty(self) -> Raw<'a> {
        self.terms[0]
    }

    /// The map of no parameters.
    #[inline]
    pub(crate) fn empty_map(self) -> Raw<'a> {
        self.terms[1]
    }

    /// `{2, 0}`
    #[inline]
    pub(crate) fn version_2_0(self) -> Raw<'a> {
        self.terms[2]
    }

    /// A header's registered name.
    #[inline]
    pub(crate) fn name(self, id: HeaderId) -> Raw<'a> {
        self.terms[FIRST + id.index()]
    }

    /// The literal of this text, if it is one of the words.
    #[inline]
    pub(crate) fn find(self, text: &[u8]) -> Option<Raw<'a>> {
        if text.len() > LONGEST {
            return None;
        }
        self.index
            .find(text)
            .map(|number| self.terms[FIRST + ROW_COUNT + number])
    }
}

//! Terms made straight from arrays on the stack, and read without a copy: the one place with `unsafe`.
//!
//! rustler's own encoders go through vectors and decode what they made; a message is hundreds of terms,
//! so the two ways speak to `enif_*` themselves.
#![allow(unsafe_code)]

use rustler::sys::{
    self, ErlNifBinary, ErlNifCharEncoding, ErlNifEnv, ErlNifMapIterator, ErlNifMapIteratorEntry,
    ErlNifTerm as RawTerm,
};
use rustler::{Env, Term};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::{ptr, slice};

/// A term of the call's environment, or an atom.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Raw<'a>(RawTerm, PhantomData<&'a ()>);

/// An atom: one machine word that is valid in every environment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Atom(RawTerm);

impl Raw<'_> {
    /// A number that tells terms apart: two atoms are the same where their numbers are.
    #[inline]
    pub(crate) fn number(self) -> usize {
        // SAFETY: the type is a transparent one around this very number.
        unsafe { std::mem::transmute::<RawTerm, usize>(self.0) }
    }
}

impl PartialEq<Atom> for Raw<'_> {
    #[inline]
    fn eq(&self, atom: &Atom) -> bool {
        self.0 == atom.0
    }
}

impl<'a> From<Atom> for Raw<'a> {
    #[inline]
    fn from(atom: Atom) -> Raw<'a> {
        Raw(atom.0, PhantomData)
    }
}

impl<'a> From<Term<'a>> for Raw<'a> {
    #[inline]
    fn from(term: Term<'a>) -> Raw<'a> {
        Raw(term.as_c_arg(), PhantomData)
    }
}

/// Makes terms in the environment of one call.
#[derive(Clone, Copy)]
pub(crate) struct Maker<'a> {
    env: *mut ErlNifEnv,
    call: PhantomData<Env<'a>>,
}

impl<'a> Maker<'a> {
    pub(crate) fn new(env: Env<'a>) -> Maker<'a> {
        Maker {
            env: env.as_c_arg(),
            call: PhantomData,
        }
    }

    pub(crate) fn term(self, env: Env<'a>, raw: Raw<'a>) -> Term<'a> {
        // SAFETY: `raw` was made in this call's environment, as its lifetime says.
        unsafe { Term::new(env, raw.0) }
    }

    /// Makes an atom. Only the load callback calls this: never with text from the network.
    pub(crate) fn atom(self, name: &str) -> Atom {
        // SAFETY: the pointer and the length are those of a live string, which the VM copies.
        Atom(unsafe { sys::enif_make_atom_len(self.env, name.as_ptr().cast(), name.len()) })
    }

    #[inline]
    pub(crate) fn integer(self, value: u32) -> Raw<'a> {
        // SAFETY: the environment is that of the running call, here and below.
        self.raw(unsafe { sys::enif_make_ulong(self.env, u64::from(value) as _) })
    }

    pub(crate) fn long(self, value: u64) -> Raw<'a> {
        // SAFETY: as above.
        self.raw(unsafe { sys::enif_make_uint64(self.env, value) })
    }

    /// A float; the caller has made sure that it is finite.
    pub(crate) fn float(self, value: f64) -> Raw<'a> {
        // SAFETY: as above; a finite double is what the function wants.
        self.raw(unsafe { sys::enif_make_double(self.env, value) })
    }

    #[inline]
    pub(crate) fn tuple(self, elements: &[Raw<'a>]) -> Raw<'a> {
        // SAFETY: `Raw` is a transparent term; the pointer and the count are those of a live slice.
        self.raw(unsafe {
            sys::enif_make_tuple_from_array(self.env, elements.as_ptr().cast(), elements.len() as _)
        })
    }

    #[inline]
    pub(crate) fn list(self, elements: &[Raw<'a>]) -> Raw<'a> {
        // SAFETY: as for a tuple.
        self.raw(unsafe {
            sys::enif_make_list_from_array(self.env, elements.as_ptr().cast(), elements.len() as _)
        })
    }

    /// A map; none where a key stands twice.
    #[inline]
    pub(crate) fn map(self, keys: &[Raw<'a>], values: &[Raw<'a>]) -> Option<Raw<'a>> {
        let count = keys.len().min(values.len());
        let mut map = RawTerm::default();
        // SAFETY: both slices hold `count` terms, and `map` is written when the call succeeds.
        let made = unsafe {
            sys::enif_make_map_from_arrays(
                self.env,
                keys.as_ptr().cast(),
                values.as_ptr().cast(),
                count,
                &mut map,
            )
        };
        (made != 0).then(|| self.raw(map))
    }

    /// A binary of its own with this text.
    #[inline]
    pub(crate) fn binary(self, text: &[u8]) -> Raw<'a> {
        self.binary_with(text.len(), |octets| octets.copy_from_slice(text))
    }

    /// A binary of its own, filled by `fill`.
    #[inline]
    pub(crate) fn binary_with(self, length: usize, fill: impl FnOnce(&mut [u8])) -> Raw<'a> {
        let mut binary = RawTerm::default();
        // SAFETY: the VM gives `length` octets that belong to this call until it returns. They are
        // zeroed only as far as `fill` reads them, which it does not: octets have no invalid value.
        let octets = unsafe {
            let start = sys::enif_make_new_binary(self.env, length, &mut binary);
            slice::from_raw_parts_mut(start, length)
        };
        fill(octets);
        self.raw(binary)
    }

    /// A part of another binary, sharing its octets.
    #[inline]
    pub(crate) fn sub_binary(self, binary: Raw<'a>, start: usize, length: usize) -> Raw<'a> {
        // SAFETY: callers give positions inside of `binary`; the VM asserts no more than that.
        self.raw(unsafe { sys::enif_make_sub_binary(self.env, binary.0, start, length) })
    }

    /// The elements of a tuple; none where it is no tuple.
    pub(crate) fn elements(self, tuple: Raw<'a>) -> Option<&'a [Raw<'a>]> {
        let mut arity = 0;
        let mut start: *const RawTerm = ptr::null();
        // SAFETY: on success `start` points to `arity` terms that live as long as the call.
        unsafe {
            let found = sys::enif_get_tuple(self.env, tuple.0, &mut arity, &mut start) != 0;
            found.then(|| slice::from_raw_parts(start.cast(), arity as usize))
        }
    }

    /// The octets of a binary; none of another term, nor of a bitstring that ends inside an octet.
    #[inline]
    pub(crate) fn octets(self, term: Raw<'a>) -> Option<&'a [u8]> {
        let mut binary = MaybeUninit::<ErlNifBinary>::uninit();
        // SAFETY: on success the VM has written `binary`, whose octets nobody changes and which live as long
        // as the call; an empty one may point nowhere.
        unsafe {
            if sys::enif_inspect_binary(self.env, term.0, binary.as_mut_ptr()) == 0 {
                return None;
            }
            let binary = binary.assume_init();
            Some(match binary.size {
                0 => &[],
                size => slice::from_raw_parts(binary.data, size),
            })
        }
    }

    /// Whether a binary has these octets.
    #[inline]
    pub(crate) fn is_text(self, term: Raw<'a>, text: &[u8]) -> bool {
        self.octets(term).is_some_and(|octets| octets == text)
    }

    /// An integer that is not negative and fits into 64 bits.
    #[inline]
    pub(crate) fn unsigned(self, term: Raw<'a>) -> Option<u64> {
        let mut number = 0;
        // SAFETY: `number` is written when the call succeeds.
        let found = unsafe { sys::enif_get_uint64(self.env, term.0, &mut number) };
        (found != 0).then_some(number)
    }

    /// An integer that fits into 64 bits.
    pub(crate) fn signed(self, term: Raw<'a>) -> Option<i64> {
        let mut number = 0;
        // SAFETY: as above.
        let found = unsafe { sys::enif_get_int64(self.env, term.0, &mut number) };
        (found != 0).then_some(number)
    }

    /// A float.
    pub(crate) fn double(self, term: Raw<'a>) -> Option<f64> {
        let mut number = 0.0;
        // SAFETY: as above.
        let found = unsafe { sys::enif_get_double(self.env, term.0, &mut number) };
        (found != 0).then_some(number)
    }

    /// The octets of an atom's name in Latin-1, written into `name`; none of another term, nor of an atom
    /// with other characters.
    pub(crate) fn atom_name<'n>(self, term: Raw<'a>, name: &'n mut [u8; 256]) -> Option<&'n [u8]> {
        let latin1 = ErlNifCharEncoding::ERL_NIF_LATIN1;
        // SAFETY: the VM writes no more than the 256 octets of `name`, the closing NUL among them.
        let written =
            unsafe { sys::enif_get_atom(self.env, term.0, name.as_mut_ptr().cast(), 256, latin1) };
        let length = usize::try_from(written).ok()?.checked_sub(1)?;
        name.get(..length)
    }

    /// The first element of a list and the rest of it; none of the empty list or another term.
    #[inline]
    pub(crate) fn cell(self, list: Raw<'a>) -> Option<(Raw<'a>, Raw<'a>)> {
        let (mut first, mut rest) = (RawTerm::default(), RawTerm::default());
        // SAFETY: both terms are written when the call succeeds.
        let found = unsafe { sys::enif_get_list_cell(self.env, list.0, &mut first, &mut rest) };
        (found != 0).then(|| (self.raw(first), self.raw(rest)))
    }

    #[inline]
    pub(crate) fn is_empty_list(self, term: Raw<'a>) -> bool {
        // SAFETY: the call looks at the term alone.
        unsafe { sys::enif_is_empty_list(self.env, term.0) != 0 }
    }

    /// How many pairs a map has; none of another term.
    #[inline]
    pub(crate) fn map_size(self, term: Raw<'a>) -> Option<usize> {
        let mut size = 0;
        // SAFETY: `size` is written when the call succeeds.
        let found = unsafe { sys::enif_get_map_size(self.env, term.0, &mut size) };
        (found != 0).then_some(size)
    }

    /// The value of an atom in a map.
    #[inline]
    pub(crate) fn field(self, map: Raw<'a>, key: Atom) -> Option<Raw<'a>> {
        let mut value = RawTerm::default();
        // SAFETY: `value` is written when the call succeeds.
        let found = unsafe { sys::enif_get_map_value(self.env, map.0, key.0, &mut value) };
        (found != 0).then(|| self.raw(value))
    }

    /// The pairs of a map in the order in which the VM keeps them; none of another term.
    ///
    /// In maps of up to 32 pairs that is the order of terms, but for atoms from OTP 26 on; those have an order of the
    /// VM's own. A map is made faster from keys that come in that order.
    #[inline]
    pub(crate) fn pairs(self, map: Raw<'a>) -> Option<Pairs<'a>> {
        let mut iterator = MaybeUninit::uninit();
        let first = ErlNifMapIteratorEntry::ERL_NIF_MAP_ITERATOR_HEAD;
        // SAFETY: the iterator is written when the call succeeds, and only then taken.
        unsafe {
            let made =
                sys::enif_map_iterator_create(self.env, map.0, iterator.as_mut_ptr(), first) != 0;
            made.then(|| Pairs {
                make: self,
                iterator: iterator.assume_init(),
            })
        }
    }

    #[inline]
    fn raw(self, term: RawTerm) -> Raw<'a> {
        Raw(term, PhantomData)
    }
}

/// Goes over the pairs of a map.
pub(crate) struct Pairs<'a> {
    make: Maker<'a>,
    iterator: ErlNifMapIterator,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Raw<'a>, Raw<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let Pairs { make, iterator } = self;
        let (mut key, mut value) = (RawTerm::default(), RawTerm::default());
        // SAFETY: the iterator was made by `pairs`; key and value are written where the VM says that there
        // is a pair, and only then is it moved on.
        unsafe {
            if sys::enif_map_iterator_get_pair(make.env, iterator, &mut key, &mut value) == 0 {
                return None;
            }
            sys::enif_map_iterator_next(make.env, iterator);
        }
        Some((make.raw(key), make.raw(value)))
    }
}

impl Drop for Pairs<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the iterator was made by `pairs`, and nobody uses it from here on.
        unsafe { sys::enif_map_iterator_destroy(self.make.env, &mut self.iterator) }
    }
}

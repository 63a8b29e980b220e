//! Terms made straight from arrays on the stack: the one place with `unsafe`.
//!
//! rustler's own encoders go through vectors and decode what they made; the parser makes hundreds of terms
//! per message, so it speaks to `enif_*` itself.
#![allow(unsafe_code)]

use rustler::sys::{
    self, ErlNifEnv, ErlNifMapIterator, ErlNifMapIteratorEntry, ErlNifTerm as RawTerm,
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

    /// The keys of a map in the order in which the VM keeps them.
    ///
    /// Up to OTP 25 that is the order of terms, from OTP 26 on for atoms an order of the VM's own. A map is
    /// made faster from keys that come in that order.
    pub(crate) fn key_order(self, map: Raw<'a>) -> Vec<Raw<'a>> {
        let mut keys = Vec::new();
        let mut iterator = MaybeUninit::<ErlNifMapIterator>::uninit();
        // SAFETY: the iterator is made before it is used and destroyed after; a pair is read only where
        // the VM says that there is one.
        unsafe {
            let iterator = iterator.as_mut_ptr();
            let first = ErlNifMapIteratorEntry::ERL_NIF_MAP_ITERATOR_HEAD;
            if sys::enif_map_iterator_create(self.env, map.0, iterator, first) == 0 {
                return keys;
            }
            let (mut key, mut value) = (RawTerm::default(), RawTerm::default());
            while sys::enif_map_iterator_get_pair(self.env, iterator, &mut key, &mut value) != 0 {
                keys.push(self.raw(key));
                sys::enif_map_iterator_next(self.env, iterator);
            }
            sys::enif_map_iterator_destroy(self.env, iterator);
        }
        keys
    }

    #[inline]
    fn raw(self, term: RawTerm) -> Raw<'a> {
        Raw(term, PhantomData)
    }
}

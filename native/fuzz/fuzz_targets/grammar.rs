//! See [`sippet_fuzz::grammar`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sippet_fuzz::grammar(input));

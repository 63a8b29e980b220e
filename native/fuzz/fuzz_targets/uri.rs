//! See [`sippet_fuzz::uri`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sippet_fuzz::uri(input));

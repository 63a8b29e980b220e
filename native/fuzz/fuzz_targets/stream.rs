//! See [`sippet_fuzz::stream`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sippet_fuzz::stream(input));

//! See [`sippet_fuzz::values`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sippet_fuzz::values(input));

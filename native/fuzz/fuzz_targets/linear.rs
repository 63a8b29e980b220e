//! See [`sippet_fuzz::linear`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sippet_fuzz::linear(input));

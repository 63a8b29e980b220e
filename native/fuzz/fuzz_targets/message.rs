//! See [`sippet_fuzz::message`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sippet_fuzz::message(input));

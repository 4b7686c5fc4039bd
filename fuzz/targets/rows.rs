//! Tables read through a mapping.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dealpulse_fuzz::rows(data));

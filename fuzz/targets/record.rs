//! Records as the facts hold them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dealpulse_fuzz::record(data));

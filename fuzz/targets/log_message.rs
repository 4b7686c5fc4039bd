//! Messages of the internal log.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dealpulse_fuzz::log_message(data));

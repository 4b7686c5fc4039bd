//! Events of ours.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dealpulse_fuzz::cloudevents(data));

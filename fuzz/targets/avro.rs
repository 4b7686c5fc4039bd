//! Messages in Avro, with their schemas.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    dealpulse_fuzz::avro(data);
});

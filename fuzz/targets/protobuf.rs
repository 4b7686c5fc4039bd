//! Messages in Protobuf, with their schemas.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    dealpulse_fuzz::protobuf(data);
});

//! Messages of a feed of this format.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    dealpulse_fuzz::feed(dealpulse::event::feed::Format::Debezium, data);
});

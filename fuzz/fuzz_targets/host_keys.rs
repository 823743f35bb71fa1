#![no_main]
//! Runs the target `host_keys` of `fumidai::fuzz`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let target = fumidai::fuzz::TARGETS.iter().find(|(name, _)| *name == "host_keys");
    target.expect("it is listed").1(data);
});

#![no_main]
//! Runs the target `frames` of `fumidai::fuzz`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let target = fumidai::fuzz::TARGETS.iter().find(|(name, _)| *name == "frames");
    target.expect("it is listed").1(data);
});

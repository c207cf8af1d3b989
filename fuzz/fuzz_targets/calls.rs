//! Random sequences of calls through the C functions.
#![no_main]

#[path = "../checks/calls.rs"]
mod calls;

libfuzzer_sys::fuzz_target!(|data: &[u8]| calls::check(data));

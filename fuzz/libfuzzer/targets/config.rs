#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wasm_exec_fuzz::target("config")(data));

# `just` lists what there is.
default:
    @just --list --unsorted

# Serve on port 4000.
run *arguments:
    cargo run --release -- {{arguments}}

# All tests.
test:
    cargo test --workspace

# The official WebAssembly test suite, through HTTP; with a folder's scripts instead of the crate's.
spec folder="":
    SPEC_SCRIPTS={{quote(folder)}} cargo test --test spec -- --nocapture

# What CI checks.
ci:
    .ci/run

# All figures of docs/benchmarks.md (needs wrk: apt-get install wrk).
bench *arguments:
    cargo bench -p wasm-exec-engine --bench call
    cargo bench --bench http -- {{arguments}}

# Kill the server while 32 clients register, so many times, and count what is lost.
crash rounds="1000":
    CRASH_ROUNDS={{rounds}} cargo test --release --test cli crash -- --nocapture

# What the server does under attack.
bench-hostile *arguments:
    cargo bench --bench hostile -- {{arguments}}

# What a network of nodes does, against its targets: real ones, then simulated ones.
network-bench *words:
    cargo bench -p wasm-exec-network --features delay --bench network -- {{words}}
    cargo bench -p wasm-exec-network --bench simulation -- {{words}}

# All attacks at full size.
hostile *arguments:
    HOSTILE=full cargo test --test hostile -- {{arguments}}

# Have libFuzzer look for bytes that break a law (needs cargo install cargo-fuzz).
fuzz target *arguments:
    mkdir -p target/fuzz/{{target}}
    cargo fuzz run --fuzz-dir fuzz/libfuzzer --sanitizer none {{target}} target/fuzz/{{target}} fuzz/corpus/{{target}} -- -max_len=4096 {{arguments}}

# Requests of all that the OpenAPI document allows and of what it does not.
schemathesis cases="1000" *arguments:
    cargo build --release
    .ci/schemathesis/run target/release/wasm-exec-api {{cases}} {{arguments}}

# Formatting and lints.
lint:
    cargo fmt --all -- --check
    cargo clippy --workspace --all-targets -- -D warnings

# Licences, sources and bans of dependencies; then advisories, for which their database has to be reached.
deny:
    cargo deny --workspace check bans licenses sources
    cargo deny fetch db && cargo deny --workspace check advisories

# One recipe for each check. `just` lists them, `just ci` runs what CI runs.

_list:
    @{{ just_executable() }} --list --unsorted

# Everything CI checks, in its order
ci:
    .ci/run

# Formatting
fmt:
    cargo fmt --all --check
    cargo fmt --manifest-path tests/no_std/Cargo.toml --check
    cargo fmt --manifest-path fuzz/Cargo.toml --check
    cargo fmt --manifest-path tests/soak/Cargo.toml --check

# Lints, as errors
clippy:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Unit, integration and doc tests
test:
    cargo test --workspace

# The documentation builds without a warning
doc:
    RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked

# The core links without std
no-std:
    cargo build -p wspulse-core --no-default-features --locked
    tests/no_std/check.sh
    rustup target add wasm32-unknown-unknown thumbv7em-none-eabi
    cargo build -p wspulse-core --no-default-features --locked --target wasm32-unknown-unknown
    cargo build -p wspulse-core --no-default-features --locked --target thumbv7em-none-eabi

# Each feature compiles alone
features:
    for package in wspulse-core wspulse-drive wspulse-std wspulse-tokio wspulse-mio wspulse; do .ci/features "$package"; done

# README's programs, in a crate outside the workspace
readme:
    tests/readme.sh

# The adapters re-export what stands in their signatures; needs nightly
signatures:
    tests/signatures.sh

# Demos, several at once beside a build: 200 and 20, or as given
[positional-arguments]
demos *counts:
    tests/demo.sh "$@"

# The oldest supported compiler
msrv:
    cargo +1.88 check --workspace --locked

# The Autobahn testsuite, both roles: all that CI runs, or the given cases
[positional-arguments]
autobahn *cases:
    tests/autobahn/run.sh "$@"

# The WebSocket implementations that others use, both roles: all, or those whose name holds a word
[positional-arguments]
interop *words:
    tests/interop/run.sh "$@"

# Random traffic against two peers, and memory that stays flat: ten minutes in CI, an hour by hand
soak seconds="600":
    WSPULSE_SOAK_SECONDS={{ seconds }} tests/soak/run.sh

# wspulse beside its peers: some five minutes, and a machine that does nothing else
bench *options:
    tests/bench/run.sh {{ options }}

# Instructions of the core, against the stored counts
[positional-arguments]
instructions *options:
    tests/bench/instructions.sh "$@"

# Each fuzz target for some seconds
fuzz seconds="20":
    .ci/fuzz {{ seconds }}

# Takes each rule of liveness, or the given ones, out of the core: a test with its number has to fail; some minutes, not in CI
[positional-arguments]
rules *numbers:
    tests/rules.sh "$@"

# Licences, bans, sources and advisories of dependencies; not in CI, where installing cargo-deny takes longer than the rest
deny:
    cargo deny --workspace check

#!/bin/sh
# Counts the core's instructions with valgrind and fails where there are more than 3 % above what
# instructions.json holds. `instructions.sh --store` writes that file anew.
# Needs valgrind, and a C compiler for its client requests; installs gungraun-runner below target/.
set -eu
cd "$(dirname "$0")"

command -v valgrind >/dev/null || {
    echo "instructions.sh: valgrind is not installed" >&2
    exit 1
}

# The runner has to be of the library's version.
version=$(sed -n '/^name = "gungraun"$/{n;s/^version = "\(.*\)"$/\1/p;}' Cargo.lock)
tools=$PWD/target/tools
export GUNGRAUN_RUNNER="$tools/bin/gungraun-runner"
if [ "$("$GUNGRAUN_RUNNER" --version 2>/dev/null)" != "gungraun-runner $version" ]; then
    cargo install --locked gungraun-runner --version "=$version" --root "$tools" \
        --target-dir "$tools/build"
    rm -rf "$tools/build"
fi

rm -rf target/gungraun
counts=target/instructions.jsonl
cargo bench --locked --bench instructions -- --output-format=json >"$counts"
cargo run --locked --release --quiet --bin instructions -- --stored instructions.json "$@" <"$counts"

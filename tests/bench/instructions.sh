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

# How code comes out depends a little on the path of its sources, so they are counted in one place.
place=/tmp/wspulse-instructions
rm -rf "$place" target/counted/gungraun
trap 'rm -rf "$place"' EXIT
mkdir "$place"
(cd ../.. && tar cf - --exclude=target Cargo.toml Cargo.lock README.md core adapters tests) | tar xf - -C "$place"

counts=$PWD/target/instructions.jsonl
stored=$PWD/instructions.json
export CARGO_TARGET_DIR="$PWD/target/counted"
cd "$place/tests/bench"
cargo bench --locked --no-default-features --bench instructions -- --output-format=json >"$counts"
cargo run --locked --no-default-features --release --quiet --bin instructions -- --stored "$stored" "$@" <"$counts"

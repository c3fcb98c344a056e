#!/usr/bin/env bash
# signatures.sh: each adapter re-exports every type of another crate that stands in its signatures, so
# that a program needs no second dependency to name it. Reads what rustdoc writes as JSON (nightly).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}/signatures
cd "$root"

for package in wspulse-std wspulse-tokio wspulse-mio; do
  CARGO_TARGET_DIR=$target cargo +nightly rustdoc --quiet --locked -p "$package" --all-features --lib -- \
    -Z unstable-options --output-format json --cap-lints allow
  python3 tests/signatures.py "$target/doc/${package//-/_}.json"
done

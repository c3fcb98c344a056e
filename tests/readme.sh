#!/usr/bin/env bash
# readme.sh: every Rust program that README shows compiles in a crate of its own, outside the
# workspace, whose dependencies are the lines that README prints. A path stands in place of a version,
# so that the check needs nothing that is published.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# README's blocks: the first one in TOML is Cargo.toml's, each one in Rust is a program.
python3 - "$root" "$scratch" <<'PYTHON'
import pathlib
import re
import sys

root, scratch = map(pathlib.Path, sys.argv[1:])
readme = (root / "README.md").read_text()
blocks = re.findall(r"^```(\w+)[^\n]*\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
dependencies = next(text for language, text in blocks if language == "toml")
dependencies, count = re.subn(
    r'^wspulse = "[^"]*"$', f'wspulse = {{ path = "{root}/adapters/wspulse" }}', dependencies, flags=re.MULTILINE
)
assert count == 1, "README's dependencies do not name wspulse and a version"
programs = [text for language, text in blocks if language == "rust"]
assert programs, "README shows no program"
binaries = scratch / "src" / "bin"
binaries.mkdir(parents=True)
for number, program in enumerate(programs, 1):
    assert "fn main()" in program, f"program {number} of README has no main"
    (binaries / f"program_{number}.rs").write_text(program)
(scratch / "Cargo.toml").write_text(
    f'[package]\nname = "outside"\nversion = "0.0.0"\nedition = "2024"\n\n{dependencies}\n[workspace]\n'
)
print(f"{len(programs)} programs of README, with:\n{dependencies}", end="")
PYTHON

# The versions that the project was tested with.
cp "$root/Cargo.lock" "$scratch"
cd "$scratch"
RUSTFLAGS='-D warnings' CARGO_TARGET_DIR=$target/readme cargo check --bins

#!/usr/bin/env bash
# Proves that wspulse-core needs no std: builds an archive of it and everything below it,
# looks at which crates are inside, and links it without any library.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

cargo build --release --locked
archive=${CARGO_TARGET_DIR:-target}/release/libwspulse_no_std.a

# The members of the archive begin with the name of the crate they come from.
crates=$(ar t "$archive" | sed -n 's/^\([a-z0-9_]*\)-[0-9a-f]*\..*/\1/p' | sort -u)
for crate in core wspulse_core; do
  grep -qx "$crate" <<<"$crates" || { echo "no_std: $crate is not in the archive; is this check blind?" >&2; exit 1; }
done
if grep -x 'std\|panic_unwind\|panic_abort\|unwind\|libc' <<<"$crates"; then
  echo "no_std: these are in the archive" >&2
  exit 1
fi

# What every freestanding target brings along, and nothing else, may be missing; and what the
# precompiled alloc of a hosted target refers to, which unwinds where ours aborts.
missing=()
for symbol in memcpy memmove memset memcmp bcmp rust_eh_personality _Unwind_Resume; do
  missing+=("-Wl,--defsym=$symbol=0")
done
cc -static -nostdlib -Wl,--gc-sections -Wl,--entry=wspulse_no_std -Wl,--undefined=wspulse_no_std_echo "${missing[@]}" -o "${archive%.a}.out" "$archive"
echo "no_std:" $crates

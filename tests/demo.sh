#!/usr/bin/env bash
# demo.sh [COUNT] [AT ONCE] [OPTION...]: plays `wspulse demo` COUNT times (200), AT ONCE at a time
# (20), while a build runs again and again beside it, and prints how many passed. Options go to
# each demo. 200 of the plain ones take some three minutes; for CI, `demo.sh 20 10` takes half a
# minute. Fails, and prints what the failing demos said, unless every one passed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
count=${1:-200}
at_once=${2:-20}
shift $(($# < 2 ? $# : 2))

# No demo takes longer, on whatever machine; a plain one takes 15 s.
limit=90

cargo build --release --locked -p wspulse-cli
target=$(cargo metadata --no-deps --format-version 1 --locked | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
scratch=$(mktemp -d)
# A copy: another build may replace the binary meanwhile.
cp "$target/release/wspulse" "$scratch/wspulse"

# The job gets a process group of its own, so that the compilers end with it.
set -m
(
  builds=0
  while :; do
    rm -rf "$scratch/target"
    CARGO_TARGET_DIR=$scratch/target cargo build --quiet --locked -p wspulse-core --all-features
    builds=$((builds + 1))
    echo "$builds" >"$scratch/builds"
  done
) >"$scratch/build.log" 2>&1 &
build=$!
set +m
finish() {
  kill -- "-$build" 2>/dev/null || true
  wait "$build" 2>/dev/null || true
  rm -rf "$scratch"
}
trap finish EXIT

mkdir "$scratch/demos"
play='
number=$1
shift
status=0
timeout "$1" "$2" demo "${@:4}" >"$3/$number.said" 2>&1 || status=$?
echo "$status" >"$3/$number.status"
'
began=$SECONDS
seq "$count" | xargs -P "$at_once" -I '{}' \
  bash -c "$play" play '{}' "$limit" "$scratch/wspulse" "$scratch/demos" "$@"
took=$((SECONDS - began))

if ! kill -0 "$build" 2>/dev/null; then
  echo "the build beside the demos failed:" >&2
  cat "$scratch/build.log" >&2
  exit 1
fi
passed=0
for number in $(seq "$count"); do
  status=$(cat "$scratch/demos/$number.status")
  if [ "$status" -eq 0 ]; then
    passed=$((passed + 1))
  else
    printf '\n== demo %s: exit status %s\n' "$number" "$status"
    cat "$scratch/demos/$number.said"
  fi
done
late=$(grep -l -e 'late machine' -e 'machine that was' "$scratch"/demos/*.said | wc -l || true)
suspects=$(awk 'FNR == 1 { alive = 1 } /falls silent/ { alive = 0 } alive && /suspects its peer/ { n++ } END { print n + 0 }' "$scratch"/demos/*.said)
builds=$(cat "$scratch/builds" 2>/dev/null || echo 0)
printf '%s of %s demos passed, %s at once, in %s s\n' "$passed" "$count" "$at_once" "$took"
printf 'beside them a build ran and was whole %s times; %s demos had a step that this machine made late, and %s healthy connections were suspected\n' \
  "$builds" "$late" "$suspects"
[ "$passed" -eq "$count" ]

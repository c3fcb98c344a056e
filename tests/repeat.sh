#!/usr/bin/env bash
# repeat.sh [TIMES] [CARGO TEST OPTION...]: runs `cargo test --workspace` TIMES times in a row (10)
# while two builds run again and again beside it, and prints how many passes there were and which
# tests failed. Options take the place of `--workspace`: `repeat.sh 1 -p wspulse-text`. Fails
# unless every run passed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
times=${1:-10}
shift $(($# < 1 ? $# : 1))
options=("$@")
[ "${#options[@]}" -gt 0 ] || options=(--workspace)

# No run takes longer, in seconds; one that does has failed.
limit=${REPEAT_LIMIT:-3600}

cargo test --locked --no-run "${options[@]}"
scratch=$(mktemp -d)

# Each job gets a process group of its own, so that the compilers end with it.
builds=()
for number in 1 2; do
  set -m
  (
    while :; do
      rm -rf "$scratch/target-$number"
      CARGO_TARGET_DIR=$scratch/target-$number cargo build --quiet --locked -p wspulse-core --all-features
      echo >>"$scratch/builds-$number"
    done
  ) >"$scratch/build-$number.log" 2>&1 &
  builds+=("$!")
  set +m
done
finish() {
  for build in "${builds[@]}"; do
    kill -- "-$build" 2>/dev/null || true
    wait "$build" 2>/dev/null || true
  done
  rm -rf "$scratch"
}
trap finish EXIT

passed=0
began=$SECONDS
for run in $(seq "$times"); do
  log=$scratch/run-$run.log
  status=0
  run_began=$SECONDS
  timeout --kill-after=30 "$limit" \
    cargo test --locked --no-fail-fast "${options[@]}" >"$log" 2>&1 || status=$?
  took=$((SECONDS - run_began))
  if [ "$status" -eq 0 ]; then
    passed=$((passed + 1))
    printf 'run %s of %s passed in %s s\n' "$run" "$times" "$took"
    continue
  fi
  printf '\n== run %s of %s failed after %s s, exit status %s\n' "$run" "$times" "$took" "$status"
  # A test that fails says so in a line of its own. Of a run that is cut off, the tests that take
  # long are named.
  grep -E '^test .* \.\.\. FAILED$' "$log" | sed -e 's/^test //' -e 's/ \.\.\. FAILED$//' \
    | tee -a "$scratch/failed" || true
  if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
    grep -E ' has been running for over ' "$log" | sed -e 's/^test //' | tee -a "$scratch/failed" || true
  fi
  tail -n 60 "$log"
done
took=$((SECONDS - began))

for number in 1 2; do
  if ! kill -0 "${builds[number - 1]}" 2>/dev/null; then
    echo "build $number beside the tests failed:" >&2
    cat "$scratch/build-$number.log" >&2
    exit 1
  fi
done
if [ -s "$scratch/failed" ]; then
  printf '\nfailed, and how often:\n'
  sort "$scratch/failed" | uniq -c | sort -rn
fi
whole=$(cat "$scratch"/builds-* 2>/dev/null | wc -l || true)
printf '%s of %s runs passed in %s s, while two builds were whole %s times\n' \
  "$passed" "$times" "$took" "$whole"
[ "$passed" -eq "$times" ]

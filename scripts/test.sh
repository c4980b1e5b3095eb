#!/usr/bin/env bash
# Runs `bun test` with the arguments given. Each file with a failure is run again, in a process of its own, up to twice, and that is
# said aloud: on a shared machine another process can take the processors away in the middle of a test. What fails each time is a failure.
# Ends with one line of counts: "suite: N passed, N failed, N skipped", and how many passed only alone.
set -uo pipefail
cd "$(dirname "$0")/.."
bun=node_modules/.bin/bun
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export NO_COLOR=1 FORCE_COLOR=0

# Number of passes, failures or skips that a run's summary says.
count() { grep -aE "^ *[0-9]+ $1\$" "$log" | awk '{ n += $1 } END { print n + 0 }'; }

"$bun" test --timeout 30000 "$@" 2>&1 | tee "$log"
code=${PIPESTATUS[0]}
passed=$(count pass) failed=$(count fail) skipped=$(($(count skip) + $(count todo))) alone=0
if [ "$code" -ne 0 ] && [ "$failed" -gt 0 ]; then
  # Up to the summary, which names the failed tests without their files.
  mapfile -t files < <(awk '
    /^[0-9]+ tests? failed:/ { exit }
    /^test\/[^ ]*\.test\.ts:$/ { file = substr($0, 1, length($0) - 1) }
    /^\(fail\)/ && file { print file }' "$log" | sort -u)
  if [ "${#files[@]}" -gt 0 ] && [ "${#files[@]}" -le 10 ]; then
    echo "== FAILED ONCE: $failed in ${files[*]}; each of these files again, alone"
    grep -a '^(fail)' "$log" | sort -u
    still=0 code=0
    for file in "${files[@]}"; do
      for try in 2 3; do
        "$bun" test --timeout 60000 "./$file" 2>&1 | tee "$log"
        result=${PIPESTATUS[0]}
        [ "$result" -eq 0 ] && { echo "== PASSED ALONE, TRY $try: $file"; break; }
      done
      if [ "$result" -ne 0 ]; then
        code=$result
        again=$(count fail)
        still=$((still + (again > 0 ? again : 1)))
      fi
    done
    alone=$((failed > still ? failed - still : 0))
    passed=$((passed + alone)) failed=$still
  fi
fi
# A run that died without a failing test is a failure all the same.
[ "$code" -ne 0 ] && [ "$failed" -eq 0 ] && failed=1
echo "suite: $passed passed, $failed failed, $skipped skipped ($alone only when run again, alone)"
exit "$code"

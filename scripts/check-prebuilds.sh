#!/bin/sh
# Says of each native library in prebuilds/ whether it is what today's sources give, byte for byte, wherever they lie, and that
# it needs nothing newer than glibc 2.17. Exits 1 if one is not. Builds them anew in a temporary folder; the one for another
# processor needs what scripts/setup-arm64.sh brings.
set -eu
cd "$(dirname "$0")/.."
oldest=2.17
again=$(mktemp -d)
trap 'rm -rf "$again"' EXIT
cp -r native Makefile scripts "$again/"
mkdir "$again/build" "$again/src" # the Makefile looks into src, too
[ ! -d build/arm64 ] || cp -r build/arm64 "$again/build/arm64"
status=0
found=0
for library in prebuilds/linux-*/liburing-shim.so; do
  [ -e "$library" ] || continue
  found=1
  # Not as a part of the `make` that this may be: its flags are not these libraries'.
  env -u MAKELEVEL -u MAKEFLAGS make -s -C "$again" "$library"
  if ! cmp -s "$library" "$again/$library"; then
    echo "$library is not what today's sources give: make prebuild prebuild-arm64" >&2
    status=1
  fi
  newest=$(readelf --dyn-syms --wide "$library" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -V | tail -1)
  if [ "$(printf '%s\n%s\n' "$newest" "$oldest" | sort -V | tail -1)" != "$oldest" ]; then
    echo "$library needs glibc $newest, and Bun $oldest" >&2
    status=1
  fi
  [ "$status" -ne 0 ] || echo "$library: today's, $(sha256sum "$library" | cut -c1-16)…, glibc ${newest:-any}"
done
[ "$found" -eq 1 ] || { echo "there is nothing in prebuilds/: make prebuild prebuild-arm64" >&2; exit 1; }
exit "$status"

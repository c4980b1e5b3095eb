#!/bin/sh
# Brings what cross-compiling the native library for arm64 needs, on Debian for x64: gcc-aarch64-linux-gnu, and liburing's
# header and archive for arm64, unpacked into build/arm64 and not installed. A second run only looks. Assumes root, or a
# password-less sudo.
set -eu
cd "$(dirname "$0")/.."
[ -e build/arm64/usr/include/liburing.h ] && command -v aarch64-linux-gnu-gcc >/dev/null && exit 0

root=""
[ "$(id -u)" -eq 0 ] || root="sudo -n"
log=$(mktemp)
failed() {
  cat "$log" >&2
  echo "setup-arm64: $1" >&2
  rm -f "$log"
  exit 1
}
command -v apt-get >/dev/null || failed "needs Debian's apt-get: install a cross compiler and liburing for arm64 by hand"
dpkg --print-foreign-architectures | grep -qx arm64 || $root dpkg --add-architecture arm64
apt-cache show liburing-dev:arm64 >/dev/null 2>&1 || $root apt-get update >"$log" 2>&1 || failed "apt-get update failed"
if ! command -v aarch64-linux-gnu-gcc >/dev/null || [ ! -e /usr/aarch64-linux-gnu/include/stdio.h ]; then
  echo "setup-arm64: installing gcc-aarch64-linux-gnu"
  $root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    gcc-aarch64-linux-gnu libc6-dev-arm64-cross >"$log" 2>&1 || failed "apt-get could not install the cross compiler"
fi
mkdir -p build/arm64
(cd build/arm64 && apt-get download -q liburing-dev:arm64 && dpkg -x liburing-dev_*_arm64.deb .) >"$log" 2>&1 ||
  failed "apt-get could not download liburing-dev:arm64"
rm -f "$log"

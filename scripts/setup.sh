#!/bin/sh
# Brings what the build, the tests and the benches need: Debian packages that are missing, and node_modules.
# Assumes sh, npm and (to install Debian packages) root or a password-less sudo. Never touches what is already there:
# a second run only looks.
#
#   scripts/setup.sh             what `make`, `make test` and `make demo` need
#   scripts/setup.sh fio wrk     the same, and these commands
set -eu
cd "$(dirname "$0")/.."

# Debian packages whose command or header is missing. A header is looked for by the compiler itself, so that a liburing
# installed in some other way counts.
missing=""
need() { missing="$missing $1"; }
command -v gcc >/dev/null || need gcc
command -v readelf >/dev/null || need binutils
[ -e /usr/include/stdio.h ] || need libc6-dev
if command -v gcc >/dev/null; then
  archive=$(gcc -print-file-name=liburing.a)
  if [ ! -e "$archive" ] || ! echo '#include <liburing.h>' | gcc -E - >/dev/null 2>&1; then need liburing-dev; fi
else
  need liburing-dev
fi
# strace counts system calls in the tests, musl-gcc builds a program of another libc; the rest is asked for by name.
command -v musl-gcc >/dev/null || need musl-tools
for tool in strace "$@"; do
  command -v "$tool" >/dev/null || need "$tool"
done

if [ -n "$missing" ]; then
  if ! command -v apt-get >/dev/null; then
    echo "setup: please install$missing (Debian package names) and run this again" >&2
    exit 1
  fi
  root=""
  if [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2>/dev/null; then
      echo "setup: not root, and sudo asks for a password; please run: sudo apt-get install -y$missing" >&2
      exit 1
    fi
    root="sudo -n"
  fi
  echo "setup: installing$missing"
  log=$(mktemp)
  # The package lists may be absent or old; they are fetched only if the install fails without.
  # shellcheck disable=SC2086 # both are word lists
  install() { $root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing >"$log" 2>&1; }
  if ! install; then
    if ! { $root apt-get update >"$log" 2>&1 && install; }; then
      cat "$log" >&2
      rm -f "$log"
      echo "setup: apt-get could not install$missing" >&2
      exit 1
    fi
  fi
  rm -f "$log"
fi

# node_modules is right when the lock file it was made from is this one.
stamp=node_modules/.setup-lock.json
if ! cmp -s package-lock.json "$stamp"; then
  if ! command -v npm >/dev/null; then
    echo "setup: npm is missing; please install Node.js with npm" >&2
    exit 1
  fi
  echo "setup: npm ci"
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
  # The one install script that is needed: it puts Bun's binary, which came as a package, in its place.
  node node_modules/bun/install.js
  node_modules/.bin/bun --version >/dev/null
  cp package-lock.json "$stamp"
fi

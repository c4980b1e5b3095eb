# Everything a developer, CI and the packager run. `make help` lists it.
# Assumes Linux, gcc, make, node and npm; `make setup` brings the rest, Bun included, and a second run only looks.

BUN      := node_modules/.bin/bun
TSC      := node_modules/.bin/tsc
BIOME    := node_modules/.bin/biome
ifeq ($(origin CC),default)
CC       := gcc
endif
# Milliseconds for each test; bunfig.toml has no such setting, and Bun's default of 5 s is too short for a busy machine.
TEST     := scripts/test.sh
ARCH     := $(patsubst x86_64,x64,$(patsubst aarch64,arm64,$(shell uname -m)))

SOURCES  := $(shell find src -name '*.ts')
SHIM     := native/liburing-shim.c
HEADERS  := $(wildcard native/*.h)
WARN     := -std=gnu11 -Wall -Wextra -Werror
# nodelete: the shim's thread-exit destructor must outlive any dlclose. exclude-libs keeps liburing's symbols to ourselves.
LINK     := -shared -l:liburing.a -Wl,--exclude-libs,ALL -Wl,-z,defs,-z,now,-z,relro,-z,noexecstack,-z,nodelete
# file-prefix-map: the same bytes wherever the sources lie.
SHIMFLAGS := $(WARN) -ffile-prefix-map=$(CURDIR)=. -fPIC -fvisibility=hidden -fstack-protector-strong
BENCH_C  := $(patsubst bench/c/%.c,build/bench/%,$(wildcard bench/c/*.c))
OPTIMISED := -O2 -D_FORTIFY_SOURCE=2
PREBUILT := prebuilds/linux-$(ARCH)/liburing-shim.so
ARM64    := prebuilds/linux-arm64/liburing-shim.so

# Prerequisites are made in the order they are written, also under -j: `setup` has to come before what needs it.
.NOTPARALLEL:
.PHONY: build setup demo test test-fault test-kernels mutants soak bench bench-cost bench-tuning bench-fio bench-check bench-serve bench-log bench-packages bench-uploads bench-forms bench-report bench-c check check-types fault asan pack prebuild prebuild-arm64 check-prebuilds release site clean help
.DEFAULT_GOAL := build

build: build/liburing-shim.so ## build the shim (the default)

setup: ## install what is missing: liburing-dev, strace, and node_modules with the pinned Bun
	@scripts/setup.sh

demo: setup build ## copy and verify a real tree; compare with node:fs/promises and cp
	@$(BUN) examples/demo.ts

# Where a ring can be had the first run demands it: a silent fall-back to node would be a failure that passes.
RING     := $(shell python3 -c "import ctypes; print('uring' if ctypes.CDLL(None).syscall(425, 1, ctypes.create_string_buffer(120)) >= 0 else 'auto')" 2>/dev/null || echo auto)

test: setup build fault ## all quick tests on the ring; behaviour and units on the node backend, and as `auto` chooses
	@status=0; \
	BUN_URING_BACKEND=$(RING) $(TEST) || status=1; \
	BUN_URING_BACKEND=node $(TEST) test/contract test/unit || status=1; \
	$(TEST) test/contract test/unit/index.test.ts test/unit/backend.test.ts || status=1; \
	exit $$status

test-fault: setup build fault asan ## the long tests: injected faults, memory pressure, killed processes
	BUN_URING_BACKEND=$(RING) BUN_URING_SLOW=1 $(TEST) test/fault test/lifetime test/durability test/model test/native test/hostile test/server

test-kernels: setup build fault ## older kernels, arm64, musl: simulated and emulated (14 minutes); writes docs/kernels.md
	$(BUN) test/kernels/matrix.ts $(KERNELS)

mutants: setup build fault ## some 430 small faults in src, one after the other: the quick tests must notice 85 %: make mutants ONLY=handle/ LOG=build/mutants.log MINUTES=10
	@$(BUN) test/mutants/run.ts $(if $(ONLY),--only $(ONLY)) $(if $(JOBS),--jobs $(JOBS)) $(if $(LOG),--log $(LOG)) $(if $(MINUTES),--minutes $(MINUTES))

soak: setup build ## mixed load with every byte verified: make soak SECONDS=600 SEED=1 WORKERS=2
	@$(BUN) test/soak.ts --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1) --workers $(or $(WORKERS),2)

bench: setup-bench build bench-c ## every bench, side by side with Bun and C (under 5 minutes; with NODE=1 Node too); results in bench/results/
	@$(BUN) bench/run.ts --all $(if $(NODE),--node)

bench-serve: setup-bench build ## serveFile beside Bun's own ways and nginx (if installed), under wrk
	@$(BUN) bench/serve.ts
	@$(BUN) bench/serve-cold.ts

bench-log: setup build bench-c ## AppendLog beside write + datasync by hand, bun:sqlite and C; log lines beside FileSink and sonic-boom
	@$(BUN) bench/log.ts

bench-uploads: setup build bench-c ## receive beside C, FileSink and Bun.write: 1 GiB over one connection, 500 times 1 MiB over 32
	@$(BUN) bench/uploads.ts

bench-forms: setup build ## multipart beside busboy and @remix-run/multipart-parser
	@$(BUN) bench/forms.ts

bench-packages: setup build $(PREBUILT) dist/index.js ## a dozen published packages with this one in the place of node:fs/promises (installs them into build/)
	@$(BUN) bench/packages.ts

bench-%: setup-bench build bench-c
	@$(BUN) bench/run.ts $*

bench-cost: setup build $(PREBUILT) dist/index.js ## what an operation costs with up to 100,000 outstanding; garbage, import, idling, Workers
	@$(BUN) bench/cost.ts

bench-tuning: setup build ## each bound of the ring's tuning against its alternatives
	@$(BUN) bench/tuning.ts

bench-fio: setup-fio build bench-c ## the O_DIRECT benches beside fio's io_uring engine
	@$(BUN) bench/run.ts --fio

bench-check: setup build bench-c ## a short run; fails where a ratio fell below 0.8 of the committed one
	@$(BUN) bench/run.ts --check

bench-report: ## README table and charts from the newest committed results
	@$(BUN) bench/report.ts

bench-c: $(BENCH_C)

check: setup $(PREBUILT) dist/index.js dist/types/index.d.ts ## types, lint, formatting, undocumented exports, the package's manifest, C warnings and gcc's static analyser
	$(TSC) --noEmit
	$(BIOME) ci
	@mkdir -p build
	@$(BUN) pm pack --ignore-scripts --quiet --filename build/checked.tgz >/dev/null
	@$(MAKE) -s docs/site/node_modules
	docs/site/node_modules/.bin/typedoc --options docs/site/typedoc.json --emit none --logLevel Warn
	node_modules/.bin/publint --strict build/checked.tgz
	node_modules/.bin/attw build/checked.tgz --ignore-rules cjs-resolves-to-esm
	$(CC) $(SHIMFLAGS) -O2 -fanalyzer -c -o /dev/null $(SHIM)
	$(CC) $(SHIMFLAGS) -O2 -fanalyzer -Wno-analyzer-malloc-leak -DBUN_URING_FAULT -c -o /dev/null $(SHIM)

site: setup docs/site/node_modules ## the documentation as a site with a search, the API reference from the docstrings in it: docs/api/
	docs/site/node_modules/.bin/typedoc --options docs/site/typedoc.json

docs/site/node_modules: docs/site/package-lock.json
	@cd docs/site && npm ci --no-audit --no-fund --loglevel=error && touch node_modules

fault: build/liburing-shim-fault.so build/liburing-shim-sim.so ## a shim with fault injection, and one that answers as older kernels do as well (never packed)

asan: build/liburing-shim-asan.so ## a third one, with fault injection, AddressSanitizer and UBSan

pack: setup ## the npm tarball, with this machine's native library and the bundles
	@mkdir -p build
	$(BUN) pm pack --destination build

# What was cross-compiled before is packed, too, so it has to be today's.
prebuild: setup $(PREBUILT) $(wildcard $(ARM64)) prebuilds/SHA256SUMS dist/index.js dist/types/index.d.ts

prebuild-arm64: $(ARM64) ## the native library for arm64, cross-compiled on x64 Debian

check-prebuilds: ## the native libraries in prebuilds/ are those of today's sources, byte for byte, and need no more than glibc 2.17
	@scripts/check-prebuilds.sh

release: prebuild-arm64 pack check-prebuilds ## the tarball as it is published: both processors' libraries and their SHA-256 sums

clean: ## remove what was built (node_modules stays)
	rm -rf build prebuilds dist docs/api

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22
	@echo "  make bench-NAME     one bench; the names: $(sort $(notdir $(basename $(wildcard bench/workloads/*.ts))))"

setup-bench:
	@scripts/setup.sh wrk

setup-fio:
	@scripts/setup.sh wrk fio

# One line that says what is missing, and where it is to be had.
NEEDS    := Debian, Ubuntu: apt install gcc libc6-dev liburing-dev; Fedora: dnf install gcc liburing-devel; Alpine: apk add gcc musl-dev linux-headers liburing-dev
.PHONY: setup-bench setup-fio liburing
liburing:
	@lacks() { echo "the native library can't be built: $$1. $(NEEDS)" >&2; exit 1; }; \
	command -v $(firstword $(CC)) >/dev/null || lacks "there is no $(firstword $(CC))"; \
	for header in unistd.h linux/openat2.h liburing.h; do \
	  echo "#include <$$header>" | $(CC) -E -o /dev/null - 2>/dev/null || lacks "there is no $$header"; \
	done; \
	echo | $(CC) -shared -fPIC -x c -o /dev/null - -l:liburing.a 2>/dev/null || lacks "there is no liburing.a (liburing's static library)"

build/liburing-shim.so: $(SHIM) $(HEADERS) Makefile | liburing
	@mkdir -p build
	$(CC) $(SHIMFLAGS) $(OPTIMISED) -o $@ $< $(LINK)

build/liburing-shim-fault.so: $(SHIM) $(HEADERS) Makefile | liburing
	@mkdir -p build
	$(CC) $(SHIMFLAGS) -O2 -g -DBUN_URING_FAULT -o $@ $< $(LINK)

build/liburing-shim-sim.so: $(SHIM) $(HEADERS) test/kernels/simulated-kernel.h Makefile | liburing
	@mkdir -p build
	$(CC) $(SHIMFLAGS) -O2 -DBUN_URING_FAULT -include test/kernels/simulated-kernel.h -o $@ $< $(LINK)

# z,defs would refuse the sanitizer's own symbols, which come from the preloaded runtime.
build/liburing-shim-asan.so: $(SHIM) $(HEADERS) Makefile | liburing
	@mkdir -p build
	$(CC) $(SHIMFLAGS) -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -DBUN_URING_FAULT -o $@ $< $(subst -z$(comma)defs$(comma),,$(LINK))

comma := ,

build/bench/%: bench/c/%.c $(wildcard bench/c/*.h) Makefile | liburing
	@mkdir -p build/bench
	$(CC) $(WARN) -O2 -o $@ $< -l:liburing.a

$(PREBUILT): build/liburing-shim.so
	@mkdir -p $(@D)
	cp $< $@

ifneq ($(ARCH),arm64)
$(ARM64): $(SHIM) $(HEADERS) Makefile
	@scripts/setup-arm64.sh
	@mkdir -p $(@D)
	aarch64-linux-gnu-gcc $(SHIMFLAGS) $(OPTIMISED) -isystem build/arm64/usr/include -isystem build/arm64/usr/include/aarch64-linux-gnu \
	  -o $@ $< -Lbuild/arm64/usr/lib/aarch64-linux-gnu $(LINK)
endif

prebuilds/SHA256SUMS: $(PREBUILT) $(wildcard $(ARM64))
	cd prebuilds && sha256sum */liburing-shim.so > SHA256SUMS

# Makes dist/promises.js and dist/cli.js as well.
dist/index.js: $(SOURCES) scripts/bundle.ts $(wildcard scripts/elsewhere/*) package.json package-lock.json
	$(BUN) scripts/bundle.ts

# Declarations, so that a user's compiler settings need not suit our sources.
dist/types/index.d.ts: $(SOURCES) scripts/tsconfig.types.json package-lock.json
	$(TSC) -p scripts/tsconfig.types.json

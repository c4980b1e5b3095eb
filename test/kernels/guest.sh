#!/bin/bash
# Runs the tour, and test files if any are named, in a guest with another kernel, processor or libc, without /dev/kvm:
#
#   test/kernels/guest.sh GUEST [TEST FILE OR FOLDER]…
#     x64-6.1, x64-6.12   Debian 12's cloud kernels in QEMU (emulated: three to ten times slower)
#     arm64-6.1           the same for arm64, the library cross-compiled (make prebuild-arm64)
#     uml-6.1             User-Mode Linux: near native speed, so that whole suites can run
#     arm64-user          qemu-user on this kernel: io_uring is ENOSYS there, so the node backend is what is seen
#     musl                this kernel, Bun's musl build
#
# Prints what the guest said: a line of JSON from the tour on each backend, then what `bun test` skipped and failed, and its
# summary. Assumes Debian 12, root, npm, the libraries built. Downloads kernels and foreign Bun builds once, into build/kernels.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$here/../.." && pwd)
work=$project/build/kernels
guest=${1:?which guest}
shift
tests=$*
bun=$project/node_modules/.bin/bun
mkdir -p "$work/debs" && cd "$work"

# alone COMMAND…: two rows at a time, of which one updates apt's lists while the other reads them, find no packages
alone() {
  exec 8>"$work/apt.lock"
  flock 8
  "$@" 8>&-
  exec 8>&-
}

# packages NAME…: those of Debian that are missing here
packages() { alone install_packages "$@"; }
install_packages() {
  local missing="" name
  for name in "$@"; do dpkg -s "$name" >/dev/null 2>&1 || missing="$missing $name"; done
  [ -z "$missing" ] && return
  # shellcheck disable=SC2086 # a list
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >"$work/apt.log" 2>&1 ||
    { apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >"$work/apt.log" 2>&1; } ||
    { cat "$work/apt.log" >&2; exit 1; }
}

# unpacked META FOLDER: what the newest package behind a Debian package's name holds, not installed
unpacked() { alone unpack "$@"; }
newest() { apt-cache depends "$1" 2>/dev/null | awk '/Depends: linux-image/{print $2; exit}'; }
unpack() {
  [ -e "$2/.complete" ] && return
  local name=$1 suffix=""
  case $1 in *:*) suffix=:${1#*:} ;; esac
  case $1 in
  linux-image-*)
    name=$(newest "$1")
    [ -n "$name" ] || { apt-get update -qq >/dev/null && name=$(newest "$1"); } # a fresh machine has old lists, or none
    ;;
  esac
  case $name in *:*) ;; *) name=$name$suffix ;; esac
  local plain=${name%%:*}
  ls debs/"${plain//+/*}"_*.deb >/dev/null 2>&1 || (cd debs && apt-get download -qq "$name" 2>/dev/null)
  mkdir -p "$2" && dpkg -x "$(ls debs/"${plain//+/*}"_*"${suffix:+${suffix#:}}".deb 2>/dev/null || ls debs/"$plain"_*.deb)" "$2" && touch "$2/.complete"
}

# foreign_bun NAME: prints the path of another build of the same Bun
foreign_bun() {
  if [ ! -x "$1/package/bin/bun" ]; then
    mkdir -p "$1" && (cd "$1" && npm pack --silent "@oven/$1@$("$bun" --version)" >/dev/null && tar xzf ./*.tgz && rm ./*.tgz)
  fi
  echo "$work/$1/package/bin/bun"
}

# app FOLDER SHIM: the sources and tests as a guest needs them
app() {
  rm -rf "$1" && mkdir -p "$1"/{build,node_modules}
  cp -r "$project"/{src,test,docs,native,examples,package.json,tsconfig.json,bunfig.toml,README.md,Makefile} "$1/"
  cp "$2" "$1/build/liburing-shim.so"
  local name
  for name in cli-progress string-width emoji-regex is-fullwidth-code-point strip-ansi ansi-regex; do
    if [ -e "$project/node_modules/$name" ]; then cp -r "$project/node_modules/$name" "$1/node_modules/"; fi
  done
}

# root_of FOLDER BUSYBOX BUN LOADER LIBRARIES-FROM LIBRARIES-TO SHIM: a root with Bun, busybox and the project
root_of() {
  rm -rf "$1" && mkdir -p "$1"/{bin,usr/bin,tmp,proc,dev,sys,etc,mnt} "$1$(dirname "$4")" "$1$6"
  chmod 1777 "$1/tmp"
  cp "$2" "$1/bin/busybox" && cp -L "$3" "$1/usr/bin/bun"
  local name
  for name in $(busybox --list | grep -vx busybox); do ln -sfn busybox "$1/bin/$name"; done
  for name in libc.so.6 libm.so.6 libpthread.so.0 libdl.so.2 librt.so.1; do cp -L "$5/$name" "$1$6/"; done
  cp -L "$5/$(basename "$4")" "$1$4"
  app "$1/app" "$7"
  echo 'root:x:0:0:root:/:/bin/sh' >"$1/etc/passwd"
  echo "$tests" >"$1/tests" && echo "${OPS:-20000}" >"$1/ops"
  cat >"$1/init" <<'INIT'
#!/bin/sh
export PATH=/usr/bin:/bin HOME=/ TMPDIR=/tmp CI=true NO_COLOR=1 LIMIT_MS=60000 BUN_URING_BACKEND=auto
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/shm /dev/pts; mount -t tmpfs shm /dev/shm; mount -t devpts pts /dev/pts; ip link set lo up; ulimit -n 65536
cd /app
for backend in auto node; do BUN_URING_BACKEND=$backend bun test/kernels/tour.ts 2>&1 </dev/null | cat; done
export BUN_URING_BACKEND=uring BUN_URING_NO_ORACLE=1 OPS="$(cat /ops)"
[ -n "$(cat /tests)" ] && bun test --timeout 60000 $(cat /tests) 2>&1 </dev/null | cat
sync; poweroff -f
INIT
  chmod +x "$1/init"
}

# What tests call that busybox has not, or with options that it does not know.
tools="setpriv prlimit touch find dd diff script"

# own_tools ROOT: this machine's, with their libraries
own_tools() {
  local name library
  for name in $tools; do
    cp -L "$(command -v "$name")" "$1/usr/bin/"
    for library in $(ldd "$1/usr/bin/$name" | grep -o '/lib/[^ ]*'); do cp -L "$library" "$1/lib/x86_64-linux-gnu/"; done
  done
}

# arm64_tools ROOT: the same for arm64, from Debian's packages
arm64_tools() {
  local name
  for name in util-linux bsdutils coreutils findutils diffutils libcap-ng0 libselinux1 libpcre2-8-0 libsmartcols1; do
    unpacked "$name:arm64" "arm64-tools/$name"
  done
  for name in $tools; do cp -L arm64-tools/*/{,usr/}bin/"$name" "$1/usr/bin/" 2>/dev/null || true; done
  cp -L arm64-tools/lib*/{,usr/}lib/aarch64-linux-gnu/*.so.* "$1/lib/aarch64-linux-gnu/" 2>/dev/null || true
}

# initrd FOLDER BUSYBOX MODULES: loads the drivers of the disk and moves to it; makes FOLDER.gz
initrd() {
  rm -rf "$1" && mkdir -p "$1"/{bin,proc,sys,dev,mnt,modules}
  cp "$2" "$1/bin/busybox"
  local name file drivers="virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_mmio virtio_blk"
  for name in sh mount insmod switch_root sleep; do ln -sfn busybox "$1/bin/$name"; done
  for name in $drivers; do
    file=$(find "$3" -name "$name.ko*" | head -1)
    case $file in '') ;; *.xz) xz -dc "$file" >"$1/modules/$name.ko" ;; *) cp "$file" "$1/modules/" ;; esac
  done
  cat >"$1/init" <<INIT
#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for name in $drivers; do [ -f /modules/\$name.ko ] && insmod /modules/\$name.ko; done
i=0; while [ ! -b /dev/vda ] && [ \$i -lt 50 ]; do sleep 0.1; i=\$((i + 1)); done
mount -t ext4 /dev/vda /mnt; exec switch_root /mnt /init
INIT
  chmod +x "$1/init"
  (cd "$1" && find . | cpio -o -H newc --quiet | gzip -1) >"$1.gz"
}

image() {
  rm -f "$2" && truncate -s 1G "$2" && mkfs.ext4 -q -F -d "$1" "$2"
}

# heard LOG: what the guest printed, without the console's colours and the kernel's words
heard() {
  sed 's/\x1b\[[0-9;?]*[a-zA-Z]//g; s/\r//g; s/^.*{"kernel"/{"kernel"/' "$1" | grep -aE '^\{"kernel"|^.(fail|skip).|^ *[0-9]+ (pass|errors?)$|^Ran ' || { tail -20 "$1" >&2; exit 1; }
}

x64() {
  packages qemu-system-x86 seabios busybox-static cpio xz-utils e2fsprogs kmod
  case $1 in 6.1) unpacked linux-image-cloud-amd64 x64-6.1 ;; 6.12) unpacked linux-image-6.12-cloud-amd64 x64-6.12 ;; esac
  root_of "root-$guest" /bin/busybox "$bun" /lib64/ld-linux-x86-64.so.2 /lib/x86_64-linux-gnu /lib/x86_64-linux-gnu "$project/build/liburing-shim.so"
  own_tools "root-$guest"
  image "root-$guest" "$guest.ext4"
  initrd "initrd-$guest" /bin/busybox "x64-$1/lib/modules"
  timeout --foreground "${GUEST_SECONDS:-600}" qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max -smp 2 -m 2048 -nographic -no-reboot -nodefaults \
    -serial stdio -monitor none -kernel "x64-$1"/boot/vmlinuz-* -initrd "initrd-$guest.gz" \
    -drive "file=$guest.ext4,format=raw,if=virtio,snapshot=on" -append "console=ttyS0 quiet mitigations=off panic=-1" \
    </dev/null >"$guest.log" 2>&1 || true
  heard "$guest.log"
}

arm64_parts() {
  packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross
  make -s -C "$project" prebuild-arm64
  unpacked libc6:arm64 arm64-libc
}

arm64() {
  packages qemu-system-arm busybox-static cpio xz-utils e2fsprogs kmod
  arm64_parts
  unpacked linux-image-cloud-arm64:arm64 arm64-6.1
  unpacked busybox-static:arm64 arm64-busybox
  root_of "root-$guest" arm64-busybox/bin/busybox "$(foreign_bun bun-linux-aarch64)" /lib/ld-linux-aarch64.so.1 \
    arm64-libc/lib/aarch64-linux-gnu /lib/aarch64-linux-gnu "$project/prebuilds/linux-arm64/liburing-shim.so"
  arm64_tools "root-$guest"
  image "root-$guest" "$guest.ext4"
  initrd "initrd-$guest" arm64-busybox/bin/busybox arm64-6.1/lib/modules
  timeout --foreground "${GUEST_SECONDS:-600}" qemu-system-aarch64 -M virt -accel tcg,thread=multi -cpu cortex-a72 -smp 2 -m 2048 -nographic -no-reboot \
    -nodefaults -serial stdio -monitor none -kernel arm64-6.1/boot/vmlinuz-* -initrd "initrd-$guest.gz" \
    -drive "file=$guest.ext4,format=raw,if=none,id=disk,snapshot=on" -device virtio-blk-device,drive=disk \
    -append "console=ttyAMA0 quiet panic=-1" </dev/null >"$guest.log" 2>&1 || true
  heard "$guest.log"
}

arm64_user() {
  packages qemu-user-static
  arm64_parts
  local libraries=$work/arm64-libc foreign
  foreign=$(foreign_bun bun-linux-aarch64)
  app "app-$guest" "$project/prebuilds/linux-arm64/liburing-shim.so"
  for backend in auto node; do
    (cd "app-$guest" && BUN_URING_BACKEND=$backend qemu-aarch64-static -L "$libraries" -E "LD_LIBRARY_PATH=$libraries/lib/aarch64-linux-gnu" "$foreign" test/kernels/tour.ts)
  done >"$guest.log" 2>&1 || true
  heard "$guest.log"
}

# Bun's musl build wants a libstdc++ for musl, which Debian does not have: glibc's, with the functions that musl lacks.
musl() {
  packages musl musl-tools
  local foreign name
  foreign=$(foreign_bun bun-linux-x64-musl)
  mkdir -p musl-libraries
  cp -L /usr/lib/x86_64-linux-gnu/libstdc++.so.6 /lib/x86_64-linux-gnu/libgcc_s.so.1 musl-libraries/
  musl-gcc -shared -fPIC -O2 -o musl-libraries/libglue.so "$here/musl-glue.c"
  for name in ld-linux-x86-64.so.2 libc.so.6 libm.so.6 libpthread.so.0 libdl.so.2; do
    echo 'int unused;' | musl-gcc -shared -fPIC -x c -o "musl-libraries/$name" -
  done
  ln -sfn /lib/ld-musl-x86_64.so.1 musl-libraries/libc.musl-x86_64.so.1
  app "app-$guest" "$project/build/liburing-shim.so"
  # The tour is of the tarball, as it is published.
  rm -rf packed && mkdir -p packed "app-$guest/node_modules/bun-uring"
  (cd "$project" && "$bun" pm pack --destination "$work/packed" >/dev/null)
  tar xzf packed/*.tgz --strip-components=1 -C "app-$guest/node_modules/bun-uring"
  local musl=(/lib/ld-musl-x86_64.so.1 --library-path "$work/musl-libraries" --preload "$work/musl-libraries/libglue.so" "$foreign")
  (
    cd "app-$guest" || exit 1
    for backend in auto node; do
      BUN_URING_BACKEND=$backend PROJECT=$work/app-$guest/node_modules/bun-uring ENTRY=dist/index.js "${musl[@]}" test/kernels/tour.ts
    done
    # shellcheck disable=SC2086 # a list
    [ -z "$tests" ] || CI=true NO_COLOR=1 BUN_URING_BACKEND=uring BUN_URING_NO_ORACLE=1 "${musl[@]}" test --timeout 30000 $tests
  ) >"$guest.log" 2>&1 </dev/null || true
  heard "$guest.log"
}

# The root is an image, not the host's folders: through hostfs no path is ever in the dentry cache. What is only run is the host's.
uml() {
  packages user-mode-linux e2fsprogs
  local root=root-$guest name
  rm -rf "$root" && mkdir -p "$root"/{usr,etc,proc,sys,dev,tmp,out} && chmod 1777 "$root/tmp"
  app "$root/app" "$project/build/liburing-shim.so"
  rm -rf "$root/app/node_modules" && mkdir "$root/app/node_modules" && cp "$project"/build/liburing-shim-fault.so "$root/app/build/"
  for name in bin lib lib64 sbin; do ln -sfn usr/$name "$root/$name"; done
  cp -r /etc/{passwd,group,ld.so.cache,nsswitch.conf,hosts,alternatives} "$root/etc/"
  mkdir "$root/etc/ssl" && cp /etc/ssl/openssl.cnf "$root/etc/ssl/" 2>/dev/null || true
  rm -f "$guest.ext4" && truncate -s 2G "$guest.ext4" && mkfs.ext4 -q -F -d "$root" "$guest.ext4" && rm -rf "$root"
  cat >uml-init <<INIT
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 CI=true NO_COLOR=1 BUN_URING_PATIENCE=6 OPS=${OPS:-20000}
mount -t proc proc /proc; mount -t ext4 /dev/ubda /mnt; mount --bind /usr /mnt/usr; mount --bind $work /mnt/out
mount --bind $(readlink -f "$project/node_modules") /mnt/app/node_modules
mount -t proc proc /mnt/proc; mount -t sysfs sys /mnt/sys; mount -t devtmpfs dev /mnt/dev
mkdir -p /mnt/dev/shm /mnt/dev/pts; mount -t tmpfs shm /mnt/dev/shm; mount -t devpts pts /mnt/dev/pts; ip link set lo up; ulimit -n 65536
chroot /mnt /bin/sh -c "cd /app; for backend in auto node; do BUN_URING_BACKEND=\\\$backend node_modules/.bin/bun test/kernels/tour.ts; done; export BUN_URING_BACKEND=uring BUN_URING_NO_ORACLE=1; [ -z '$tests' ] || node_modules/.bin/bun test --timeout 120000 $tests" >$work/$guest.log 2>&1 </dev/null
sync; echo o >/proc/sysrq-trigger; sleep 5
INIT
  chmod +x uml-init
  # Its memory is a file that is mapped to be executed: in a container /dev/shm is often too small for that, or noexec.
  if findmnt -no OPTIONS /dev/shm | grep -q noexec || [ "$(df --output=avail -B1M /dev/shm | tail -1)" -lt 2100 ]; then export TMPDIR=$work; fi
  timeout --foreground "${GUEST_SECONDS:-600}" linux mem=2048M ubda="$work/$guest.ext4" root=/dev/root rootfstype=hostfs rootflags=/ rw \
    init="$work/uml-init" con=null con0=null,fd:1 quiet </dev/null >"$guest.boot.log" 2>&1 || true
  heard "$guest.log"
}

case $guest in
x64-6.1) x64 6.1 ;;
x64-6.12) x64 6.12 ;;
arm64-6.1) arm64 ;;
arm64-user) arm64_user ;;
uml-6.1) uml ;;
musl) musl ;;
*) echo "no such guest: $guest" >&2 && exit 2 ;;
esac

// One binary for every libc: what is linked here loads under glibc 2.17 (which Bun itself needs) and newer, and under musl.
// Calls that either libc got later are made as system calls; functions that glibc 2.34 moved from libpthread into libc keep
// the version they have had since the beginning. test/native/shipped.test.ts reads the versions of what was built.

#ifdef __GLIBC__
#ifdef __x86_64__
#define FIRST_GLIBC "GLIBC_2.2.5"
#else
#define FIRST_GLIBC "GLIBC_2.17"
#endif
__asm__(".symver pthread_key_create,pthread_key_create@" FIRST_GLIBC);
__asm__(".symver pthread_getspecific,pthread_getspecific@" FIRST_GLIBC);
__asm__(".symver pthread_setspecific,pthread_setspecific@" FIRST_GLIBC);
__asm__(".symver pthread_create,pthread_create@" FIRST_GLIBC);
__asm__(".symver pthread_attr_setstacksize,pthread_attr_setstacksize@" FIRST_GLIBC);
__asm__(".symver pthread_sigmask,pthread_sigmask@" FIRST_GLIBC);
#endif

// On arm64 glibc keeps the stack protector's guard in ld-linux-aarch64.so.1, a file that musl does not have: so the library,
// liburing's part of it included, has one of its own, random as that is.
#ifdef __aarch64__
__attribute__((visibility("hidden"))) uintptr_t __stack_chk_guard;

__attribute__((constructor)) static void make_stack_guard(void)
{
    const uintptr_t *random = (const uintptr_t *)getauxval(AT_RANDOM);
    if (random)
        __stack_chk_guard = random[0] & ~(uintptr_t)0xff; // a string that runs over ends at the zero byte
}
#endif

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x8
#endif
#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif
#ifndef AT_STATX_DONT_SYNC
#define AT_STATX_DONT_SYNC 0x4000
#endif

// glibc 2.28, musl 1.2.5. Older musl has not the struct either; the kernel's header has.
#ifndef STATX_BASIC_STATS
#include <linux/stat.h>
#endif

// What statx says, as far as stat knows it: old container profiles refuse statx, with EPERM or ENOSYS.
static int statx_of_stat(int dirfd, const char *path, int flags, struct statx *out)
{
    struct stat s;
    const int is_file = flags & AT_EMPTY_PATH && !path[0];
    if (is_file ? syscall(SYS_fstat, dirfd, &s) : syscall(SYS_newfstatat, dirfd, path, &s, flags & AT_SYMLINK_NOFOLLOW))
        return -1;
    *out = (struct statx){
        .stx_mask = STATX_BASIC_STATS,
        .stx_blksize = (uint32_t)s.st_blksize,
        .stx_nlink = (uint32_t)s.st_nlink,
        .stx_uid = s.st_uid,
        .stx_gid = s.st_gid,
        .stx_mode = (uint16_t)s.st_mode,
        .stx_ino = s.st_ino,
        .stx_size = (uint64_t)s.st_size,
        .stx_blocks = (uint64_t)s.st_blocks,
        .stx_atime = {.tv_sec = s.st_atim.tv_sec, .tv_nsec = (uint32_t)s.st_atim.tv_nsec},
        .stx_btime = {.tv_sec = s.st_ctim.tv_sec, .tv_nsec = (uint32_t)s.st_ctim.tv_nsec}, // as libuv does there
        .stx_ctime = {.tv_sec = s.st_ctim.tv_sec, .tv_nsec = (uint32_t)s.st_ctim.tv_nsec},
        .stx_mtime = {.tv_sec = s.st_mtim.tv_sec, .tv_nsec = (uint32_t)s.st_mtim.tv_nsec},
        .stx_dev_major = (uint32_t)((s.st_dev >> 8 & 0xfff) | (s.st_dev >> 32 & ~0xfffu)),
        .stx_dev_minor = (uint32_t)((s.st_dev & 0xff) | (s.st_dev >> 12 & ~0xffu)),
        .stx_rdev_major = (uint32_t)((s.st_rdev >> 8 & 0xfff) | (s.st_rdev >> 32 & ~0xfffu)),
        .stx_rdev_minor = (uint32_t)((s.st_rdev & 0xff) | (s.st_rdev >> 12 & ~0xffu)),
    };
    return 0;
}

static inline int portable_statx(int dirfd, const char *path, int flags, unsigned int mask, struct statx *out)
{
    const int rc = (int)syscall(SYS_statx, dirfd, path, flags, mask, out);
    return rc && (errno == ENOSYS || errno == EPERM) ? statx_of_stat(dirfd, path, flags, out) : rc;
}

// glibc 2.26, musl 1.2.5. The system call splits the offset into two longs, of which 64-bit machines use the first.
static inline ssize_t portable_preadv2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
    return syscall(SYS_preadv2, fd, iov, (long)count, offset, 0L, flags);
}

static inline ssize_t portable_pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
    return syscall(SYS_pwritev2, fd, iov, (long)count, offset, 0L, flags);
}

// A function of its own since glibc 2.33. On 64-bit machines the kernel's struct stat is both libcs'.
static inline int portable_fstat(int fd, struct stat *out)
{
    return (int)syscall(SYS_fstat, fd, out);
}

static inline int portable_fstatat(int dirfd, const char *path, struct stat *out, int flags)
{
    return (int)syscall(SYS_newfstatat, dirfd, path, out, flags);
}

#define fstatat(dirfd, path, out, flags) portable_fstatat(dirfd, path, out, flags)
#define statx(dirfd, path, flags, mask, out) portable_statx(dirfd, path, flags, mask, out)
#define preadv2(fd, iov, count, offset, flags) portable_preadv2(fd, iov, count, offset, flags)
#define pwritev2(fd, iov, count, offset, flags) portable_pwritev2(fd, iov, count, offset, flags)
#define fstat(fd, out) portable_fstat(fd, out)

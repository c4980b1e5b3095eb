// Plain system calls that cannot block, where a ring operation would go to a thread, and what no opcode does. Included by
// liburing-shim.c.

/* ---- calls that cannot block, where a ring operation would go to a thread ------------------------------------------ */

enum { SYS_CACHESTAT = 451 }; // newer than the oldest headers that this builds with; the same on all architectures
enum { STAT_NO_FOLLOW = 1, STAT_DONT_SYNC = 2 };

// What a refused cached look-up says. That the kernel (before 5.12) or a sandbox does not have the call says nothing of the
// path, and O_NOATIME's EPERM comes again from the ring.
static int32_t cached_refusal(int error)
{
    return error == EINVAL || error == ENOSYS || error == EPERM ? -EAGAIN : -error;
}

// statx of a path whose every component is in the dentry cache: never waits for a disk or a server's lookup.
// Returns 0, -EAGAIN where the cache does not have it (use the ring), or the path's own -errno.
EXPORT int32_t bun_uring_stat_cached(const char *path, uint32_t flags, struct statx *out)
{
    const int no_follow = flags & STAT_NO_FOLLOW;
    const int at_flags = AT_EMPTY_PATH | (flags & STAT_DONT_SYNC ? AT_STATX_DONT_SYNC : 0);
    struct open_how how = {
        .flags = (uint64_t)(O_PATH | O_CLOEXEC | (no_follow ? O_NOFOLLOW : 0)),
        .resolve = RESOLVE_CACHED,
    };
    const int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
    if (fd < 0)
        return cached_refusal(errno);
    const int rc = statx(fd, "", at_flags, STATX_BASIC_STATS | STATX_BTIME, out) ? cached_refusal(errno) : 0;
    close(fd);
    return rc;
}

// access(2) of a path whose every component is in the dentry cache. With a mode, only of a file that is `user`'s own or
// gives its group nothing: of others the kernel may have to read an access control list.
// Returns what access says, or -EAGAIN.
EXPORT int32_t bun_uring_access_cached(const char *path, int32_t mode, uint32_t user)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_CACHED};
    const int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
    if (fd < 0 && cached_refusal(errno) == -EAGAIN)
        return -EAGAIN;
    struct stat stat = {0};
    const int unknown = fd >= 0 && mode != F_OK && (fstat(fd, &stat) || (stat.st_uid != user && (stat.st_mode & S_IRWXG)));
    if (fd >= 0)
        close(fd);
    if (unknown)
        return -EAGAIN;
    return access(path, mode) ? -errno : 0; // by the path again: it is the process's real user who asks
}

// The path of an open file, without links, as the kernel tells it; closes the file. Returns its length, -errno of the open
// that gave no file, or -EAGAIN where there is no telling.
static int real_path_of(int fd, char *into, uint32_t length)
{
    if (fd < 0)
        return -errno;
    char link[40] = "/proc/self/fd/";
    int digits = 1;
    for (int rest = fd / 10; rest > 0; rest /= 10)
        digits++;
    for (int rest = fd, i = digits; i > 0; rest /= 10) // snprintf would link to a libc's checked one
        link[14 + --i] = (char)('0' + rest % 10);
    const ssize_t n = readlink(link, into, length);
    close(fd);
    static const char gone[] = " (deleted)";
    const ssize_t tail = sizeof(gone) - 1;
    const int lost = n <= 0 || (uint32_t)n == length || into[0] != '/' || (n > tail && !memcmp(into + n - tail, gone, tail));
    return lost ? -EAGAIN : (int)n;
}

// realpath of a path whose every component is in the dentry cache. Returns its length, or -EAGAIN also for what fails.
EXPORT int32_t bun_uring_realpath_cached(const char *path, void *into, uint32_t capacity)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_CACHED};
    const int n = real_path_of((int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how)), into, capacity);
    return n < 0 ? -EAGAIN : n;
}

// Where read_cached leaves a file that it opened but did not read.
struct opened {
    int32_t fd;
    uint32_t mode;
    uint32_t size_low, size_high;
};

// Reads up to `length` bytes that are in the page cache. By position, so that nothing is taken from a FIFO or terminal:
// those say ESPIPE. Returns what it has got; *end is set if the file ended there.
static uint32_t read_now(int fd, char *into, uint32_t length, int *end)
{
    uint32_t done = 0;
    while (done < length) {
        struct iovec iov = {.iov_base = into + done, .iov_len = length - done};
        const ssize_t n = preadv2(fd, &iov, 1, done, RWF_NOWAIT);
        *end = n == 0;
        if (n <= 0)
            break;
        done += (uint32_t)n;
    }
    return done;
}

// Reads a whole small regular file that is in the dentry and page caches, without waiting for anything.
// Returns its length; -EAGAIN where nothing was done (use the ring); -EINPROGRESS where the file is open in out->fd but
// has to be read otherwise (not regular, not smaller than `capacity`, not cached); or what open said.
EXPORT int32_t bun_uring_read_cached(const char *path, int32_t flags, void *into, uint32_t capacity, struct opened *out)
{
    // O_NONBLOCK, so that a FIFO or device in this place can't hold the thread.
    struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC | O_NONBLOCK), .resolve = RESOLVE_CACHED};
    const int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
    if (fd < 0)
        return cached_refusal(errno);
    struct stat stat = {0};
    fstat(fd, &stat);
    if (S_ISREG(stat.st_mode) && stat.st_size < capacity) {
        // A file of /proc says 0 and has more: only a read of 0 bytes proves the end there.
        const int sized = stat.st_size > 0;
        const uint32_t wanted = sized ? (uint32_t)stat.st_size : capacity;
        int end = 0;
        const uint32_t done = read_now(fd, into, wanted, &end);
        if (end || (sized && done == wanted)) {
            close(fd);
            return (int32_t)done;
        }
    }
    fcntl(fd, F_SETFL, flags & (O_NONBLOCK | O_NOATIME));
    hold_for_worker(pthread_getspecific(thread_rings), fd);
    out->fd = fd;
    out->mode = stat.st_mode;
    split((uint64_t)stat.st_size, &out->size_low, &out->size_high);
    return -EINPROGRESS;
}

// Reads the `length` bytes that an open regular file has, if all of them are in the page cache, and closes it. Returns
// `length`, or less: then the file is still open, and what was read is to be read again.
EXPORT int32_t bun_uring_read_opened(int32_t fd, void *into, uint32_t length)
{
    int end = 0;
    const uint32_t done = read_now(fd, into, length, &end);
    if (done == length)
        close(fd);
    return (int32_t)done;
}

// statx of an open file. dont_sync: what the kernel knows already (never asks a file server).
EXPORT int32_t bun_uring_fstat(int32_t fd, int32_t dont_sync, struct statx *out)
{
    const int flags = AT_EMPTY_PATH | (dont_sync ? AT_STATX_DONT_SYNC : 0);
    return statx(fd, "", flags, STATX_BASIC_STATS | STATX_BTIME, out) ? -errno : 0;
}

// lseek for SEEK_DATA (3) and SEEK_HOLE (4), which have no opcode; a double holds every offset below 2^53 exactly.
EXPORT double bun_uring_seek(int32_t fd, double offset, int32_t whence)
{
    const off_t found = lseek(fd, (off_t)offset, whence);
    return found < 0 ? -errno : (double)found;
}

// What linux/fs.h has as struct procmap_query since 6.11.
struct mapping_query {
    uint64_t size, flags, address;
    uint64_t start, end, vma_flags, page_size, offset, inode;
    uint32_t device_major, device_minor, name_size, build_id_size;
    uint64_t name_address, build_id_address;
};

// Whether a range of memory is anonymous: a file's can be gone when it is touched. Returns 1 or 0, or -errno where the kernel can't
// be asked (before 6.11).
EXPORT int32_t bun_uring_is_anonymous(const void *address, double length)
{
    struct mapping_query query = {.size = sizeof(query), .address = (uintptr_t)address};
    const int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    const int rc = syscall(SYS_ioctl, fd, _IOWR('f', 17, struct mapping_query), &query) ? -errno : 0;
    close(fd);
    return rc < 0 ? rc : query.inode == 0 && query.start <= query.address && query.address + (uint64_t)length <= query.end;
}

// memcpy that says how far it came, or -EFAULT at once, where memory turns out not to be there: a mapping of a file that was
// cut. Where the kernel does not copy between processes (seccomp, its configuration), by way of a file in memory.
EXPORT double bun_uring_copy(void *to, const void *from, double length)
{
    const size_t wanted = (size_t)length;
    const struct iovec here = {.iov_base = to, .iov_len = wanted};
    const struct iovec there = {.iov_base = (void *)from, .iov_len = wanted};
    ssize_t copied = process_vm_readv(getpid(), &here, 1, &there, 1, 0);
    if (copied >= 0 || errno == EFAULT)
        return copied < 0 ? -EFAULT : (double)copied;
    const int fd = (int)syscall(SYS_memfd_create, "bun-uring", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    copied = write(fd, from, wanted);
    if (copied > 0)
        copied = pread(fd, to, (size_t)copied, 0);
    const int failed = errno;
    close(fd);
    return copied < 0 ? -failed : (double)copied;
}

// Moves a file's own position by the bytes of a transfer that then goes there by its offset. Returns where they begin, or
// -errno; *claimed is how many they are. A read claims what a regular file has left, and nothing of what has no size: -1
// then says that a file is empty, or made as it is read (/proc).
EXPORT double bun_uring_claim(int32_t fd, double length, int32_t of_read, double *claimed)
{
    off_t wanted = (off_t)length;
    bool sizeless = false;
    *claimed = 0;
    if (of_read) {
        struct statx stx;
        const off_t at = lseek(fd, 0, SEEK_CUR);
        if (at < 0 || statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_SIZE, &stx))
            return -errno;
        const off_t left = S_ISREG(stx.stx_mode) && (off_t)stx.stx_size > at ? (off_t)stx.stx_size - at : 0;
        if (left < wanted)
            wanted = left;
        sizeless = S_ISREG(stx.stx_mode) && stx.stx_size == 0;
    }
    const off_t end = lseek(fd, wanted, SEEK_CUR);
    if (end >= wanted) {
        *claimed = sizeless ? -1 : (double)wanted;
        return (double)(end - wanted);
    }
    const off_t at = lseek(fd, 0, SEEK_CUR); // a device that has no positions, or one beyond the largest
    return at < 0 ? -errno : (double)at;
}

#define NO_MODE 0xffffffffu

// fchmod (unless NO_MODE) and futimens of an open file or folder have no opcode either. On local file systems a few microseconds.
EXPORT int32_t bun_uring_set_attributes(int32_t fd, const struct attributes *a)
{
    const struct timespec times[2] = {
        {.tv_sec = a->access_seconds, .tv_nsec = a->access_nanoseconds},
        {.tv_sec = a->modification_seconds, .tv_nsec = a->modification_nanoseconds},
    };
    return (a->mode != NO_MODE && fchmod(fd, a->mode)) || futimens(fd, times) ? -errno : 0;
}

// Names of the extended attributes of a path (NULL: of fd), each with its NUL. Returns their bytes, or -errno; with a
// capacity of 0 the bytes there are. No opcode does this; it may wait for a disk, so never call it for a file server.
EXPORT int32_t bun_uring_list_xattr(const char *path, int32_t fd, void *out, uint32_t capacity)
{
    const ssize_t length = path ? listxattr(path, out, capacity) : flistxattr(fd, out, capacity);
    return length < 0 ? -errno : (int32_t)length;
}

// Removes an extended attribute of a path (NULL: of fd). Under the same conditions.
EXPORT int32_t bun_uring_remove_xattr(const char *path, int32_t fd, const char *name)
{
    return (path ? removexattr(path, name) : fremovexattr(fd, name)) ? -errno : 0;
}

// Which attributes of a file are its user's, so that one that takes its place is to have them: not those of file systems, nor
// capabilities and hashes, which belong to the bytes.
static int is_users_attribute(const char *name)
{
    return !strncmp(name, "user.", 5) || !strcmp(name, "security.selinux") || !strncmp(name, "security.SMACK64", 16);
}

#define ACCESS_LIST "system.posix_acl_access"

// The group's permissions that an access control list leaves it, as the kernel stores lists: a version, then entries of tag,
// permissions and id. Mode bits show the mask in their place.
static int32_t group_permissions(const uint8_t *list, ssize_t length)
{
    enum { GROUP = 0x04, MASK = 0x10 };
    int32_t group = 0, mask = 7;
    for (ssize_t at = 4; at + 8 <= length; at += 8) {
        const int tag = list[at] | list[at + 1] << 8;
        if (tag == GROUP)
            group = list[at + 2] & 7;
        else if (tag == MASK)
            mask = list[at + 2] & 7;
    }
    return group & mask;
}

// Gives an open file the extended attributes of the file at a path (no link), and its access control list: none, if it has
// none. What is not allowed is left out. Returns 0; where the list is left out 8 and the group's permissions in it; or -errno.
// Under the same conditions.
EXPORT int32_t bun_uring_copy_xattrs(const char *path, int32_t fd)
{
    enum { CAPACITY = 65536 };
    char *names = malloc(2 * CAPACITY);
    if (!names)
        return -ENOMEM;
    char *value = names + CAPACITY;
    int32_t result = 0;
    int has_list = 0;
    const ssize_t length = llistxattr(path, names, CAPACITY);
    for (const char *name = names; length > 0 && name < names + length && result >= 0; name += strlen(name) + 1) {
        const int is_list = !strcmp(name, ACCESS_LIST);
        if (!is_list && !is_users_attribute(name))
            continue;
        const ssize_t got = lgetxattr(path, name, value, CAPACITY);
        if (got < 0)
            continue; // gone meanwhile, or not for everybody to read
        has_list |= is_list;
        if (!fsetxattr(fd, name, value, got, 0))
            continue;
        if (errno != EPERM && errno != EACCES && errno != EOPNOTSUPP && errno != EINVAL)
            result = -errno;
        else if (is_list)
            result = 8 | group_permissions((const uint8_t *)value, got);
    }
    // From the folder's default list.
    if (!has_list && result >= 0 && fgetxattr(fd, ACCESS_LIST, NULL, 0) > 0 && fremovexattr(fd, ACCESS_LIST))
        result = -errno;
    free(names);
    return result;
}

// Whether an open file has positions: 0, or -ESPIPE for pipes, sockets and terminals.
EXPORT int32_t bun_uring_seekable(int32_t fd)
{
    return lseek(fd, 0, SEEK_CUR) < 0 ? -errno : 0;
}

// Whether the mounts may have changed since the last look: 1 at the first, -errno where there is no /proc.
// The descriptor is the ring's and goes with it, also when a Worker is terminated.
EXPORT int32_t bun_uring_mounts_changed(struct ring *ring)
{
    if (ring->mounts < 0) {
        ring->mounts = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
        return ring->mounts < 0 ? -errno : 1;
    }
    struct pollfd entry = {.fd = ring->mounts, .events = POLLPRI};
    return poll(&entry, 1, 0) > 0 && (entry.revents & (POLLPRI | POLLERR));
}

/* ---- files beneath a root, and what is cached of them -------------------------------------------------------------- */

// openat2(2) with RESOLVE_ flags, as a plain call: for look-ups that can't block (RESOLVE_CACHED), and where there is no
// ring. Returns the descriptor or -errno.
EXPORT int32_t bun_uring_open_beneath(int32_t dir, const char *path, int32_t flags, uint32_t mode, uint32_t resolve)
{
    struct open_how how = {.flags = (uint32_t)flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
    const int fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
    if (fd < 0)
        return -errno;
    hold_for_worker(pthread_getspecific(thread_rings), fd);
    return fd;
}

// statx of an open file into `out` and, if it is a regular one of at most `capacity` bytes, all of its bytes into `into`,
// if they are in the page cache. Returns how many, -EAGAIN where not all of them could be had without waiting (or none
// was asked for), or statx's -errno. *out is written in any case but the last.
EXPORT int32_t bun_uring_look(int32_t fd, struct statx *out, void *into, uint32_t capacity)
{
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, out))
        return -errno;
    if (!S_ISREG(out->stx_mode) || out->stx_size > capacity)
        return -EAGAIN;
    int end = 0;
    const uint32_t done = read_now(fd, into, (uint32_t)out->stx_size, &end);
    return done == out->stx_size ? (int32_t)done : -EAGAIN;
}

// Reads what is in the page cache from `offset` on, without waiting. Returns the bytes, which may be none.
EXPORT int32_t bun_uring_read_now(int32_t fd, void *into, uint32_t length, double offset)
{
    const struct iovec iov = {.iov_base = into, .iov_len = length};
    const ssize_t n = preadv2(fd, &iov, 1, (off_t)offset, RWF_NOWAIT);
    return n < 0 ? -errno : (int32_t)n;
}

// Writes what a buffered write can without waiting. Returns the bytes, 0 where it would wait for the device all the same
// (O_DSYNC, O_SYNC), -EAGAIN, or what else the file system says to that.
EXPORT int32_t bun_uring_write_now(int32_t fd, const void *from, uint32_t length, double offset)
{
    if (fcntl(fd, F_GETFL) & O_DSYNC)
        return 0;
    const struct iovec iov = {.iov_base = (void *)(uintptr_t)from, .iov_len = length};
    const ssize_t n = pwritev2(fd, &iov, 1, (off_t)offset, RWF_NOWAIT);
    return n < 0 ? -errno : (int32_t)n;
}

// Locks on files, which have no opcode. Included by liburing-shim.c.

// Files that a Worker has locked. Their descriptors stay open when it is terminated, and the locks would stay with them.
struct locks {
    uint32_t count, capacity;
    int32_t fds[];
};

// A descriptor is to be closed, or its lock is let go.
EXPORT int32_t bun_uring_forget_lock(int32_t fd)
{
    struct locks *locks = pthread_getspecific(thread_locks);
    for (uint32_t i = 0; locks && i < locks->count; i++)
        if (locks->fds[i] == fd) {
            locks->fds[i] = locks->fds[--locks->count];
            return 1;
        }
    return 0;
}

static void note_lock(int32_t fd)
{
    if (getpid() == (pid_t)syscall(SYS_gettid))
        return; // the main thread ends with the process
    bun_uring_forget_lock(fd);
    struct locks *locks = pthread_getspecific(thread_locks);
    if (!locks || locks->count == locks->capacity) {
        const uint32_t capacity = locks ? 2 * locks->capacity : 8;
        struct locks *grown = realloc(locks, sizeof(*locks) + capacity * sizeof(int32_t));
        if (!grown)
            return;
        if (!locks)
            grown->count = 0;
        grown->capacity = capacity;
        locks = grown;
        pthread_setspecific(thread_locks, locks);
    }
    locks->fds[locks->count++] = fd;
}

// When a thread ends.
static void release_locks(void *held)
{
    struct locks *locks = held;
    for (uint32_t i = 0; locks && i < locks->count; i++)
        flock(locks->fds[i], LOCK_UN);
    free(locks);
}

// flock(2); `operation` without LOCK_NB waits. Returns 0 or -errno. There is no opcode for it. A Worker's lock ends with it.
EXPORT int32_t bun_uring_flock(int32_t fd, int32_t operation)
{
    if (flock(fd, operation))
        return -errno;
    if (operation & LOCK_UN)
        bun_uring_forget_lock(fd);
    else
        note_lock(fd);
    return 0;
}

// Pages of a range that are in the page cache: cachestat(2), Linux 6.5. Some 4 µs a MiB. Returns -ENOSYS where it is not.
EXPORT int32_t bun_uring_cached_pages(int32_t fd, double offset, double length)
{
    const struct {
        uint64_t offset, length;
    } range = {(uint64_t)offset, (uint64_t)length};
    struct {
        uint64_t cached, dirty, writeback, evicted, recently_evicted;
    } counts;
    return syscall(SYS_CACHESTAT, fd, &range, &counts, 0) ? -errno : (int32_t)counts.cached;
}

// What a Worker has open and locked, which nobody else knows of when it is terminated; and locks on files, which have no
// opcode. Included by liburing-shim.c.

// A descriptor of a Worker's. Closed at its end only if it still is the file that was opened: its user may have closed it by
// its number, and another thread may have that by then.
struct held_file {
    uint64_t device, inode;
    uint8_t opened, locked;
};

// By descriptor.
struct held_files {
    uint32_t capacity;
    struct held_file files[];
};

static struct held_file *held_file(int32_t fd)
{
    struct held_files *held = pthread_getspecific(thread_files);
    return held && fd >= 0 && (uint32_t)fd < held->capacity ? &held->files[fd] : NULL;
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak" // it does not know that the thread keeps what it is given
#endif

// The same; makes room for it. NULL on the main thread, which ends with the process, and where there is no memory.
static struct held_file *hold_file(int32_t fd)
{
    struct held_file *known = held_file(fd);
    if (known)
        return known;
    if (fd < 0 || getpid() == (pid_t)syscall(SYS_gettid))
        return NULL;
    struct held_files *held = pthread_getspecific(thread_files);
    const uint32_t old = held ? held->capacity : 0;
    const uint32_t capacity = (uint32_t)fd + 1 > 2 * old ? (uint32_t)fd + 64 : 2 * old;
    held = realloc(held, sizeof(*held) + capacity * sizeof(struct held_file));
    if (!held)
        return NULL;
    memset(held->files + old, 0, (capacity - old) * sizeof(struct held_file));
    held->capacity = capacity;
    if (pthread_setspecific(thread_files, held)) { // the first one of this thread: there was none before
        free(held);
        return NULL;
    }
    return &held->files[fd];
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

// A Worker has opened a file, which is to be closed when it ends.
EXPORT int32_t bun_uring_hold_file(int32_t fd)
{
    struct stat stat;
    struct held_file *file = hold_file(fd);
    if (!file || fstat(fd, &stat))
        return 0;
    *file = (struct held_file){.device = stat.st_dev, .inode = stat.st_ino, .opened = 1, .locked = file->locked};
    return 1;
}

// The same, before the Worker's JavaScript hears of it: it may be ended before that.
static void hold_for_worker(const struct ring *ring, int32_t fd)
{
    if (ring && ring->of_worker)
        bun_uring_hold_file(fd);
}

// A descriptor is to be closed, or is given away.
EXPORT int32_t bun_uring_forget_file(int32_t fd)
{
    struct held_file *file = held_file(fd);
    const int32_t held = file && (file->opened || file->locked);
    if (file)
        *file = (struct held_file){0};
    return held;
}

// When a thread ends, and nothing of it is in the kernel any more.
static void release_files(void *of_thread)
{
    struct held_files *held = of_thread;
    for (uint32_t fd = 0; held && fd < held->capacity; fd++) {
        const struct held_file *file = &held->files[fd];
        struct stat stat;
        if (file->locked)
            flock((int)fd, LOCK_UN);
        if (file->opened && !fstat((int)fd, &stat) && stat.st_dev == file->device && stat.st_ino == file->inode)
            close((int)fd);
    }
    free(held);
}

// flock(2); `operation` without LOCK_NB waits. Returns 0 or -errno. There is no opcode for it. A Worker's lock ends with it.
EXPORT int32_t bun_uring_flock(int32_t fd, int32_t operation)
{
    if (flock(fd, operation))
        return -errno;
    struct held_file *file = operation & LOCK_UN ? held_file(fd) : hold_file(fd);
    if (file)
        file->locked = !(operation & LOCK_UN);
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

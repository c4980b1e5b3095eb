// The helper's own thread: waits, runs what is in the mailbox, chains and single calls, and says what came of it. Included by helper.h,
// which says who may touch what.

static const void *pointer(uint64_t address)
{
    return (const void *)(uintptr_t)address;
}

// What the helper opens is opened without waiting: a FIFO or a device in that place is for the ring.
static int open_at_once(const struct io_uring_sqe *sqe, int *chain_file, int *punted)
{
    const int flags = (int)sqe->open_flags;
    const int fd = openat(sqe->fd, pointer(sqe->addr), flags | O_CLOEXEC | O_NONBLOCK, sqe->len);
    if (fd < 0) {
        *punted = !(flags & O_NONBLOCK) && (errno == ENXIO || errno == EAGAIN);
        return -errno;
    }
    if (sqe->file_index) {
        *chain_file = fd;
        return 0;
    }
    if (!(flags & O_NONBLOCK))
        fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
    return fd;
}

static int answer(long rc)
{
    return rc < 0 ? -errno : (int)rc;
}

static int answer_more(long rc)
{
    return rc < 0 ? -errno : (int)rc + 1;
}

// Opens the copy: a new file, or the regular one that is there with the source's permissions. -1: that is another's to do.
static int open_copy(const char *to, const struct stat *source, int copy_flags, struct stat *there)
{
    const mode_t mode = source->st_mode & 07777;
    int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd >= 0) {
        if (fstat(fd, there) == 0)
            return fd;
        close(fd);
        return -1;
    }
    const int is_file = errno == EEXIST && !(copy_flags & COPY_NEW) && fstatat(AT_FDCWD, to, there, 0) == 0 && S_ISREG(there->st_mode);
    fd = is_file ? open(to, O_WRONLY | O_NONBLOCK | O_CLOEXEC) : -1;
    if (fd < 0)
        return -1;
    const int same = fstat(fd, there) || !S_ISREG(there->st_mode) ||
                     (there->st_dev == source->st_dev && there->st_ino == source->st_ino);
    if (!same && (there->st_mode & 07777) == mode)
        return fd;
    close(fd);
    return -1;
}

// Copies a small regular file, set-id bits left to others. Returns its length, COPY_BROKEN where the copy is not whole, or -1: nothing
// was done. A FIFO or a device is not opened; what is there is cut only after it was written (ext4 would flush it).
static int copy_whole(const char *from, const char *to, int copy_flags)
{
    char bytes[COPY_BYTES];
    struct stat source, there;
    const int no_link = copy_flags & COPY_NO_LINK;
    if (fstatat(AT_FDCWD, from, &source, no_link ? AT_SYMLINK_NOFOLLOW : 0) || !S_ISREG(source.st_mode) ||
        source.st_size > COPY_BYTES)
        return -1;
    const int in = open(from, O_RDONLY | O_NONBLOCK | O_CLOEXEC | (no_link ? O_NOFOLLOW : 0), 0);
    if (in < 0)
        return -1;
    const ssize_t n = fstat(in, &source) || !S_ISREG(source.st_mode) ? -1 : read(in, bytes, sizeof(bytes));
    close(in);
    if (n < 0 || n != source.st_size || (source.st_mode & 07000))
        return -1;
    const int out = open_copy(to, &source, copy_flags, &there);
    if (out < 0)
        return -1;
    int broken = n > 0 && write(out, bytes, (size_t)n) != n;
    if (!broken && there.st_size > n)
        broken = ftruncate(out, n) != 0;
    if (!broken && (there.st_mode & 07777) != (source.st_mode & 07777)) // the umask took some
        broken = fchmod(out, source.st_mode & 07777) != 0;
    if (close(out) && errno != EINTR)
        broken = 1;
    return broken ? COPY_BROKEN : (int)n;
}

static int run_call(const struct io_uring_sqe *sqe, int *chain_file, int *punted)
{
    const void *path = pointer(sqe->addr); // or data
    void *second = (void *)(uintptr_t)sqe->addr2;
    const int fd = sqe->flags & IOSQE_FIXED_FILE ? *chain_file : sqe->fd;
    switch (sqe->opcode) {
    case IORING_OP_OPENAT:
        return open_at_once(sqe, chain_file, punted);
    case IORING_OP_WRITE:
    case IORING_OP_WRITE_FIXED: { // registered memory is memory
        const ssize_t n = sqe->off == UINT64_MAX ? write(fd, path, sqe->len) : pwrite(fd, path, sqe->len, (off_t)sqe->off);
        return n < 0 && errno == ESPIPE ? -EAGAIN : answer(n); // a pipe in the chain has no positions: the ring ignores them
    }
    case OP_FTRUNCATE:
        return answer(ftruncate(fd, (off_t)sqe->off));
    case IORING_OP_CLOSE: {
        const int rc = answer(close(sqe->file_index ? *chain_file : sqe->fd));
        if (sqe->file_index)
            *chain_file = -1;
        return rc;
    }
    case IORING_OP_STATX:
        return answer(statx(sqe->fd, path, (int)sqe->statx_flags, sqe->len, second));
    case IORING_OP_MKDIRAT:
        return answer(mkdirat(sqe->fd, path, sqe->len));
    case IORING_OP_UNLINKAT:
        return answer(unlinkat(sqe->fd, path, (int)sqe->unlink_flags));
    case IORING_OP_RENAMEAT:
        // The older call where it does: old profiles don't know the newer one.
#ifdef SYS_renameat
        if (sqe->rename_flags == 0)
            return answer(syscall(SYS_renameat, sqe->fd, path, (int)sqe->len, second));
#endif
        return answer(syscall(SYS_renameat2, sqe->fd, path, (int)sqe->len, second, sqe->rename_flags));
    case IORING_OP_LINKAT:
        return answer(linkat(sqe->fd, path, (int)sqe->len, second, (int)sqe->hardlink_flags));
    case IORING_OP_SYMLINKAT:
        return answer(symlinkat(path, sqe->fd, second));
    case LOCAL_ACCESS:
        return answer_more(access(path, (int)sqe->len));
    case LOCAL_CHMOD:
        return answer_more(chmod(path, sqe->len));
    case LOCAL_READLINK:
        return answer_more(readlink(path, second, sqe->len));
    case LOCAL_REALPATH: {
        const int n = real_path_of(open(path, O_PATH | O_CLOEXEC), second, sqe->len);
        return n < 0 ? n : n + 1;
    }
    case LOCAL_COPY:
        return copy_whole(path, second, (int)sqe->len) + 1;
    default:
        *punted = 1;
        return -EINVAL;
    }
}

// Whether the kernel would go on with the chain: it cancels what is linked to a failure or a short transfer, but knows no
// failure of FTRUNCATE.
static int breaks(const struct io_uring_sqe *sqe, int res)
{
    if (!(sqe->flags & IOSQE_IO_LINK) || sqe->opcode == OP_FTRUNCATE)
        return 0;
    return res < 0 || ((sqe->opcode == IORING_OP_WRITE || sqe->opcode == IORING_OP_WRITE_FIXED) && (uint32_t)res != sqe->len);
}

static void run_chain(struct helper *helper)
{
    int file = -1, broken = 0;
    helper->punted = 0;
    for (uint32_t i = 0; i < helper->count; i++) {
        const struct io_uring_sqe *sqe = &helper->sqes[i];
        helper->results[i] = broken ? -ECANCELED : run_call(sqe, &file, &helper->punted);
        broken |= breaks(sqe, helper->results[i]);
    }
    if (file >= 0) // the ring goes on with it, and may wait
        fcntl(file, F_SETFL, (int)helper->sqes[0].open_flags);
    helper->left = file;
}

// A wait that should have been shorter than `bound`.
static void strike(struct helper *helper, int64_t waited, int64_t bound)
{
    if (waited > bound)
        __atomic_fetch_add(&helper->strikes, waited > SLICE_NS ? STRIKES : 1, __ATOMIC_SEQ_CST);
}

// Waits in user space. Returns whether there is a call.
static int linger(struct helper *helper, int64_t from)
{
    int64_t last = from;
    STORE(helper->spinning, 1);
    for (;;) {
        for (int i = 0; i < 24; i++) {
            if (__atomic_load_n(&helper->state, __ATOMIC_ACQUIRE) == HELPER_POSTED)
                return 1;
            relax();
        }
        const int64_t now = now_ns();
        strike(helper, now - last, PREEMPTED_NS);
        if (now - from > LINGER_NS || !LOAD(helper->may_linger) || now - last > PREEMPTED_NS || LOAD(helper->stop))
            return 0;
        last = now;
    }
}

// Sleeps until the owner posts or stops it. Returns whether it did; not: it has been idle for long.
static int park(struct helper *helper)
{
    const struct timespec idle = {.tv_sec = IDLE_NS / 1000000000, .tv_nsec = 0};
    int timed_out = 0;
    while (LOAD(helper->state) != HELPER_POSTED && !LOAD(helper->stop) && !timed_out) {
        STORE(helper->parked, 1);
        if (LOAD(helper->state) != HELPER_POSTED && !LOAD(helper->stop))
            timed_out = futex(&helper->parked, FUTEX_WAIT, 1, &idle) < 0 && errno == ETIMEDOUT;
        STORE(helper->parked, 0);
    }
    return !timed_out;
}

static void *helper_main(void *argument)
{
    struct helper *helper = argument;
    prctl(PR_SET_NAME, "bun-uring");
    int credit = LINGER_CREDIT;
    int64_t ended = now_ns();
    while (!LOAD(helper->stop)) {
        const int lingers = credit > 0 && LOAD(helper->may_linger);
        const int there = lingers && linger(helper, ended);
        STORE(helper->spinning, 0);
        if (!there) {
            if (lingers)
                credit--;
            if (!park(helper) && exchange_if(&helper->state, HELPER_FREE, HELPER_GONE))
                break;
        }
        if (!exchange_if(&helper->state, HELPER_POSTED, HELPER_TAKEN))
            continue;
        const int64_t began = now_ns();
        const int64_t came = helper->posted_at ? helper->posted_at : began;
        if (came - ended < LINGER_NS && credit < LINGER_CREDIT)
            credit += 2; // waiting would have been worth it, or was
        if (helper->posted_at)
            strike(helper, began - helper->posted_at, LATE_NS);
        run_chain(helper);
        ended = now_ns();
        helper->ran_ns = (uint32_t)(ended - began);
        STORE(helper->answered, 1); // before it is done: then it is the owner's again
        STORE(helper->state, HELPER_DONE);
        if (LOAD(helper->awaited))
            futex(&helper->answered, FUTEX_WAKE, 1, NULL);
        if (LOAD(helper->sleeper) && exchange_if(&helper->sleeper, 1, 0))
            send(LOAD(helper->bell_socket), "!", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    __atomic_fetch_sub(&helpers, 1, __ATOMIC_SEQ_CST);
    STORE(helper->gone, 1);
    futex(&helper->gone, FUTEX_WAKE, 1, NULL); // by then it may be unmapped: only the address is used
    return NULL;
}

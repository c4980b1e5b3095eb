// The helper: one thread of a ring's owner that runs plain system calls for it, for local file systems. What would go to a
// kernel thread (io-wq) anyway is done there without waking one: the helper lingers, waiting in user space for the next
// call as long as calls follow closely upon each other and it has a core of its own. It takes one chain at a time from a
// mailbox; while it is busy, away or of no use, everything goes to the ring.
//
// Who may touch what: `state` passes the mailbox from one thread to the other. FREE and DONE are the owner's, POSTED is
// whoever's exchange comes first, TAKEN is the helper's. The whole struct is a mapping of its own that reads as zeros in a
// forked child, where there is no such thread: `alive` is 0 there.

#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>

enum {
    SQE_HELPER = 0x80, // the flag of an SQE (the first of its chain) that may go to the helper; the kernel knows no such
    // Opcodes that only the helper has. They answer what the call does plus 1; 0: nobody ran it.
    LOCAL_ACCESS = 0xE0, // path, mode
    LOCAL_CHMOD,         // path, mode
    LOCAL_READLINK,      // path, buffer, its length
    LOCAL_REALPATH,      // path, buffer, its length
    LOCAL_COPY,          // path, path of the copy, COPY_ flags
    LOCAL_FIRST = LOCAL_ACCESS,
    HELPER_LINKS = 4,
    COPY_NEW = 1,       // the copy must not be there yet
    COPY_NO_LINK = 2,   // the source is no link
    COPY_BROKEN = 1 << 30, // the answer where the copy is not whole
    COPY_BYTES = 64 * 1024, // files up to this length
};

enum { NOT_TAKEN = INT32_MAX, PENDING = INT32_MAX - 1 };
enum { HELPER_FREE, HELPER_POSTED, HELPER_TAKEN, HELPER_DONE, HELPER_GONE };

static const int64_t LINGER_NS = 50000;        // the longest wait in user space for the next call
static const int64_t OWNER_WAIT_NS = 20000;    // and the owner's for the end of one
static const int64_t OWNER_SLEEP_NS = 100000;  // the owner sleeps no longer for it before the event loop has its turn
// Signs that a thread has no core of its own. One alone may be an interrupt, a host's as well, so it takes some; a wait as
// long as a scheduler's slice is enough by itself.
static const int64_t UNTAKEN_NS = 15000;   // a helper that waits in user space takes a call within this, if it runs
static const int64_t LATE_NS = 150000;     // to be woken takes less than this where a core is free
static const int64_t PREEMPTED_NS = 25000; // between two looks at the clock while waiting
static const int64_t SLICE_NS = 300000;
static const uint32_t STRIKES = 4;    // so many, less one for
static const uint32_t FORGIVEN = 64;  // so many good calls, and lingering ends
static const int64_t FIRST_PENALTY_NS = 10000000, LAST_PENALTY_NS = 4000000000;
static const int PENALTY_GROWTH = 4;
static const int64_t LOOK_AGAIN_NS = 2000000;  // for a processor to spare
static const int64_t IDLE_NS = 2000000000;     // parked for this long, it ends
static const uint32_t GOOD_CALLS = 256;        // of lingering; after so many without a fault the penalty shrinks again
static const int LINGER_CREDIT = 8;
static const size_t HELPER_STACK_BYTES = 256 * 1024;

struct helper {
    uint32_t alive;
    uint32_t parked;  // futex: 1 while the helper sleeps
    uint32_t stop;
    uint32_t may_linger;
    uint32_t gone;    // futex: 1 once the helper does not touch this any more
    int bell_socket;  // where the owner's event loop is woken
    // The mailbox.
    uint32_t state __attribute__((aligned(64)));
    uint32_t spinning; // the helper waits in user space
    uint32_t sleeper;  // the owner sleeps in its event loop, and is to be woken
    uint32_t answered; // futex: 1 once the call that was posted last is done
    uint32_t awaited;  // the owner sleeps on it
    uint32_t strikes;  // signs that one of the two has no core
    uint32_t count;
    int32_t left;      // a file that a broken chain leaves open, or -1
    int32_t punted;    // nothing was done: it may have to wait for others, which is for the ring
    uint32_t ran_ns;
    int64_t posted_at; // when a helper that slept was posted to; 0 if it did not sleep
    int32_t results[HELPER_LINKS];
    struct io_uring_sqe sqes[HELPER_LINKS] __attribute__((aligned(64)));
    // The owner's own.
    uint32_t forgiven __attribute__((aligned(64))); // of the strikes
    uint32_t good;
    int32_t processors;
    int64_t penalty_ns, penalty_until;
    uint32_t usual_ns[256]; // what each opcode takes, smoothed
    uint32_t posted, woken, penalties, withdrawn; // counters
};

// Helpers of this process, over all rings.
static int helpers;

static inline int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static long futex(uint32_t *word, int op, uint32_t value, const struct timespec *timeout)
{
    return syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, timeout, NULL, 0);
}

#define LOAD(x) __atomic_load_n(&(x), __ATOMIC_SEQ_CST)
#define STORE(x, value) __atomic_store_n(&(x), value, __ATOMIC_SEQ_CST)

static inline int exchange_if(uint32_t *word, uint32_t from, uint32_t to)
{
    return __atomic_compare_exchange_n(word, &from, to, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* ---- on the helper's thread -------------------------------------------------------------------------------------- */

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

/* ---- on the owner's thread --------------------------------------------------------------------------------------- */

static void helper_release(struct ring *ring)
{
    while (ring->helper->alive && !LOAD(ring->helper->gone))
        sched_yield(); // its last two lines
    munmap(ring->helper, sizeof(*ring->helper));
    ring->helper = NULL;
    ring->header[HEADER_HELPER] = 0;
}

// Whether one more thread that runs would find a processor: of the machine's runnable threads, of which this is one, the
// fourth word of /proc/loadavg tells the number as it is now. Where that can't be read it is taken for granted.
static int has_spare_processor(int32_t processors)
{
    char text[128];
    const int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    const char *word = text;
    for (int i = 0; i < 3 && word; i++)
        word = strchr(word + (i > 0), ' ');
    return !word || atoi(word) < processors;
}

// Starts the helper unless this process has `limit` of them; with one of `processors`, nobody ever waits in user space.
// Returns 0 where it is there, -errno else.
EXPORT int32_t bun_uring_helper_start(struct ring *ring, int32_t limit, int32_t processors)
{
    if (ring->helper)
        return 0;
    if (__atomic_add_fetch(&helpers, 1, __ATOMIC_SEQ_CST) > limit) {
        __atomic_fetch_sub(&helpers, 1, __ATOMIC_SEQ_CST);
        return -EAGAIN;
    }
    struct helper *helper =
        mmap(NULL, sizeof(*helper), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int rc = helper == MAP_FAILED ? ENOMEM : 0;
    if (rc == 0 && madvise(helper, sizeof(*helper), MADV_WIPEONFORK))
        rc = errno;
    if (rc == 0) {
        helper->alive = 1;
        helper->left = -1;
        helper->bell_socket = -1;
        helper->processors = processors;
        helper->penalty_until = processors > 1 ? 1 : INT64_MAX; // before it lingers it looks whether it may
        helper->penalty_ns = FIRST_PENALTY_NS;
        sigset_t all, before;
        pthread_attr_t attributes;
        pthread_t thread;
        sigfillset(&all);
        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&attributes, HELPER_STACK_BYTES);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        rc = pthread_create(&thread, &attributes, helper_main, helper);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
    }
    if (rc) {
        if (helper != MAP_FAILED)
            munmap(helper, sizeof(*helper));
        __atomic_fetch_sub(&helpers, 1, __ATOMIC_SEQ_CST);
        return -rc;
    }
    ring->helper = helper;
    ring->header[HEADER_HELPER] = 1;
    return 0;
}

// The helper has no core of its own: neither of the two waits for the other in user space for a while, twice as long each
// time. As it is then, it costs what any pool of threads does.
static void helper_penalty(struct helper *helper, int64_t now)
{
    helper->penalties++;
    helper->good = 0;
    STORE(helper->may_linger, 0);
    helper->penalty_until = now + helper->penalty_ns;
    if (helper->penalty_ns < LAST_PENALTY_NS)
        helper->penalty_ns *= PENALTY_GROWTH;
}

// SQEs that are with the helper.
static uint32_t helper_holds(const struct ring *ring)
{
    const struct helper *helper = ring->helper;
    if (!helper || !helper->alive)
        return 0;
    const uint32_t state = LOAD(helper->state);
    return state == HELPER_FREE || state == HELPER_GONE ? 0 : helper->count;
}

// Posts the chain that begins here, of at most `available` SQEs, if the helper is there, free and worth it. Returns how
// many SQEs it has, or 0.
static uint32_t helper_post(struct ring *ring, const struct io_uring_sqe *sqes, uint32_t available)
{
    uint32_t count = 1;
    while (count < available && (sqes[count - 1].flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)))
        count++;
    if (count > HELPER_LINKS)
        return 0;
    struct helper *helper = ring->helper;
    if (!helper || !helper->alive || helper_holds(ring) || fault_rules(ring))
        return 0;
    memcpy(helper->sqes, sqes, count * sizeof(*sqes));
    helper->count = count;
    helper->answered = 0;
    helper->posted_at = LOAD(helper->spinning) ? 0 : now_ns();
    if (!exchange_if(&helper->state, HELPER_FREE, HELPER_POSTED)) {
        helper_release(ring); // it has been idle for long, and is gone
        return 0;
    }
    helper->posted++;
    if (LOAD(helper->parked)) {
        STORE(helper->parked, 0);
        futex(&helper->parked, FUTEX_WAKE, 1, NULL);
        helper->woken++;
    }
    return count;
}

// Takes a chain back that the helper has not begun. Returns whether it could.
static int helper_withdraw(struct helper *helper)
{
    if (!exchange_if(&helper->state, HELPER_POSTED, HELPER_FREE))
        return 0;
    helper->withdrawn++;
    return 1;
}

// Ends a penalty that has lasted long enough. Returns whether the processors are contended for.
static int helper_contended(struct helper *helper)
{
    if (helper->penalty_until == 0)
        return 0;
    const int64_t now = now_ns();
    if (now < helper->penalty_until)
        return 1;
    if (!has_spare_processor(helper->processors)) {
        helper->penalty_until = now + LOOK_AGAIN_NS;
        return 1;
    }
    helper->penalty_until = 0;
    helper->forgiven = LOAD(helper->strikes);
    STORE(helper->may_linger, 1);
    return 0;
}

// Sleeps until the call is done, but not long: a pool's price, without a turn of the event loop for each.
static void helper_sleep(struct helper *helper)
{
    const struct timespec timeout = {.tv_sec = 0, .tv_nsec = OWNER_SLEEP_NS};
    STORE(helper->awaited, 1);
    if (LOAD(helper->state) != HELPER_DONE)
        futex(&helper->answered, FUTEX_WAIT, 0, &timeout);
    for (int i = 0; i < 1000 && LOAD(helper->answered) && LOAD(helper->state) != HELPER_DONE; i++)
        relax();
    STORE(helper->awaited, 0);
}

// After posting: waits for the end of what usually does not take long; in user space while the helper does so, too.
static void helper_wait(struct helper *helper)
{
    const uint32_t usual = helper->usual_ns[helper->sqes[0].opcode];
    if (helper_contended(helper) || (!LOAD(helper->spinning) && LOAD(helper->state) == HELPER_POSTED)) {
        if (usual < OWNER_SLEEP_NS)
            helper_sleep(helper);
        return;
    }
    const int64_t from = now_ns();
    int64_t last = from;
    for (;;) {
        uint32_t state = HELPER_POSTED;
        for (int i = 0; i < 24; i++) {
            state = LOAD(helper->state);
            if (state == HELPER_DONE)
                return;
            if (state == HELPER_TAKEN && usual > OWNER_WAIT_NS) {
                if (usual < OWNER_SLEEP_NS)
                    helper_sleep(helper);
                return;
            }
            relax();
        }
        const int64_t now = now_ns();
        if (now - last > PREEMPTED_NS || (state == HELPER_POSTED && now - from > UNTAKEN_NS)) {
            strike(helper, now - last, 0);
            return helper_sleep(helper);
        }
        if (now - from > OWNER_WAIT_NS)
            return;
        last = now;
    }
}

// The answer of what is done has been taken: learns from how it went, and frees the mailbox.
static void helper_learn(struct helper *helper)
{
    uint32_t *usual = &helper->usual_ns[helper->sqes[0].opcode];
    const uint32_t ran = helper->ran_ns < 1000000 ? helper->ran_ns : 1000000;
    *usual = (uint32_t)((int32_t)*usual + ((int32_t)ran - (int32_t)*usual) / 8);
    const uint32_t strikes = LOAD(helper->strikes) - helper->forgiven;
    STORE(helper->state, HELPER_FREE);
    if (helper->penalty_until)
        return;
    if (strikes >= STRIKES)
        return helper_penalty(helper, now_ns());
    if (++helper->good % FORGIVEN == 0 && strikes)
        helper->forgiven++;
    if (helper->good % GOOD_CALLS == 0 && helper->penalty_ns > FIRST_PENALTY_NS)
        helper->penalty_ns /= PENALTY_GROWTH;
}

// What the helper has done goes into the table behind the kernel's `ready` CQEs. Returns how many there are now.
static uint32_t helper_reap(struct ring *ring, uint32_t ready)
{
    struct helper *helper = ring->helper;
    if (!helper || __atomic_load_n(&helper->state, __ATOMIC_ACQUIRE) != HELPER_DONE)
        return ready;
    if (helper->punted) {
        if (io_uring_sq_space_left(&ring->uring) < helper->count)
            return ready; // the next turn
        for (uint32_t i = 0; i < helper->count; i++) {
            struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
            if (!sqe)
                break; // never: the room was looked at
            memcpy(sqe, &helper->sqes[i], sizeof(*sqe));
            sqe->flags = (sqe->flags & (uint8_t)~SQE_HELPER) | (i == 0 ? IOSQE_ASYNC : 0);
            remember_running(ring, sqe->user_data);
        }
        STORE(helper->state, HELPER_FREE);
        return ready;
    }
    if (helper->left >= 0) {
        const int rc = io_uring_register_files_update(&ring->uring, helper->sqes[0].file_index - 1, &helper->left, 1);
        if (rc < 0)
            helper->results[0] = rc;
        close(helper->left);
        helper->left = -1;
    }
    for (uint32_t i = 0; i < helper->count; i++)
        ring->cqes[ready++] = (struct io_uring_cqe){.user_data = helper->sqes[i].user_data, .res = helper->results[i]};
    helper_learn(helper);
    return ready;
}

// Tells JavaScript how it stands: see HEADER_HELPER.
static void helper_tell(struct ring *ring)
{
    struct helper *helper = ring->helper;
    if (!helper || !helper->alive)
        return;
    const uint32_t holds = helper_holds(ring);
    const uint32_t contended = helper_contended(helper) ? 2 : 0;
    ring->header[HEADER_HELPER] = 1 | contended | (holds && holds == ring->header[HEADER_IN_FLIGHT] ? 4 : 0);
}

// The owner is about to sleep and wants to be woken. Returns 1 if there is something to take already.
static int helper_arm(struct ring *ring)
{
    struct helper *helper = ring->helper;
    if (!helper || !helper_holds(ring))
        return 0;
    STORE(helper->bell_socket, ring->bell_socket); // the helper may still be ringing for the call before
    STORE(helper->sleeper, 1);
    if (LOAD(helper->state) != HELPER_DONE)
        return 0;
    STORE(helper->sleeper, 0);
    return 1;
}

static void helper_disarm(struct ring *ring)
{
    if (ring->helper)
        STORE(ring->helper->sleeper, 0);
}

// One call on paths by the helper, waited for: for who is alone, and without an operation in the ring. `length` and `flags`
// are the opcode's. Returns its result; NOT_TAKEN where that is not the way; PENDING where it takes longer than one may
// wait: then adopt it.
EXPORT int32_t bun_uring_helper_call(struct ring *ring, uint32_t opcode, const char *path, const char *second,
                                     int32_t length, uint32_t flags)
{
    struct helper *helper = ring->helper;
    if (!helper || !helper->alive || helper->usual_ns[opcode & 255] > OWNER_SLEEP_NS)
        return NOT_TAKEN;
    const struct io_uring_sqe sqe = {
        .opcode = (uint8_t)opcode,
        .flags = SQE_HELPER,
        .fd = AT_FDCWD,
        .addr = (uintptr_t)path,
        .addr2 = (uintptr_t)second,
        .len = (uint32_t)length,
        .rw_flags = (__kernel_rwf_t)flags,
    };
    if (!helper_post(ring, &sqe, 1))
        return NOT_TAKEN;
    helper_wait(helper);
    if (LOAD(helper->state) != HELPER_DONE)
        return PENDING;
    const int32_t result = helper->results[0];
    helper_learn(helper);
    return result;
}

// Makes the call that is pending an operation of the ring: its CQE comes with this user_data.
EXPORT void bun_uring_helper_adopt(struct ring *ring, uint32_t low, uint32_t high)
{
    ring->helper->sqes[0].user_data = (uint64_t)high << 32 | low;
    ring->header[HEADER_IN_FLIGHT]++;
    helper_tell(ring);
}

// The chain in the mailbox has not been done, and nobody is to do it.
static void helper_cancel(struct helper *helper)
{
    for (uint32_t i = 0; i < helper->count; i++)
        helper->results[i] = -ECANCELED;
    helper->punted = 0;
    STORE(helper->state, HELPER_DONE);
}

// Ends the helper: what it has not begun is not done. Returns 0 once it is gone, -1 if it still waits for a call at the
// deadline: then it ends by itself, and its memory stays.
static int helper_stop(struct ring *ring, uint32_t deadline_ms)
{
    struct helper *helper = ring->helper;
    if (!helper)
        return 0;
    if (!helper->alive) { // in a forked child
        helper_release(ring);
        return 0;
    }
    STORE(helper->sleeper, 0);
    if (helper_withdraw(helper))
        helper_cancel(helper);
    STORE(helper->stop, 1);
    STORE(helper->parked, 0);
    futex(&helper->parked, FUTEX_WAKE, 1, NULL);
    const int64_t until = now_ns() + (int64_t)deadline_ms * 1000000;
    while (!LOAD(helper->gone)) {
        const int64_t left = until - now_ns();
        if (left <= 0)
            return -1;
        const struct timespec timeout = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
        futex(&helper->gone, FUTEX_WAIT, 0, &timeout);
    }
    if (helper_holds(ring) && helper->punted)
        helper_cancel(helper); // the ring, for which it was, takes nothing more
    return 0;
}

// For statistics and tests: calls posted, wake-ups, penalties, calls taken back; and whether it is there.
EXPORT void bun_uring_helper_counts(struct ring *ring, uint32_t *out)
{
    const struct helper *helper = ring->helper;
    out[0] = helper && helper->alive;
    out[1] = helper ? helper->posted : 0;
    out[2] = helper ? helper->woken : 0;
    out[3] = helper ? helper->penalties : 0;
    out[4] = helper ? helper->withdrawn : 0;
}

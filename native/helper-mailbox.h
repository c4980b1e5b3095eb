// What the helper and its owner share: the mailbox, who of them may touch it when, and the counts. Included by helper.h.

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

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

#include "helper-mailbox.h"
#include "helper-thread.h"

/* ---- on the owner's thread ----------------------------------------------------------------------------------------- */

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

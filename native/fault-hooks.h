// The fault build (`make fault`, -DBUN_URING_FAULT): rules that make chosen completions fail, fall short, come late, not
// at all, twice, or with user_data that nobody waits for. All state hangs on the ring it was set for.
// In the build that is shipped these hooks are empty functions, and a test shows that nothing of them is left in it.

#ifndef BUN_URING_FAULT

static inline void fault_staged(struct ring *ring, uint32_t count)
{
    (void)ring, (void)count;
}

static inline uint32_t fault_copied(struct ring *ring, uint32_t ready)
{
    (void)ring;
    return ready;
}

static inline int fault_held(const struct ring *ring)
{
    (void)ring;
    return 0;
}

static inline int fault_rules(const struct ring *ring)
{
    (void)ring;
    return 0;
}

static inline void fault_free(struct ring *ring)
{
    (void)ring;
}

#else

#include <stdio.h>
#include <time.h>

enum fault_action {
    FAULT_RESULT,    // res becomes `value`; the kernel does not see the operation, as one that failed was not done
    FAULT_SHORT_BY,  // `value` bytes fewer are transferred than were asked for, but at least one
    FAULT_SHORT_TO,  // at most `value` bytes are transferred
    FAULT_DELAY,     // the CQE comes `value` milliseconds late
    FAULT_DROP,      // the CQE never comes
    FAULT_DUPLICATE, // the CQE comes twice
    FAULT_STALE,     // before the CQE comes one of an earlier life of its slot; value 1: of a slot that does not exist
};

// As test/helpers/fault-shim.ts writes it; `seen` and `hits` are counted here.
struct fault_rule {
    int32_t opcode; // -1: any
    uint32_t nth;   // the first SQE of that opcode that is hit, from 1; 0: each with the chance below
    uint32_t times; // how many are hit
    uint32_t chance; // of a million
    uint32_t action;
    int32_t value;
    uint32_t seen, hits;
};

// What is to become of the CQE of an operation in the kernel.
struct fault_mark {
    uint64_t user_data;
    uint32_t action;
    int32_t value;
};

struct fault_late {
    struct io_uring_cqe cqe;
    uint64_t due_ns;
};

struct faults {
    struct fault_rule *rules;
    uint32_t rule_count;
    uint64_t random;
    struct fault_mark *marks;
    uint32_t mark_count, mark_room;
    struct fault_late *late;
    uint32_t late_count, late_room;
};

static uint64_t fault_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// One more element for a list that has `*room`. A test build that runs out of memory ends.
static void *fault_grow(void *list, uint32_t count, uint32_t *room, size_t size)
{
    if (count < *room)
        return list;
    *room = *room ? *room * 2 : 64;
    list = realloc(list, *room * size);
    if (!list)
        abort();
    return list;
}

static void fault_mark(struct faults *faults, uint64_t user_data, uint32_t action, int32_t value)
{
    faults->marks = fault_grow(faults->marks, faults->mark_count, &faults->mark_room, sizeof(*faults->marks));
    faults->marks[faults->mark_count++] = (struct fault_mark){user_data, action, value};
}

static void fault_hold(struct faults *faults, const struct io_uring_cqe *cqe, uint64_t due_ns)
{
    faults->late = fault_grow(faults->late, faults->late_count, &faults->late_room, sizeof(*faults->late));
    struct fault_late *late = &faults->late[faults->late_count++];
    late->cqe.user_data = cqe->user_data;
    late->cqe.res = cqe->res;
    late->cqe.flags = cqe->flags;
    late->due_ns = due_ns;
}

static uint32_t fault_random(struct faults *faults, uint32_t bound)
{
    faults->random ^= faults->random << 13; // xorshift64
    faults->random ^= faults->random >> 7;
    faults->random ^= faults->random << 17;
    return (uint32_t)((faults->random >> 16) % bound);
}

static int fault_hits(struct faults *faults, struct fault_rule *rule, uint8_t opcode)
{
    if (rule->opcode >= 0 ? rule->opcode != opcode : opcode == IORING_OP_LINK_TIMEOUT)
        return 0;
    rule->seen++;
    if (rule->hits >= rule->times)
        return 0;
    if (rule->nth ? rule->seen < rule->nth : fault_random(faults, 1000000) >= rule->chance)
        return 0;
    rule->hits++;
    return 1;
}

// Operations whose failure does not cancel what is linked to them (src/kernel/sqe.ts, DEAF).
static int fault_is_deaf(uint8_t opcode)
{
    switch (opcode) {
    case IORING_OP_FSYNC:
    case IORING_OP_SYNC_FILE_RANGE:
    case IORING_OP_FALLOCATE:
    case 55: // IORING_OP_FTRUNCATE, newer than liburing 2.3's header
    case IORING_OP_STATX:
    case IORING_OP_RENAMEAT:
    case IORING_OP_UNLINKAT:
    case IORING_OP_MKDIRAT:
    case IORING_OP_SYMLINKAT:
    case IORING_OP_LINKAT:
    case IORING_OP_SETXATTR:
    case IORING_OP_FSETXATTR:
    case IORING_OP_GETXATTR:
    case IORING_OP_FGETXATTR:
        return 1;
    default:
        return 0;
    }
}

// Puts an operation in its place that does nothing: NOP succeeds, READ of no file fails with EBADF and breaks its chain.
static void fault_idle(struct io_uring_sqe *sqe, uint8_t opcode)
{
    const uint8_t flags = sqe->flags & (uint8_t)~IOSQE_FIXED_FILE;
    const uint64_t user_data = sqe->user_data;
    memset(sqe, 0, sizeof(*sqe));
    sqe->opcode = opcode;
    sqe->fd = -1;
    sqe->flags = flags;
    sqe->user_data = user_data;
}

// Makes the kernel fail the operation without doing it, so that links behind it are cancelled as by a true failure.
// CLOSE is done whatever it is to say: Linux lets go of a descriptor whose close failed, unless it was never begun.
static void fault_replace(struct faults *faults, struct io_uring_sqe *sqe, int32_t res)
{
    fault_mark(faults, sqe->user_data, FAULT_RESULT, res);
    if (sqe->opcode == IORING_OP_CLOSE && res != -ECANCELED)
        return;
    // What was cancelled has cancelled the rest, whatever it is.
    const int harmless = res >= 0 || (fault_is_deaf(sqe->opcode) && res != -ECANCELED);
    fault_idle(sqe, harmless ? IORING_OP_NOP : IORING_OP_READ);
}

// An eventfd gives its eight bytes or none: to read fewer is EINVAL, which no fault of a device is.
static int fault_is_eventfd(const struct io_uring_sqe *sqe)
{
    char link[32], target[32];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", sqe->fd);
    const ssize_t n = sqe->flags & IOSQE_FIXED_FILE ? -1 : readlink(link, target, sizeof(target) - 1);
    target[n > 0 ? n : 0] = 0;
    return strcmp(target, "anon_inode:[eventfd]") == 0;
}

// Takes bytes off the end of a transfer, in its iovecs if it has any. Returns whether it got shorter.
static int fault_shorten(struct io_uring_sqe *sqe, uint32_t action, uint32_t value)
{
    const int vectored = sqe->opcode == IORING_OP_READV || sqe->opcode == IORING_OP_WRITEV;
    if (!vectored && sqe->opcode != IORING_OP_READ && sqe->opcode != IORING_OP_WRITE &&
        sqe->opcode != IORING_OP_READ_FIXED && sqe->opcode != IORING_OP_WRITE_FIXED)
        return 0;
    if (fault_is_eventfd(sqe))
        return 0;
    struct iovec one = {.iov_len = sqe->len};
    struct iovec *vector = vectored ? (struct iovec *)(uintptr_t)sqe->addr : &one;
    const uint32_t parts = vectored ? sqe->len : 1;
    size_t total = 0;
    for (uint32_t i = 0; i < parts; i++)
        total += vector[i].iov_len;
    size_t wanted = value;
    if (action == FAULT_SHORT_BY)
        wanted = total > value ? total - value : 1;
    if (wanted >= total)
        return 0;
    size_t room = wanted;
    for (uint32_t i = 0; i < parts; i++) {
        if (vector[i].iov_len > room)
            vector[i].iov_len = room;
        room -= vector[i].iov_len;
    }
    if (!vectored)
        sqe->len = (uint32_t)one.iov_len;
    return 1;
}

// The last `count` SQEs have just been put into the SQ: decides which are hit, and how.
static void fault_staged(struct ring *ring, uint32_t count)
{
    struct faults *faults = ring->faults;
    if (!faults)
        return;
    const unsigned int tail = ring->uring.sq.sqe_tail;
    int cancelled = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct io_uring_sqe *sqe = &ring->uring.sq.sqes[(tail - count + i) & ring->uring.sq.ring_mask];
        const uint8_t flags = sqe->flags;
        struct fault_rule *rule = NULL;
        for (uint32_t r = 0; r < faults->rule_count && !rule; r++)
            if (fault_hits(faults, &faults->rules[r], sqe->opcode))
                rule = &faults->rules[r];
        if (cancelled) { // what follows it is then cancelled by the kernel
            fault_replace(faults, sqe, -ECANCELED);
            cancelled = 0;
        } else if (rule && rule->action == FAULT_RESULT) {
            fault_replace(faults, sqe, rule->value);
        } else if (rule && (rule->action == FAULT_SHORT_BY || rule->action == FAULT_SHORT_TO)) {
            if (fault_shorten(sqe, rule->action, (uint32_t)rule->value))
                cancelled = (flags & IOSQE_IO_LINK) != 0; // a short transfer breaks its chain
            else
                rule->hits--;
        } else if (rule) {
            fault_mark(faults, sqe->user_data, rule->action, rule->value);
            // Its descriptor would be nobody's: an open whose CQE is lost has not happened.
            const int lost = rule->action == FAULT_DROP || rule->action == FAULT_STALE;
            const int opens = (sqe->opcode == IORING_OP_OPENAT && sqe->file_index == 0) || sqe->opcode == 54;
            if (lost && opens) // 54: IORING_OP_FIXED_FD_INSTALL
                fault_idle(sqe, IORING_OP_NOP);
        }
    }
}

// What is in the table goes out changed; what is held back stays counted as in flight. Returns how many CQEs there are.
static uint32_t fault_copied(struct ring *ring, uint32_t ready)
{
    struct faults *faults = ring->faults;
    if (!faults)
        return ready;
    const uint64_t now = fault_now_ns();
    uint32_t kept = 0;
    for (uint32_t i = 0; i < ready; i++) {
        struct io_uring_cqe cqe = {.user_data = ring->cqes[i].user_data,
                                   .res = ring->cqes[i].res,
                                   .flags = ring->cqes[i].flags};
        uint32_t m = 0;
        while (m < faults->mark_count && faults->marks[m].user_data != cqe.user_data)
            m++;
        if (m == faults->mark_count) {
            ring->cqes[kept++] = cqe;
            continue;
        }
        const struct fault_mark mark = faults->marks[m];
        faults->marks[m] = faults->marks[--faults->mark_count];
        if (mark.action == FAULT_DROP)
            continue;
        if (mark.action == FAULT_DELAY) {
            fault_hold(faults, &cqe, now + (uint64_t)mark.value * 1000000u);
            continue;
        }
        if (mark.action == FAULT_DUPLICATE || mark.action == FAULT_STALE)
            fault_hold(faults, &cqe, 0);
        // A link that the kernel has cancelled says so, not what it would have failed with.
        if (mark.action == FAULT_RESULT && cqe.res != -ECANCELED)
            cqe.res = mark.value;
        if (mark.action == FAULT_STALE)
            cqe.user_data = mark.value ? cqe.user_data | 0xffffff : cqe.user_data - (1ull << 52); // src/ring/operation.ts
        ring->cqes[kept++] = cqe;
    }
    uint32_t waiting = 0;
    for (uint32_t i = 0; i < faults->late_count; i++) {
        if (faults->late[i].due_ns <= now && kept < ring->cqe_capacity)
            ring->cqes[kept++] = faults->late[i].cqe;
        else
            faults->late[waiting++] = faults->late[i];
    }
    faults->late_count = waiting;
    return kept;
}

// CQEs are held back: nothing will ring for them, so the loop must not sleep.
static int fault_held(const struct ring *ring)
{
    return ring->faults && ring->faults->late_count > 0;
}

// Rules are for what the kernel does: everything goes to the ring then.
static int fault_rules(const struct ring *ring)
{
    return ring->faults && ring->faults->rule_count > 0;
}

static void fault_free(struct ring *ring)
{
    if (!ring->faults)
        return;
    free(ring->faults->rules);
    free(ring->faults->marks);
    free(ring->faults->late);
    free(ring->faults);
    ring->faults = NULL;
}

// Puts `count` rules in the place of those there are; what is in the kernel keeps its fate. Returns 0 or -ENOMEM.
EXPORT int32_t bun_uring_fault_set(struct ring *ring, const struct fault_rule *rules, uint32_t count, uint32_t seed)
{
    if (!ring->faults)
        ring->faults = calloc(1, sizeof(*ring->faults));
    struct fault_rule *copy = calloc(count ? count : 1, sizeof(*copy));
    if (!ring->faults || !copy) {
        free(copy);
        return -ENOMEM;
    }
    memcpy(copy, rules, count * sizeof(*copy));
    free(ring->faults->rules);
    ring->faults->rules = copy;
    ring->faults->rule_count = count;
    ring->faults->random = seed * 2654435761u | 1u;
    return 0;
}

// Ends all rules.
EXPORT void bun_uring_fault_clear(struct ring *ring)
{
    if (ring->faults)
        ring->faults->rule_count = 0;
}

// How often rule number `rule` has hit.
EXPORT int32_t bun_uring_fault_hits(struct ring *ring, uint32_t rule)
{
    return ring->faults && rule < ring->faults->rule_count ? (int32_t)ring->faults->rules[rule].hits : 0;
}

#endif

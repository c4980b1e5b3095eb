// One turn of a ring: SQEs out, task work, CQEs in; who opened which direct descriptor; cancelling one operation. Included by
// liburing-shim.c.

static void forget_running(struct ring *ring, uint64_t user_data)
{
    for (uint32_t i = 0; i < ring->running_count; i++)
        if (ring->running[i] == user_data) {
            ring->running[i] = ring->running[--ring->running_count];
            return;
        }
}

// Where the key is in the set, or would be put. The set is never full.
static uint32_t opens_find(const struct ring *ring, uint64_t key)
{
    const uint32_t mask = ring->opens_capacity - 1;
    uint32_t at = (uint32_t)((key * 0x9e3779b97f4a7c15u) >> 32) & mask;
    while (ring->opens[at] && ring->opens[at] != key)
        at = (at + 1) & mask;
    return at;
}

static int opens_grow(struct ring *ring)
{
    const uint32_t old_capacity = ring->opens_capacity;
    uint64_t *old = ring->opens;
    const uint32_t capacity = old_capacity ? old_capacity * 2 : 64;
    uint64_t *grown = calloc(capacity, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    ring->opens = grown;
    ring->opens_capacity = capacity;
    for (uint32_t i = 0; i < old_capacity; i++)
        if (old[i])
            ring->opens[opens_find(ring, old[i])] = old[i];
    free(old);
    return 0;
}

// Notes an SQE that opens a descriptor, for discard below. By its user_data: a slot may have several SQEs.
static void remember_open(struct ring *ring, const struct io_uring_sqe *sqe)
{
    const int opens = sqe->opcode == OP_FIXED_FD_INSTALL ||
                      ((sqe->opcode == IORING_OP_OPENAT || sqe->opcode == IORING_OP_OPENAT2) && !sqe->file_index);
    if (!opens)
        return;
    if (ring->opens_count * 2 >= ring->opens_capacity && opens_grow(ring))
        return; // at worst a descriptor is left open when the ring is closed over it
    const uint32_t at = opens_find(ring, ~sqe->user_data);
    ring->opens_count += !ring->opens[at];
    ring->opens[at] = ~sqe->user_data;
}

// Whether the SQE with this user_data, which has ended, was one that opens a descriptor; it is forgotten.
static int forget_open(struct ring *ring, uint64_t user_data)
{
    if (!ring->opens_count)
        return 0;
    uint32_t hole = opens_find(ring, ~user_data);
    if (!ring->opens[hole])
        return 0;
    ring->opens[hole] = 0;
    ring->opens_count--;
    // What follows was perhaps put there because the hole was taken.
    const uint32_t mask = ring->opens_capacity - 1;
    for (uint32_t next = (hole + 1) & mask; ring->opens[next]; next = (next + 1) & mask) {
        const uint64_t key = ring->opens[next];
        ring->opens[next] = 0;
        ring->opens[opens_find(ring, key)] = key;
    }
    return 1;
}

// Copies a staged SQE into the SQ. What only the helper can do becomes an operation that does nothing.
static void put(struct ring *ring, const struct io_uring_sqe *staged)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    memcpy(sqe, staged, sizeof(*sqe));
    sqe->flags &= (uint8_t)~SQE_HELPER;
    if (sqe->opcode < LOCAL_FIRST)
        return;
    io_uring_prep_nop(sqe);
    sqe->user_data = staged->user_data;
}

// Copies up to `count` staged SQEs, at most `room` of them, into the SQ or the helper's mailbox. A chain is never cut in two.
static uint32_t stage(struct ring *ring, const struct io_uring_sqe *staged, uint32_t count, uint32_t room)
{
    const uint32_t space = io_uring_sq_space_left(&ring->uring);
    uint32_t take = count;
    if (take > room)
        take = room;
    if (take > space)
        take = space;
    if (take < count)
        while (take > 0 && (staged[take - 1].flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)))
            take--;
    uint32_t posted = 0;
    for (uint32_t i = 0; i < take; i++) {
        remember_open(ring, &staged[i]);
        if (posted == 0 && (staged[i].flags & SQE_HELPER)) {
            posted = helper_post(ring, &staged[i], take - i);
            for (uint32_t end = i + posted; posted && i + 1 < end; i++)
                remember_open(ring, &staged[i + 1]);
            if (posted)
                continue;
        }
        put(ring, &staged[i]);
        remember_running(ring, staged[i].user_data);
    }
    fault_staged(ring, take - posted);
    return take;
}

static unsigned int kernel_wants_us(const struct ring *ring)
{
    return IO_URING_READ_ONCE(*ring->uring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

// Runs task work beyond the kernel's bound of 20 items an enter: the bound grows with the CQEs that are waited for, and
// waiting for those that are there already is no waiting.
// Work that came up meanwhile has raised the TASKRUN flag and is done, and only an enter that finds work lowers it. So it
// is lowered here, and a plain enter follows: what was queued before the lowering is run by it, what comes later raises
// the flag again.
static int run_much_task_work(struct ring *ring)
{
    const int rc = io_uring_enter((unsigned int)ring->uring.ring_fd, 0, io_uring_cq_ready(&ring->uring),
                                  IORING_ENTER_GETEVENTS, NULL);
    if (rc < 0)
        return rc;
    __atomic_fetch_and(ring->uring.sq.kflags, ~IORING_SQ_TASKRUN, __ATOMIC_SEQ_CST);
    ring->header[HEADER_ENTERS]++;
    return io_uring_get_events(&ring->uring);
}

// Runs deferred task work until the kernel has no more (or a bound, to stay fair): the first 20 items the plain way,
// which is cheaper where that is all there is.
static void run_task_work(struct ring *ring)
{
    for (int round = 0; round < 64 && kernel_wants_us(ring); round++) {
        if (io_uring_cq_has_overflow(&ring->uring)) {
            ring->header[HEADER_OVERFLOWS]++;
            if (io_uring_cq_ready(&ring->uring) >= ring->cqe_capacity)
                return; // no room to flush into: the caller copies out first and comes again
        }
        ring->header[HEADER_ENTERS]++;
        if ((round == 0 ? io_uring_get_events(&ring->uring) : run_much_task_work(ring)) < 0)
            return;
    }
}

// Copies the ready CQEs into the shared table. Returns how many. discarded: nobody takes them; what they opened is closed.
static uint32_t copy_out(struct ring *ring, int discarded)
{
    uint32_t ready = io_uring_cq_ready(&ring->uring);
    const uint32_t head = *ring->uring.cq.khead;
    const uint32_t mask = ring->uring.cq.ring_mask;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < ready; i++) {
        const struct io_uring_cqe *cqe = &ring->uring.cq.cqes[(head + i) & mask];
        if (cqe->user_data == OWN_USER_DATA)
            continue;
        if (ring->running)
            forget_running(ring, cqe->user_data);
        ring->cqes[kept++] = *cqe;
    }
    io_uring_cq_advance(&ring->uring, ready);
    ready = kept;
    ready = helper_reap(ring, ready);
    ready = fault_copied(ring, ready);
    ring->header[HEADER_IN_FLIGHT] -= ready;
    for (uint32_t i = 0; i < ready && ring->opens_count; i++) {
        if (!forget_open(ring, ring->cqes[i].user_data) || ring->cqes[i].res < 0)
            continue;
        if (discarded)
            close(ring->cqes[i].res);
        else
            hold_for_worker(ring, ring->cqes[i].res);
    }
    return ready;
}

// One turn: takes staged SQEs, submits everything in one syscall, runs task work, copies the CQEs out.
// Returns the number of CQEs in the table; a failed submit shows in HEADER_SQ_READY and HEADER_REFUSAL: the SQEs stay
// in the SQ (the kernel may have taken some) and the next tick submits the rest.
EXPORT int32_t bun_uring_tick(struct ring *ring, const struct io_uring_sqe *staged, uint32_t first, uint32_t count,
                              uint32_t room)
{
    const uint32_t held = helper_holds(ring);
    const uint32_t taken = count ? stage(ring, staged + first, count, room) : 0;
    const int posted = held == 0 && helper_holds(ring);
    ring->header[HEADER_CONSUMED] = taken;
    ring->header[HEADER_IN_FLIGHT] += taken;
    ring->header[HEADER_REFUSAL] = 0;
    if (io_uring_sq_ready(&ring->uring)) {
        ring->header[HEADER_ENTERS]++;
        const int rc = io_uring_submit_and_get_events(&ring->uring);
        if (rc < 0)
            ring->header[HEADER_REFUSAL] = (uint32_t)-rc;
    } else if ((ring->uring.flags & IORING_SETUP_IOPOLL) && ring->header[HEADER_IN_FLIGHT]) {
        ring->header[HEADER_ENTERS]++;
        io_uring_get_events(&ring->uring); // a polled completion is found only by looking for it
    }
    if (posted && ring->header[HEADER_IN_FLIGHT] == helper_holds(ring))
        helper_wait(ring->helper);
    if (kernel_wants_us(ring))
        run_task_work(ring);
    const uint32_t ready = copy_out(ring, 0);
    ring->header[HEADER_SQ_READY] = io_uring_sq_ready(&ring->uring); // with what the helper has given back to the ring
    helper_tell(ring);
    return (int32_t)ready;
}

// Queues an SQE that cancels the request with this user_data. Returns whether there was room.
static int cancel_by_sqe(struct ring *ring, uint64_t user_data)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    if (!sqe && io_uring_submit(&ring->uring) >= 0)
        sqe = io_uring_get_sqe(&ring->uring);
    if (!sqe)
        return 0;
    io_uring_prep_cancel64(sqe, user_data, 0);
    sqe->user_data = OWN_USER_DATA;
    return 1;
}

// Asks the kernel at once, beyond what the CQ has room for, to cancel the request with this user_data.
// Returns 0, or -errno: -ENOENT if there is none such, -ETIME if it can't be stopped now. Its CQE comes in any case.
EXPORT int32_t bun_uring_cancel(struct ring *ring, uint32_t user_data_low, uint32_t user_data_high)
{
    const uint64_t user_data = (uint64_t)user_data_high << 32 | user_data_low;
    if (ring->running) {
        if (!cancel_by_sqe(ring, user_data))
            return -EAGAIN;
        const int rc = io_uring_submit(&ring->uring);
        return rc < 0 ? rc : 0;
    }
    struct io_uring_sync_cancel_reg cancel = {
        .addr = user_data,
        .fd = -1,
        .timeout = {.tv_sec = 0, .tv_nsec = 0},
    };
    return io_uring_register_sync_cancel(&ring->uring, &cancel);
}

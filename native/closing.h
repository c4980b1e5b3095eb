// The end of a ring: what is in the kernel is cancelled and waited for, then everything is given back; also when its thread or
// Worker ends before it was closed. Included by liburing-shim.c.

/* ---- the end ------------------------------------------------------------------------------------------------------- */

// Operations that were never done, as user_data pairs of words: withdrawn, or cancelled before they began.
struct undone {
    uint32_t *out;
    uint32_t count, capacity;
};

static void note_undone(struct undone *undone, uint64_t user_data)
{
    if (undone->count == undone->capacity)
        return;
    split(user_data, &undone->out[undone->count * 2], &undone->out[undone->count * 2 + 1]);
    undone->count++;
}

// Turns SQEs that the kernel has not taken into NOPs: the memory that they name may be gone when they are submitted.
static void withdraw(struct ring *ring, struct undone *undone)
{
    struct io_uring *uring = &ring->uring;
    const unsigned int tail = uring->sq.sqe_tail;
    for (unsigned int head = tail - io_uring_sq_ready(uring); head != tail; head++) {
        struct io_uring_sqe *sqe = &uring->sq.sqes[head & uring->sq.ring_mask];
        const uint64_t user_data = sqe->user_data;
        io_uring_prep_nop(sqe);
        sqe->user_data = user_data;
        forget_open(ring, user_data); // a NOP's result is no descriptor
        note_undone(undone, user_data);
    }
}

static void wait_some(struct io_uring *uring, long ms)
{
    struct __kernel_timespec timeout = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000};
    struct io_uring_cqe *cqe;
    io_uring_submit_and_wait_timeout(uring, &cqe, 1, &timeout, NULL);
}

// Drops the ready CQEs: nobody is there to take them. What an open has brought is closed.
static void discard(struct ring *ring, struct undone *undone)
{
    const uint32_t ready = copy_out(ring, 1);
    for (uint32_t i = 0; i < ready; i++)
        if (ring->cqes[i].res == -ECANCELED)
            note_undone(undone, ring->cqes[i].user_data);
}

// Asks the kernel to cancel all that it has.
static void cancel_running(struct ring *ring)
{
    if (ring->running) {
        for (uint32_t i = 0; i < ring->running_count && cancel_by_sqe(ring, ring->running[i]); i++)
            ;
        io_uring_submit(&ring->uring);
        return;
    }
    struct io_uring_sync_cancel_reg cancel = {
        .fd = -1,
        .flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL,
        .timeout = {.tv_sec = 0, .tv_nsec = 0},
    };
    io_uring_register_sync_cancel(&ring->uring, &cancel);
}

// Cancels what is in the kernel and waits for every CQE, at most deadline_ms.
static void cancel_and_wait(struct ring *ring, uint32_t deadline_ms, struct undone *undone)
{
    if (!ring->enabled || ring->waited)
        return;
    ring->waited = 1;
    ring->stuck = helper_stop(ring, deadline_ms) != 0;
    if (ring->header[HEADER_IN_FLIGHT] == 0)
        return;
    withdraw(ring, undone);
    for (uint32_t waited = 0; waited <= deadline_ms; waited += 10) {
        cancel_running(ring);
        run_task_work(ring);
        discard(ring, undone);
        if (ring->header[HEADER_IN_FLIGHT] == 0)
            return;
        wait_some(&ring->uring, 10);
        discard(ring, undone);
    }
}

// Before close: cancels what is in the kernel and waits for every CQE, at most deadline_ms. Writes the user_data, in two
// words each, of what was not done into `undone`, `capacity` at most. Returns how many it wrote. Nothing is to be staged
// afterwards.
EXPORT int32_t bun_uring_cancel_all(struct ring *ring, uint32_t deadline_ms, uint32_t *undone, uint32_t capacity)
{
    struct undone list = {undone, 0, capacity};
    cancel_and_wait(ring, deadline_ms, &list);
    return (int32_t)list.count;
}

static void bell_close(struct ring *ring)
{
    if (!ring->bell_ready)
        return;
    const uint64_t one = 1;
    bell_reap(ring);
    for (int i = 0; i < 100 && ring->bell_pending > 0; i++) {
        if (write(ring->eventfd, &one, sizeof(one)) < 0 && errno != EAGAIN)
            break;
        wait_some(&ring->bell, 10);
        bell_reap(ring);
    }
    io_uring_queue_exit(&ring->bell);
    close(ring->bell_socket);
    ring->bell_ready = 0;
}

static void unlink_from_thread(struct ring *ring)
{
    struct ring *first = pthread_getspecific(thread_rings);
    if (first == ring) {
        pthread_setspecific(thread_rings, ring->next);
        return;
    }
    for (struct ring *r = first; r; r = r->next)
        if (r->next == ring) {
            r->next = ring->next;
            return;
        }
}

// Closes the ring: cancels, waits up to deadline_ms for every CQE (once: cancel_all may have), then frees all. Returns the number of operations
// that never completed; if that is not 0, all memory they may still write to is leaked on purpose.
EXPORT int32_t bun_uring_close(struct ring *ring, uint32_t deadline_ms)
{
    bun_uring_cancel_all(ring, deadline_ms, NULL, 0);
    uint32_t lost = ring->enabled ? ring->header[HEADER_IN_FLIGHT] : 0;
    if (ring->stuck && lost == 0)
        lost = 1;
    free_jobs(ring);
    unlink_from_thread(ring);
    bell_close(ring);
    if (ring->eventfd >= 0)
        close(ring->eventfd);
    if (ring->mounts >= 0)
        close(ring->mounts);
    io_uring_queue_exit(&ring->uring);
    if (lost)
        return (int32_t)lost;
    while (ring->regions) {
        struct region *region = ring->regions;
        ring->regions = region->next;
        region_drop(region);
    }
    if (ring->helper)
        helper_release(ring);
    fault_free(ring);
    release_shared(ring);
    return 0;
}

// Runs when a thread ends, also by worker.terminate(), where no JavaScript runs any more.
static void close_thread_rings(void *first)
{
    struct ring *ring = first;
    while (ring) {
        struct ring *next = ring->next;
        // A Worker that was terminated while Bun was taking the bell's socket over has left it open.
        struct stat watched;
        if (ring->bell_ready && ring->bell_watched >= 0 && !fstat(ring->bell_watched, &watched) &&
            watched.st_ino == ring->bell_inode && S_ISSOCK(watched.st_mode))
            close(ring->bell_watched);
        bun_uring_close(ring, 2000);
        ring = next;
    }
}

/* ---- the end of a Worker ------------------------------------------------------------------------------------------- */

// Node-API, which Bun's executable exports; not there for a program that is not Bun.
typedef struct napi_env_of_bun *napi_env;
extern int napi_add_env_cleanup_hook(napi_env env, void (*hook)(void *), void *context) __attribute__((weak));

// Before a Worker's JavaScript heap is freed, also by terminate(), where no handler of JavaScript's runs: what the kernel
// may still write there ends first. The rings themselves are closed with the thread.
static void end_operations(void *unused)
{
    (void)unused;
    for (struct ring *ring = pthread_getspecific(thread_rings); ring; ring = ring->next)
        bun_uring_cancel_all(ring, 2000, NULL, 0);
    release_files(pthread_getspecific(thread_files));
    pthread_setspecific(thread_files, NULL);
}

// Called by process.dlopen, which is how an environment's end can be heard of.
EXPORT void *napi_register_module_v1(napi_env env, void *exports)
{
    if (napi_add_env_cleanup_hook)
        napi_add_env_cleanup_hook(env, end_operations, NULL);
    return exports;
}

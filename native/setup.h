// Making a ring: what the kernel has, tables, limits and restrictions, each by one call that says no where the kernel does.
// Included by liburing-shim.c.

static void release_shared(struct ring *ring)
{
    free(ring->opens);
    free(ring->running);
    if (ring->header)
        munmap(ring->header, ring->shared_length);
    free(ring);
}

// Makes a ring with exactly these entries and IORING_SETUP_ flags and adds it to the rings of this thread.
EXPORT int32_t bun_uring_create(uint32_t entries, uint32_t cq_entries, uint32_t setup_flags, struct ring_info *info)
{
    struct ring *ring = calloc(1, sizeof(*ring));
    if (!ring)
        return -ENOMEM;
    ring->eventfd = ring->bell_socket = ring->mounts = -1;
    struct io_uring_params params = {.flags = setup_flags | IORING_SETUP_CQSIZE, .cq_entries = cq_entries};
    int rc = io_uring_queue_init_params(entries, &ring->uring, &params);
    if (rc < 0) {
        free(ring);
        return rc;
    }
    ring->enabled = !(setup_flags & IORING_SETUP_R_DISABLED);
    ring->of_worker = getpid() != (pid_t)syscall(SYS_gettid);
    ring->cqe_capacity = params.cq_entries;
    ring->shared_length = HEADER_BYTES + params.cq_entries * sizeof(struct io_uring_cqe);
    void *shared = mmap(NULL, ring->shared_length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        rc = -errno;
        io_uring_queue_exit(&ring->uring);
        free(ring);
        return rc;
    }
    ring->header = shared;
    // Kernels before 6.0 can't be told to cancel all, or before 5.19 not by an SQE either: then what is in them is noted.
    struct io_uring_sync_cancel_reg nothing = {.addr = OWN_USER_DATA, .fd = -1};
    if (io_uring_register_sync_cancel(&ring->uring, &nothing) == -EINVAL)
        ring->running = calloc(params.cq_entries, sizeof(*ring->running));
    ring->cqes = (struct io_uring_cqe *)((char *)shared + HEADER_BYTES);
    ring->next = pthread_getspecific(thread_rings);
    pthread_setspecific(thread_rings, ring);

    split((uintptr_t)ring, &info->ring_low, &info->ring_high);
    split((uintptr_t)shared, &info->shared_low, &info->shared_high);
    split((uintptr_t)region_release, &info->release_low, &info->release_high);
    info->shared_length = (uint32_t)ring->shared_length;
    info->sq_entries = params.sq_entries;
    info->cq_entries = params.cq_entries;
    info->features = params.features;
    return 0;
}

// Writes 1 into out[opcode] for each opcode that the kernel supports. Returns the last opcode it knows.
EXPORT int32_t bun_uring_probe(struct ring *ring, uint8_t *out, uint32_t capacity)
{
    const size_t length = sizeof(struct io_uring_probe) + 256 * sizeof(struct io_uring_probe_op);
    struct io_uring_probe *probe = calloc(1, length);
    if (!probe)
        return -ENOMEM;
    const int rc = io_uring_register_probe(&ring->uring, probe, 256);
    if (rc < 0) {
        free(probe);
        return rc;
    }
    for (uint32_t i = 0; i < probe->ops_len && i < capacity; i++)
        out[i] = (probe->ops[i].flags & IO_URING_OP_SUPPORTED) != 0;
    const int last = probe->last_op;
    free(probe);
    return last;
}

// What the kernel says of itself, without a ring (6.18): how many opcodes and how many registrations it has. Returns 0, or
// -errno where it can't be asked. The structures are younger than liburing 2.3's header.
EXPORT int32_t bun_uring_query(uint32_t *out)
{
    struct {
        uint32_t requests, registrations;
        uint64_t features, setup_flags, enter_flags, sqe_flags;
        uint32_t queries, unused;
    } answer = {0};
    struct {
        uint64_t next, data;
        uint32_t query, size;
        int32_t result;
        uint32_t unused[3];
    } question = {.data = (uintptr_t)&answer, .size = sizeof(answer)};
    enum { REGISTER_QUERY = 35 };
    if (syscall(SYS_io_uring_register, -1, REGISTER_QUERY, &question, 0))
        return -errno;
    out[0] = answer.requests;
    out[1] = answer.registrations;
    return question.result;
}

// Caps the io-wq threads of this ring: bounded (regular files) and unbounded work.
EXPORT int32_t bun_uring_cap_workers(struct ring *ring, uint32_t bounded, uint32_t unbounded)
{
    unsigned int values[2] = {bounded, unbounded};
    return io_uring_register_iowq_max_workers(&ring->uring, values);
}

// Registers a table of `count` empty direct descriptors: sparse (5.19), or dense, each entry said to be empty (5.5).
EXPORT int32_t bun_uring_register_files(struct ring *ring, uint32_t count)
{
    if (io_uring_register_files_sparse(&ring->uring, count) == 0)
        return 0;
    int *none = malloc(count * sizeof(*none));
    if (!none)
        return -ENOMEM;
    memset(none, 0xff, count * sizeof(*none)); // -1 each
    const int rc = io_uring_register_files(&ring->uring, none, count);
    free(none);
    return rc < 0 ? rc : 0;
}

// Registers a table of `count` empty fixed buffers: sparse (5.19), or dense, each entry without memory (5.13).
EXPORT int32_t bun_uring_register_buffers(struct ring *ring, uint32_t count)
{
    if (io_uring_register_buffers_sparse(&ring->uring, count) == 0)
        return 0;
    struct iovec *none = calloc(count, sizeof(*none));
    if (!none)
        return -ENOMEM;
    const int rc = io_uring_register_buffers(&ring->uring, none, count);
    free(none);
    return rc < 0 ? rc : 0;
}

// Puts memory into (length 0: takes it out of) one slot of the fixed-buffer table.
EXPORT int32_t bun_uring_update_buffer(struct ring *ring, uint32_t index, void *address, double length)
{
    struct iovec iov = {.iov_base = address, .iov_len = (size_t)length};
    const __u64 tag = 0;
    const int rc = io_uring_register_buffers_update_tag(&ring->uring, index, &iov, &tag, 1);
    return rc < 0 ? rc : 0;
}

// Restricts a disabled ring: `rules` holds pairs {IORING_RESTRICTION_ kind, value}.
EXPORT int32_t bun_uring_restrict(struct ring *ring, const uint32_t *rules, uint32_t count)
{
    struct io_uring_restriction *list = calloc(count, sizeof(*list));
    if (!list)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        list[i].opcode = (uint16_t)rules[i * 2];
        list[i].sqe_op = (uint8_t)rules[i * 2 + 1]; // one byte, whichever member the kind names
    }
    const int rc = io_uring_register_restrictions(&ring->uring, list, count);
    free(list);
    return rc;
}

EXPORT int32_t bun_uring_enable(struct ring *ring)
{
    const int rc = io_uring_enable_rings(&ring->uring);
    if (rc == 0)
        ring->enabled = 1;
    return rc;
}

// Whether a direct descriptor is closed when the CQE of its CLOSE has come: 1, or 0 for kernels that close it up to two
// seconds later (before 6.12 or so). Seen from a pipe, whose write end is put into slot 0 and closed there. Before any use
// of the ring.
EXPORT int32_t bun_uring_closes_at_once(struct ring *ring)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
        return -errno;
    int rc = io_uring_register_files_update(&ring->uring, 0, &ends[1], 1);
    close(ends[1]);
    if (rc == 1) {
        struct io_uring_cqe *cqe = NULL;
        io_uring_prep_close_direct(io_uring_get_sqe(&ring->uring), 0);
        // A refusal that passes must not leave the SQE behind: its CQE would be somebody else's.
        for (int tries = 0; tries < 1000 && !cqe; tries++) {
            rc = io_uring_submit_and_wait(&ring->uring, 1);
            io_uring_peek_cqe(&ring->uring, &cqe);
            if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY && rc != -ENOMEM)
                break;
        }
        if (cqe) {
            rc = cqe->res;
            io_uring_cqe_seen(&ring->uring, cqe);
        }
        char byte;
        if (rc == 0)
            rc = read(ends[0], &byte, 1) == 0;
    }
    close(ends[0]);
    return rc;
}

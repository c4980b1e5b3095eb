// The doorbell: a second ring that polls the first one's eventfd and writes to a socket, so that Bun's event loop wakes up. Included
// by liburing-shim.c.

// Registers an eventfd and opens the bell: a second ring and a socketpair. Returns the socket end to watch.
EXPORT int32_t bun_uring_bell_open(struct ring *ring)
{
    int sockets[2];
    int rc;
    ring->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ring->eventfd < 0)
        return -errno;
    rc = io_uring_register_eventfd(&ring->uring, ring->eventfd);
    if (rc < 0)
        goto no_eventfd;
    io_uring_cq_eventfd_toggle(&ring->uring, false);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets)) {
        rc = -errno;
        goto no_socket;
    }
    rc = io_uring_queue_init(4, &ring->bell, 0);
    if (rc < 0)
        goto no_bell;
    ring->bell_socket = sockets[1];
    struct stat watched;
    ring->bell_watched = fstat(sockets[0], &watched) ? -1 : sockets[0];
    ring->bell_inode = watched.st_ino;
    ring->bell_ready = 1;
    return sockets[0];
no_bell:
    close(sockets[0]);
    close(sockets[1]);
no_socket:
    io_uring_unregister_eventfd(&ring->uring);
no_eventfd:
    close(ring->eventfd);
    ring->eventfd = -1;
    return rc;
}

static void bell_reap(struct ring *ring)
{
    unsigned int head, ready = 0;
    struct io_uring_cqe *cqe;
    io_uring_for_each_cqe(&ring->bell, head, cqe)
    {
        ready++;
        ring->bell_pending -= cqe->user_data != OWN_USER_DATA;
    }
    io_uring_cq_advance(&ring->bell, ready);
}

// Hangs the chain on the bell ring, unless it still hangs there from the last time. What a failed submit left in the
// bell's SQ is submitted, never prepared twice. Returns 0 or -errno.
static int bell_hang(struct ring *ring)
{
    bell_reap(ring);
    if (ring->bell_pending == 0 && io_uring_sq_ready(&ring->bell) == 0) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->bell);
        io_uring_prep_read(sqe, ring->eventfd, &ring->event_count, sizeof(ring->event_count), 0);
        sqe->flags |= IOSQE_IO_LINK;
        sqe = io_uring_get_sqe(&ring->bell);
        io_uring_prep_send(sqe, ring->bell_socket, "!", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    if (io_uring_sq_ready(&ring->bell) == 0)
        return 0;
    const int rc = io_uring_submit(&ring->bell);
    if (rc > 0)
        ring->bell_pending += rc;
    if (io_uring_sq_ready(&ring->bell) == 0)
        return 0;
    return rc < 0 ? rc : -EAGAIN;
}

// Awake: CQEs no longer signal the eventfd.
EXPORT void bun_uring_disarm(struct ring *ring)
{
    helper_disarm(ring);
    io_uring_cq_eventfd_toggle(&ring->uring, false);
}

// Before sleeping: lets CQEs signal the eventfd, looks once more, then hangs the chain READ(eventfd) -> SEND(byte)
// on the bell ring. Returns 1 if CQEs are ready (do not sleep), 0 if the bell will ring, -errno if it cannot.
EXPORT int32_t bun_uring_arm(struct ring *ring)
{
    if (!ring->bell_ready)
        return -ENOTCONN;
    if (helper_arm(ring))
        return 1;
    if (helper_holds(ring) == ring->header[HEADER_IN_FLIGHT])
        return 0; // the helper rings itself
    io_uring_cq_eventfd_toggle(&ring->uring, true);
    ring->header[HEADER_ENTERS]++;
    io_uring_get_events(&ring->uring);
    if (kernel_wants_us(ring))
        run_task_work(ring);
    // Work that is still waiting has rung the eventfd already, or never will: it must not be slept upon.
    const int here = io_uring_cq_ready(&ring->uring) || kernel_wants_us(ring) || fault_held(ring);
    const int rc = here ? 1 : bell_hang(ring);
    if (rc != 0)
        bun_uring_disarm(ring);
    return rc;
}

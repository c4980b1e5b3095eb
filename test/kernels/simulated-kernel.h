// Makes the shim see an older kernel than the one it runs on: compiled in with `-include` (`make fault`), and told which by
// BUN_URING_KERNEL=5.10; BUN_URING_DENIED=18 makes that opcode fail though the probe has it (EINVAL), BUN_URING_FILTERED=18
// makes it fail as an inherited filter of 7.0 does (EACCES). Set-up flags, features, the probe, register operations, opcodes, openat2's RESOLVE_CACHED and the late
// closing of direct descriptors answer as that kernel would; behind the answers is this machine's own io_uring.
// Not simulated: how an older kernel runs what it has (inline or by a thread, links, cancellation). `make test-kernels` has
// real older kernels for that.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SIM_RESOLVE_CACHED 0x20
#define SIM_REGISTER_QUERY 35

// 510 for "5.10"; a kernel to come where nothing is simulated.
static int sim_version(void)
{
    const char *text = getenv("BUN_URING_KERNEL");
    int major = 99, minor = 0;
    if (text)
        sscanf(text, "%d.%d", &major, &minor);
    return major * 100 + minor;
}

struct sim_since {
    int version;
    unsigned int value;
};

// The value of the newest row that the simulated kernel has come to; rows are newest first.
static unsigned int sim_pick(const struct sim_since *rows)
{
    while (rows->version > sim_version())
        rows++;
    return rows->value;
}

static unsigned int sim_setup_flags(void)
{
    return sim_pick((const struct sim_since[]){
        {611, ~0u}, {601, 0x3fff}, {600, 0x1fff}, {519, 0xfff}, {518, 0xff}, {510, 0x7f}, {0, 0x3f}});
}

static unsigned int sim_last_opcode(void)
{
    return sim_pick((const struct sim_since[]){{611, 255}, {609, 55}, {608, 54}, {607, 53}, {601, 48}, {600, 47},
                                               {519, 46}, {518, 40}, {515, 39}, {511, 36}, {508, 33}, {507, 32}, {0, 29}});
}

static unsigned int sim_last_register(void)
{
    return sim_pick((const struct sim_since[]){{602, 255}, {600, 25}, {519, 23}, {518, 21}, {515, 19}, {514, 18},
                                               {513, 16}, {510, 12}, {0, 10}});
}

static unsigned int sim_features(void)
{
    return sim_pick((const struct sim_since[]){{605, ~0u}, {519, 0x1fff}, {517, 0xfff}, {513, 0x7ff}, {512, 0x3ff},
                                               {511, 0x1ff}, {509, 0x7f}, {507, 0x3f}, {0, 0x1f}});
}

static int sim_queue_init_params(unsigned int entries, struct io_uring *ring, struct io_uring_params *params)
{
    if (params->flags & ~sim_setup_flags())
        return -EINVAL;
    const int rc = io_uring_queue_init_params(entries, ring, params);
    params->features &= sim_features();
    if (rc >= 0)
        ring->features &= sim_features();
    return rc;
}

static int sim_register_probe(struct io_uring *ring, struct io_uring_probe *probe, unsigned int count)
{
    const int rc = io_uring_register_probe(ring, probe, count);
    const unsigned int last = sim_last_opcode();
    if (rc < 0)
        return rc;
    if (probe->last_op > last)
        probe->last_op = (uint8_t)last;
    if (probe->ops_len > probe->last_op + 1)
        probe->ops_len = (uint8_t)(probe->last_op + 1);
    return rc;
}

// One entry that the kernel does not know makes it refuse the whole list.
static int sim_register_restrictions(struct io_uring *ring, struct io_uring_restriction *list, unsigned int count)
{
    if (sim_last_register() < IORING_REGISTER_RESTRICTIONS)
        return -EINVAL;
    for (unsigned int i = 0; i < count; i++) {
        if (list[i].opcode == IORING_RESTRICTION_SQE_OP && list[i].sqe_op > sim_last_opcode())
            return -EINVAL;
        if (list[i].opcode == IORING_RESTRICTION_REGISTER_OP && list[i].register_op > sim_last_register())
            return -EINVAL;
    }
    return io_uring_register_restrictions(ring, list, count);
}

static int sim_knows(unsigned int register_op)
{
    return register_op <= sim_last_register();
}

static int sim_cap_workers(struct io_uring *ring, unsigned int *values)
{
    return sim_knows(IORING_REGISTER_IOWQ_MAX_WORKERS) ? io_uring_register_iowq_max_workers(ring, values) : -EINVAL;
}

// Sparse tables are a flag of IORING_REGISTER_FILES2, which 5.19 brought.
static int sim_files_sparse(struct io_uring *ring, unsigned int count)
{
    return sim_version() >= 519 ? io_uring_register_files_sparse(ring, count) : -EINVAL;
}

static int sim_buffers_sparse(struct io_uring *ring, unsigned int count)
{
    return sim_version() >= 519 ? io_uring_register_buffers_sparse(ring, count) : -EINVAL;
}

// 5.13 lets single buffers be put into a table, and takes one that has no memory yet.
static int sim_buffers(struct io_uring *ring, const struct iovec *list, unsigned int count)
{
    return sim_version() >= 513 || list->iov_base ? io_uring_register_buffers(ring, list, count) : -EFAULT;
}

static int sim_buffers_update(struct io_uring *ring, unsigned int index, const struct iovec *list, const __u64 *tags,
                              unsigned int count)
{
    if (!sim_knows(IORING_REGISTER_BUFFERS_UPDATE))
        return -EINVAL;
    return io_uring_register_buffers_update_tag(ring, index, list, tags, count);
}

static int sim_sync_cancel(struct io_uring *ring, struct io_uring_sync_cancel_reg *cancel)
{
    return sim_knows(IORING_REGISTER_SYNC_CANCEL) ? io_uring_register_sync_cancel(ring, cancel) : -EINVAL;
}

static _Thread_local int sim_held;

static void sim_let_go(void)
{
    if (sim_held > 0)
        close(sim_held);
    sim_held = 0;
}

// A kernel that closes late still holds what was put into the table: the shim's pipe sees no end.
static int sim_files_update(struct io_uring *ring, unsigned int index, int *fds, unsigned int count)
{
    sim_let_go();
    if (sim_version() < 612)
        sim_held = fcntl(fds[0], F_DUPFD_CLOEXEC, 0);
    return io_uring_register_files_update(ring, index, fds, count);
}

// What the kernel would not know is given to it as an opcode that no kernel knows: its CQE says EINVAL.
static void sim_spoil_unknown(struct io_uring *ring)
{
    const char *text = getenv("BUN_URING_DENIED");
    const int denied = text ? atoi(text) : -1;
    const char *filter = getenv("BUN_URING_FILTERED");
    const int filtered = filter ? atoi(filter) : -1;
    const unsigned int tail = ring->sq.sqe_tail;
    for (unsigned int head = tail - io_uring_sq_ready(ring); head != tail; head++) {
        struct io_uring_sqe *sqe = &ring->sq.sqes[head & ring->sq.ring_mask];
        const int flags = sqe->opcode == IORING_OP_ASYNC_CANCEL && sqe->cancel_flags != 0;
        if (sqe->opcode > sim_last_opcode() || sqe->opcode == denied || (flags && sim_version() < 519))
            sqe->opcode = 254;
        if (sqe->opcode == filtered)
            sqe->opcode = IORING_OP_SENDMSG; // which a restricted ring refuses with EACCES
    }
}

static void sim_queue_exit(struct io_uring *ring)
{
    sim_let_go();
    io_uring_queue_exit(ring);
}

static int sim_submit_and_get_events(struct io_uring *ring)
{
    sim_spoil_unknown(ring);
    return io_uring_submit_and_get_events(ring);
}

static int sim_submit(struct io_uring *ring)
{
    sim_spoil_unknown(ring);
    return io_uring_submit(ring);
}

static long sim_syscall(long number, ...)
{
    va_list rest;
    va_start(rest, number);
    const long a = va_arg(rest, long), b = va_arg(rest, long), c = va_arg(rest, long), d = va_arg(rest, long),
               e = va_arg(rest, long), f = va_arg(rest, long);
    va_end(rest);
    if (number == SYS_openat2 && sim_version() < 512 && ((struct open_how *)c)->resolve & SIM_RESOLVE_CACHED) {
        errno = EINVAL;
        return -1;
    }
    if (number != SYS_io_uring_register || b != SIM_REGISTER_QUERY)
        return syscall(number, a, b, c, d, e, f);
    if (sim_version() < 618) {
        errno = EINVAL;
        return -1;
    }
    const long rc = syscall(number, a, b, c, d, e, f);
    if (rc == 0 && getenv("BUN_URING_FILTERED"))
        (*(uint32_t **)(c + 8))[1] = 38; // registrations of 7.0, the filters' among them
    return rc;
}

#define io_uring_queue_init_params sim_queue_init_params
#define io_uring_register_probe sim_register_probe
#define io_uring_register_restrictions sim_register_restrictions
#define io_uring_register_iowq_max_workers sim_cap_workers
#define io_uring_register_files_sparse sim_files_sparse
#define io_uring_register_files_update sim_files_update
#define io_uring_register_buffers_sparse sim_buffers_sparse
#define io_uring_register_buffers sim_buffers
#define io_uring_register_buffers_update_tag sim_buffers_update
#define io_uring_register_sync_cancel sim_sync_cancel
#define io_uring_submit_and_get_events sim_submit_and_get_events
#define io_uring_submit sim_submit
#define io_uring_queue_exit sim_queue_exit
// Every argument is a long, also those that are left out: variadic ones have no type of their own.
#define SIM_LONGS(n, a, b, c, d, e, f, ...) (long)(n), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f)
#define syscall(...) sim_syscall(SIM_LONGS(__VA_ARGS__, 0, 0, 0, 0, 0, 0))

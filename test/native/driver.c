// Calls every function that the shim exports, from two threads, one of which ends with a read in the kernel.
// Assumes that it is compiled together with the shim's source (sanitized.test.ts), under ASan, UBSan and LSan, or valgrind.
// Exits with 0 when every answer was the expected one; what was not is told with its line.

#include "../../native/liburing-shim.c"

#include <stdio.h>
#include <sys/wait.h>

#define CHECK(condition)                                                      \
    do {                                                                      \
        if (!(condition)) {                                                   \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);           \
            exit(1);                                                          \
        }                                                                     \
    } while (0)

static const char *folder;

static struct ring *made(uint32_t entries, uint32_t cq_entries, uint32_t flags)
{
    struct ring_info info;
    const int rc = bun_uring_create(entries, cq_entries, flags, &info);
    CHECK(rc == 0);
    CHECK(info.sq_entries == entries && info.cq_entries == cq_entries);
    return (struct ring *)(uintptr_t)((uint64_t)info.ring_high << 32 | info.ring_low);
}

// Stages one SQE and ticks until its CQE comes; returns its result.
static int32_t run_one(struct ring *ring, struct io_uring_sqe *sqe)
{
    sqe->user_data = 7;
    uint32_t count = 1;
    for (int turn = 0; turn < 10000; turn++) {
        const int ready = bun_uring_tick(ring, sqe, 0, count, 8);
        count = 0;
        for (int i = 0; i < ready; i++)
            if (ring->cqes[i].user_data == 7)
                return ring->cqes[i].res;
        usleep(100);
    }
    CHECK(!"no CQE came");
    return 0;
}

static void set_up_and_restrict(void)
{
    struct ring *ring = made(8, 16, IORING_SETUP_R_DISABLED);
    uint8_t opcodes[256] = {0};
    CHECK(bun_uring_probe(ring, opcodes, sizeof(opcodes)) > IORING_OP_READ);
    CHECK(opcodes[IORING_OP_READ] == 1);
    uint32_t known[2] = {0};
    const int32_t told = bun_uring_query(known); // 6.18
    CHECK(told < 0 || known[0] > IORING_OP_READ);
    CHECK(bun_uring_deadly() == 0);
    CHECK(bun_uring_cap_workers(ring, 2, 2) == 0);
    CHECK(bun_uring_register_files(ring, 8) >= 0);
    CHECK(bun_uring_register_buffers(ring, 4) >= 0);
    // NOP and READ; no flags; updates of buffers, sync cancel.
    const uint32_t rules[] = {2, 0, 1, IORING_OP_NOP, 1, IORING_OP_READ, 0, 16, 0, 24};
    CHECK(bun_uring_restrict(ring, rules, 5) == 0);
    CHECK(bun_uring_enable(ring) == 0);
    struct io_uring_sqe nop = {.opcode = IORING_OP_NOP};
    CHECK(run_one(ring, &nop) == 0);
    struct io_uring_sqe refused = {.opcode = IORING_OP_FSYNC, .fd = 0};
    CHECK(run_one(ring, &refused) == -EACCES);
    CHECK(bun_uring_close(ring, 100) == 0);
    struct ring_info info;
    CHECK(bun_uring_create(1u << 30, 1u << 30, 0, &info) < 0);
}

static void *lets_go(void *share)
{
    region_release(((struct share *)share)->region->address, share);
    return NULL;
}

static void regions(void)
{
    struct ring *ring = made(8, 16, 0);
    char *small = bun_uring_region_new(ring, 4096, 0, 0);
    char *huge = bun_uring_region_new(ring, 4 << 20, 1, 0);
    char *given = bun_uring_region_new(ring, 8192, 0, 2);
    CHECK(small && huge && given);
    memset(small, 1, 4096);
    memset(huge, 1, 4 << 20);
    CHECK(bun_uring_register_buffers(ring, 2) >= 0);
    CHECK(bun_uring_update_buffer(ring, 1, small, 4096) == 0);
    CHECK(bun_uring_update_buffer(ring, 1, NULL, 0) == 0);
    CHECK(bun_uring_region_free(ring, small) == 0);
    CHECK(bun_uring_region_free(ring, small) == -EINVAL);
    struct region *region = bun_uring_region_at(ring, given);
    CHECK(region && !bun_uring_region_at(ring, given + 1));
    struct share *first = bun_uring_region_share(region, 0);
    struct share *second = bun_uring_region_share(region, 1);
    CHECK(first && second && !bun_uring_region_share(region, 0) && !bun_uring_region_share(region, 2));
    CHECK(bun_uring_region_held(region, 0) && !bun_uring_region_held(region, 2));
    region_release(given, first);
    CHECK(!bun_uring_region_held(region, 0));
    CHECK((first = bun_uring_region_share(region, 0)));
    CHECK(bun_uring_region_free(ring, given) == 0);
    CHECK(bun_uring_region_free(ring, given) == -EINVAL);
    CHECK(bun_uring_close(ring, 100) == 0); // frees `huge`
    given[8191] = 1;
    region_release(given, first);
    given[8191] = 1;
    // The last holder is another thread, as where an ArrayBuffer was transferred.
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, lets_go, second) == 0 && pthread_join(thread, NULL) == 0);
}

// Opens in flight are known by their user_data, in whatever order they end, among others; the set grows and shrinks.
static void opens(void)
{
    struct ring *ring = made(8, 16, 0);
    struct io_uring_sqe sqe = {.opcode = IORING_OP_OPENAT};
    for (uint64_t i = 0; i < 1000; i++)
        sqe.user_data = i << 24 | 7, remember_open(ring, &sqe);
    sqe.file_index = 1;
    sqe.user_data = 5;
    remember_open(ring, &sqe);
    CHECK(ring->opens_count == 1000 && !forget_open(ring, 5));
    for (uint64_t i = 0; i < 1000; i += 3)
        CHECK(forget_open(ring, i << 24 | 7) && !forget_open(ring, i << 24 | 7));
    for (uint64_t i = 0; i < 1000; i++)
        CHECK(forget_open(ring, i << 24 | 7) == (i % 3 != 0));
    CHECK(ring->opens_count == 0);
    CHECK(bun_uring_close(ring, 100) == 0);
}

// A ring that is closed over a batch whose one slot opens a file and syncs one: only what was opened is closed. What was
// withdrawn or cancelled is told.
static void ends_a_batch(void)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/batch", folder);
    const int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    const int zero = dup(0) >= 0 ? 0 : open("/dev/null", O_RDONLY);
    CHECK(zero == 0);
    int pipes[2];
    CHECK(pipe(pipes) == 0);
    struct ring *ring = made(8, 16, 0);
    static char into[8];
    struct io_uring_sqe sqes[3] = {
        {.opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (uintptr_t)path, .open_flags = O_RDONLY, .user_data = 1, .flags = IOSQE_ASYNC},
        {.opcode = IORING_OP_FSYNC, .fd = file, .user_data = (uint64_t)1 << 32 | 1, .flags = IOSQE_ASYNC},
        {.opcode = IORING_OP_READ, .fd = pipes[0], .addr = (uintptr_t)into, .len = 8, .off = (uint64_t)-1, .user_data = 9},
    };
    const int next = dup(0); // what the open brings, if it is in time
    close(next);
    struct io_uring_sqe *left = io_uring_get_sqe(&ring->uring); // a CLOSE that the kernel has not taken
    io_uring_prep_close(left, file);
    bun_uring_tick(ring, sqes, 0, 3, 16);
    io_uring_prep_close(left = io_uring_get_sqe(&ring->uring), file);
    left->user_data = 11;
    ring->header[HEADER_IN_FLIGHT] += 2;
    uint32_t undone[64];
    const int count = bun_uring_cancel_all(ring, 1000, undone, 32);
    int read_undone = 0, close_undone = 0;
    for (int i = 0; i < count; i++) {
        read_undone += undone[2 * i] == 9;
        close_undone += undone[2 * i] == 11;
    }
    CHECK(read_undone == 1 && close_undone >= 1);
    CHECK(bun_uring_close(ring, 0) == 0);
    CHECK(fcntl(0, F_GETFD) >= 0 && fcntl(next, F_GETFD) < 0);
    close(pipes[0]);
    close(pipes[1]);
    if (fcntl(file, F_GETFD) >= 0)
        close(file);
}

static void transfers(void)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/file", folder);
    struct ring *ring = made(8, 16, 0);
    const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    char out[600], in[600] = {0};
    memset(out, 'x', sizeof(out));
    struct io_uring_sqe sqe = {.opcode = IORING_OP_WRITE, .fd = fd, .addr = (uintptr_t)out, .len = sizeof(out)};
    CHECK(run_one(ring, &sqe) == sizeof(out));
    sqe = (struct io_uring_sqe){.opcode = IORING_OP_READ, .fd = fd, .addr = (uintptr_t)in, .len = sizeof(in)};
    CHECK(run_one(ring, &sqe) == sizeof(in) && memcmp(in, out, sizeof(in)) == 0);
    // More than the SQ and the CQ hold: the rest is taken later, each once.
    struct io_uring_sqe many[40] = {0};
    for (int i = 0; i < 40; i++)
        many[i].user_data = 1000 + (uint64_t)i;
    uint32_t first = 0, seen = 0;
    while (seen < 40) {
        const int ready = bun_uring_tick(ring, many, first, 40 - first, 16 - ring->header[HEADER_IN_FLIGHT]);
        first += ring->header[HEADER_CONSUMED];
        for (int i = 0; i < ready; i++)
            CHECK(ring->cqes[i].user_data == 1000 + seen + (uint32_t)i);
        seen += (uint32_t)ready;
    }
    // A chain that does not fit is not cut.
    for (int i = 0; i < 39; i++)
        many[i].flags = IOSQE_IO_LINK;
    bun_uring_tick(ring, many, 0, 40, 16);
    CHECK(ring->header[HEADER_CONSUMED] == 0);
    close(fd);
    CHECK(bun_uring_close(ring, 100) == 0);
}

static void doorbell(void)
{
    struct ring *ring = made(8, 16, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
    CHECK(bun_uring_arm(ring) == -ENOTCONN);
    const int watched = bun_uring_bell_open(ring);
    CHECK(watched >= 0);
    int pipes[2];
    CHECK(pipe(pipes) == 0);
    char byte[8];
    struct io_uring_sqe sqe = {.opcode = IORING_OP_READ, .fd = pipes[0], .addr = (uintptr_t)byte, .len = 1, .user_data = 5};
    sqe.off = (uint64_t)-1;
    CHECK(bun_uring_tick(ring, &sqe, 0, 1, 8) == 0);
    CHECK(bun_uring_arm(ring) == 0);
    CHECK(write(pipes[1], "!", 1) == 1);
    struct pollfd entry = {.fd = watched, .events = POLLIN};
    CHECK(poll(&entry, 1, 5000) == 1 && read(watched, byte, sizeof(byte)) == 1);
    bun_uring_disarm(ring);
    CHECK(bun_uring_tick(ring, NULL, 0, 0, 8) == 1);
    // A read that waits is cancelled by name.
    CHECK(bun_uring_tick(ring, &sqe, 0, 1, 8) == 0);
    CHECK(bun_uring_cancel(ring, 5, 0) == 0);
    CHECK(bun_uring_cancel(ring, 6, 0) == -ENOENT);
    int ready = 0;
    for (int i = 0; i < 1000 && !ready; i++, usleep(1000))
        ready = bun_uring_tick(ring, NULL, 0, 0, 8);
    CHECK(ready == 1 && ring->cqes[0].res == -ECANCELED);
    close(pipes[0]);
    close(pipes[1]);
    CHECK(bun_uring_close(ring, 100) == 0);
    close(watched);
}

static void plain_calls(void)
{
    char path[4096], into[8192];
    snprintf(path, sizeof(path), "%s/plain", folder);
    const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(write(fd, "0123456789", 10) == 10);
    struct statx stats;
    CHECK(bun_uring_stat_cached(path, 0, &stats) == 0 && stats.stx_size == 10);
    CHECK(bun_uring_stat_cached("/none", 1, &stats) < 0);
    CHECK(bun_uring_fstat(fd, 1, &stats) == 0 && stats.stx_size == 10);
    CHECK(bun_uring_fstat(-1, 0, &stats) == -EBADF);
    CHECK(bun_uring_access_cached(path, R_OK, getuid()) == 0 && bun_uring_access_cached("/none", F_OK, 0) < 0);
    const int length = bun_uring_realpath_cached(path, into, sizeof(into));
    CHECK(length == -EAGAIN || (length > 0 && into[0] == '/' && (size_t)length < sizeof(into)));
    CHECK(bun_uring_realpath_cached("/none", into, sizeof(into)) == -EAGAIN);
    struct opened opened;
    CHECK(bun_uring_read_cached(path, O_RDONLY, into, sizeof(into), &opened) == 10);
    CHECK(bun_uring_read_cached(path, O_RDONLY, into, 4, &opened) == -EINPROGRESS && opened.size_low == 10);
    CHECK(bun_uring_read_opened(opened.fd, into, 11) == 10 && memcmp(into, "0123456789", 10) == 0);
    CHECK(bun_uring_read_opened(opened.fd, into, 10) == 10 && fcntl(opened.fd, F_GETFD) < 0);
    CHECK(bun_uring_read_opened(-1, into, 10) == 0);
    CHECK(bun_uring_seek(fd, 3, SEEK_SET) == 3 && bun_uring_seek(-1, 0, SEEK_SET) == -EBADF);
    CHECK(bun_uring_seekable(fd) == 0);
    double claimed = 0;
    CHECK(bun_uring_seek(fd, 4, SEEK_SET) == 4 && bun_uring_claim(fd, 100, 1, &claimed) == 4 && claimed == 6);
    CHECK(bun_uring_claim(-1, 1, 0, &claimed) == -EBADF && claimed == 0);
    CHECK(bun_uring_flock(fd, LOCK_EX) == 0 && bun_uring_flock(fd, LOCK_UN) == 0 && bun_uring_flock(-1, LOCK_SH) == -EBADF);
    CHECK(bun_uring_hold_file(fd) == 0 && bun_uring_forget_file(fd) == 0); // of the main thread, nothing is held
    const struct attributes given = {.modification_seconds = 1000, .mode = 0640};
    CHECK(bun_uring_set_attributes(fd, &given) == 0 && bun_uring_set_attributes(-1, &given) == -EBADF);
    CHECK(bun_uring_list_xattr(path, -1, into, sizeof(into)) >= 0 || errno == ENOTSUP);
    CHECK(bun_uring_remove_xattr(NULL, fd, "user.none") < 0);
    CHECK(bun_uring_copy_xattrs(path, fd) == 0 && bun_uring_copy_xattrs("/none", fd) == 0);
    CHECK(bun_uring_look(fd, &stats, into, sizeof(into)) == 10 && stats.stx_size == 10);
    CHECK(bun_uring_look(fd, &stats, into, 4) == -EAGAIN && bun_uring_look(-1, &stats, into, 4) == -EBADF);
    char copied[8] = {0};
    CHECK(bun_uring_copy(copied, "0123456", sizeof(copied)) == sizeof(copied) && strcmp(copied, "0123456") == 0);
    const int anonymous = bun_uring_is_anonymous(copied, sizeof(copied));
    CHECK(anonymous == 1 || anonymous == -ENOTTY);
    void *mapped = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK(mapped != MAP_FAILED && bun_uring_is_anonymous(mapped, 4096) == (anonymous < 0 ? anonymous : 0));
    munmap(mapped, 4096);
    CHECK(bun_uring_read_now(fd, into, 4, 6) == 4 && bun_uring_read_now(-1, into, 4, 0) == -EBADF);
    const int now = bun_uring_write_now(fd, "5", 1, 5);
    CHECK((now == 1 || now == -EAGAIN || now == -EOPNOTSUPP) && bun_uring_write_now(-1, "5", 1, 5) == 0);
    const int pages = bun_uring_cached_pages(fd, 0, 4096);
    CHECK(pages == 1 || pages == -ENOSYS);
    const int root = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int beneath = bun_uring_open_beneath(root, "plain", O_RDONLY, 0, RESOLVE_BENEATH);
    CHECK(beneath >= 0 && bun_uring_open_beneath(root, "../none", O_RDONLY, 0, RESOLVE_BENEATH) == -EXDEV);
    close(beneath);
    close(root);
    close(fd);
    struct ring *ring = made(8, 16, 0);
    CHECK(bun_uring_register_files(ring, 8) >= 0);
    const int at_once = bun_uring_closes_at_once(ring);
    CHECK(at_once == 0 || at_once == 1);
    const int changed = bun_uring_mounts_changed(ring);
    CHECK(changed == 0 || changed == 1);
    CHECK(bun_uring_close(ring, 100) == 0);
    uint32_t layout[64];
    CHECK(bun_uring_abi() == BUN_URING_ABI && bun_uring_layout(layout, 64) > 20 && bun_uring_layout(layout, 1) > 20);
}

// Starts a job on trees; waits for its end. The caller frees it.
static struct job *ran(struct ring *ring, int kind, const char *path, uint32_t length, int folder, int target, int flags,
                       struct job_outcome *outcome)
{
    struct job_started started;
    CHECK(bun_uring_job_start(ring, kind, path, length, folder, target, flags, &started) == 0);
    struct job *job = (struct job *)(uintptr_t)((uint64_t)started.job_high << 32 | started.job_low);
    uint64_t ended;
    CHECK(read(started.wake, &ended, sizeof(ended)) == sizeof(ended));
    bun_uring_job_outcome(job, outcome);
    return job;
}

// Trees are listed, copied and removed by threads of the process; what is let go of before its end frees itself.
static void tree_jobs(void)
{
    char root[4096], copy[4096], below[4200];
    const size_t length = (size_t)snprintf(root, sizeof(root), "%s/tree", folder) + 1;
    snprintf(copy, sizeof(copy), "%s/tree/copy", folder);
    CHECK(mkdir(root, 0700) == 0 && mkdir(copy, 0700) == 0);
    for (int i = 0; i < 40; i++) { // deeper than folders are kept open
        snprintf(below, sizeof(below), "%s/tree%.*s", folder, (i + 1) * 2, "/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d");
        CHECK(mkdir(below, 0700) == 0);
    }
    snprintf(below, sizeof(below), "%s/file", root);
    const int file = open(below, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(file >= 0 && write(file, "0123456789", 10) == 10 && ftruncate(file, 1 << 20) == 0 && close(file) == 0);
    struct ring *ring = made(8, 16, 0);
    struct job_outcome outcome;
    struct job *job = ran(ring, JOB_LIST, root, (uint32_t)length, -1, -1, LIST_RECURSIVE, &outcome);
    CHECK(outcome.error == 0 && outcome.out_length > 42);
    bun_uring_job_free(ring, job, 1);
    const int from = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC), to = open(copy, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int flags = COPY_TIMES | COPY_ACCESSED; flags != -1; flags = flags & COPY_OVERWRITE ? -1 : COPY_OVERWRITE) {
        job = ran(ring, JOB_COPY, "file\0d\0", 8, from, to, flags, &outcome);
        const struct copied *copied = (void *)(uintptr_t)((uint64_t)outcome.out_high << 32 | outcome.out_low);
        CHECK(outcome.out_length == 2 * sizeof(*copied) && copied[0].status == COPIED && copied[1].status == NOT_REGULAR);
        CHECK(copied[0].size_low == 1 << 20);
        bun_uring_job_free(ring, job, 1);
    }
    job = ran(ring, JOB_LIST, NULL, 0, to, -1, 0, &outcome);
    CHECK(outcome.error == 0 && outcome.out_length == 3 * sizeof(uint32_t) + 1 + sizeof("file"));
    bun_uring_job_free(ring, job, 1);
    close(from);
    close(to);
    // One is stopped, one is left to itself, by the ring too.
    struct job_started started;
    for (int i = 0; i < 3; i++) {
        CHECK(bun_uring_job_start(ring, JOB_LIST, root, (uint32_t)length, -1, -1, LIST_RECURSIVE, &started) == 0);
        job = (struct job *)(uintptr_t)((uint64_t)started.job_high << 32 | started.job_low);
        if (i == 0)
            bun_uring_job_stop(job);
        if (i < 2)
            bun_uring_job_free(ring, job, 0);
    }
    job = ran(ring, JOB_REMOVE, root, (uint32_t)length, -1, -1, 0, &outcome);
    CHECK(outcome.error == 0 && access(root, F_OK) < 0);
    bun_uring_job_free(ring, job, 1);
    CHECK(bun_uring_job_start(ring, JOB_REMOVE, root, (uint32_t)length, -1, -1, 0, &started) == -ENOENT);
    CHECK(bun_uring_close(ring, 100) == 0);
}

// What the helper is given it does, and its owner gets the answer; in a forked child it is not there.
static void helper_thread(void)
{
    char from[4096], to[4096];
    snprintf(from, sizeof(from), "%s/helped", folder);
    snprintf(to, sizeof(to), "%s/helped-too", folder);
    struct ring *ring = made(8, 16, 0);
    uint32_t counts[8];
    CHECK(bun_uring_register_files(ring, 8) >= 0);
    CHECK(bun_uring_helper_start(ring, 0, 1) == -EAGAIN);
    CHECK(bun_uring_helper_start(ring, 1, 2) == 0 && bun_uring_helper_start(ring, 1, 2) == 0);
    struct ring *second = made(8, 16, 0);
    CHECK(bun_uring_helper_start(second, 1, 1) == -EAGAIN);
    CHECK(bun_uring_close(second, 100) == 0);
    for (int i = 0; i < 50; i++) {
        struct io_uring_sqe sqe = {
            .opcode = IORING_OP_MKDIRAT, .flags = SQE_HELPER, .fd = AT_FDCWD, .addr = (uintptr_t)from, .len = 0700};
        CHECK(run_one(ring, &sqe) == 0);
        CHECK(run_one(ring, &sqe) == -EEXIST);
        sqe = (struct io_uring_sqe){.opcode = IORING_OP_RENAMEAT, .flags = SQE_HELPER, .fd = AT_FDCWD,
                                    .addr = (uintptr_t)from, .addr2 = (uintptr_t)to, .len = (uint32_t)AT_FDCWD};
        CHECK(run_one(ring, &sqe) == 0);
        sqe = (struct io_uring_sqe){.opcode = LOCAL_ACCESS, .flags = SQE_HELPER, .addr = (uintptr_t)to, .len = W_OK};
        CHECK(run_one(ring, &sqe) == 1);
        sqe = (struct io_uring_sqe){.opcode = IORING_OP_UNLINKAT, .flags = SQE_HELPER, .fd = AT_FDCWD,
                                    .addr = (uintptr_t)to, .unlink_flags = AT_REMOVEDIR};
        CHECK(run_one(ring, &sqe) == 0);
    }
    for (int i = 0; i < 50; i++) {
        int32_t res = bun_uring_helper_call(ring, IORING_OP_MKDIRAT, from, NULL, 0700, 0);
        if (res == NOT_TAKEN) { // it has become slow
            CHECK(mkdir(from, 0700) == 0);
        } else if (res == PENDING) {
            bun_uring_helper_adopt(ring, 7, 0);
            struct io_uring_sqe nop = {.opcode = IORING_OP_NOP};
            for (res = 1; res != 0; usleep(100))
                if (bun_uring_tick(ring, &nop, 0, 0, 8) == 1)
                    res = ring->cqes[0].res;
        }
        res = bun_uring_helper_call(ring, IORING_OP_RENAMEAT, from, "/none/x", AT_FDCWD, 0);
        CHECK(res == NOT_TAKEN || res == -ENOENT || res == PENDING);
        if (res == PENDING) {
            bun_uring_helper_adopt(ring, 7, 0);
            while (bun_uring_tick(ring, NULL, 0, 0, 8) == 0)
                usleep(100);
        }
        CHECK(rmdir(from) == 0);
    }
    bun_uring_helper_counts(ring, counts);
    CHECK(counts[0] == 1 && counts[1] >= 250 && counts[4] == 0);
    const pid_t child = fork();
    if (child == 0) {
        bun_uring_helper_counts(ring, counts);
        CHECK(counts[0] == 0);
        CHECK(helper_stop(ring, 1000) == 0);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(bun_uring_close(ring, 1000) == 0 && __atomic_load_n(&helpers, __ATOMIC_SEQ_CST) == 0);
    // Without it, nobody runs what only it can do.
    ring = made(8, 16, 0);
    struct io_uring_sqe sqe = {.opcode = LOCAL_ACCESS, .flags = SQE_HELPER, .addr = (uintptr_t)folder};
    CHECK(run_one(ring, &sqe) == 0);
    CHECK(bun_uring_close(ring, 100) == 0);
}

// Ends with a read in the kernel, a bell and a region: the thread's destructor has to see to all.
static void *ends_early(void *unused)
{
    (void)unused;
    static int pipes[2];
    CHECK(pipe(pipes) == 0);
    struct ring *ring = made(8, 16, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
    made(8, 16, 0); // a second one on the same thread
    close(bun_uring_bell_open(ring));
    char *into = bun_uring_region_new(ring, 4096, 0, 0);
    struct io_uring_sqe sqe = {.opcode = IORING_OP_READ, .fd = pipes[0], .addr = (uintptr_t)into, .len = 4096};
    sqe.off = (uint64_t)-1;
    CHECK(bun_uring_tick(ring, &sqe, 0, 1, 8) == 0);
    bun_uring_arm(ring);
    CHECK(napi_register_module_v1(NULL, pipes) == pipes); // no hook without Bun
    end_operations(NULL);
    CHECK(ring->header[HEADER_IN_FLIGHT] == 0);
    return pipes;
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    folder = argv[1];
    set_up_and_restrict();
    regions();
    opens();
    ends_a_batch();
    transfers();
    doorbell();
    plain_calls();
    helper_thread();
    tree_jobs();
    pthread_t thread;
    void *pipes;
    CHECK(pthread_create(&thread, NULL, ends_early, NULL) == 0);
    CHECK(pthread_join(thread, &pipes) == 0);
    close(((int *)pipes)[0]);
    close(((int *)pipes)[1]);
    for (int fd = 3; fd < 64; fd++)
        if (fcntl(fd, F_GETFD) >= 0) {
            char link[64], target[256] = {0};
            snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
            if (readlink(link, target, sizeof(target) - 1) > 0 && strstr(target, "anon_inode"))
                CHECK(!"a ring or an eventfd is still open");
        }
    return 0;
}

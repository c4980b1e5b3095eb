// The native floor of bun-uring: what JavaScript cannot do by itself with an io_uring.
// Exported functions return -errno (or a count), keep no state outside the ring they are given and hold no
// policy: which flags, how many, when and whether is decided in TypeScript. A ring belongs to the thread that made it.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/openat2.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "portable.h"

#define EXPORT __attribute__((visibility("default")))

// Raised whenever a signature, struct or the shared header below changes; src/layout.ts holds the same number.
#define BUN_URING_ABI 6

// Of SQEs that no caller knows of: cancellations, and the timeouts that liburing submits on kernels before 5.11.
#define OWN_USER_DATA (~(uint64_t)0)

// Words of the header at the start of the memory shared with JavaScript; the CQE table follows it.
enum {
    HEADER_CONSUMED,  // SQEs taken from the staging area by the last tick
    HEADER_SQ_READY,  // SQEs that the kernel has not taken yet (submit failed): tick again
    HEADER_IN_FLIGHT, // SQEs given to the kernel whose CQE has not been copied out
    HEADER_ENTERS,    // io_uring_enter calls made so far
    HEADER_OVERFLOWS, // times the CQ was found overflown
    HEADER_REFUSAL,   // errno with which the last tick's submit failed; 0 if it did not, or had nothing to submit
    HEADER_HELPER,    // 1 while the ring has a helper thread, 2 more if the processors are contended for, 4 if it has all
    HEADER_BYTES = 64
};

// What a JavaScript ArrayBuffer over a part of a region holds it by; goes where the ArrayBuffer goes, also to another thread.
struct share {
    struct region *region;
    uint32_t held; // 1 from when the ArrayBuffer is made until its memory is let go
};

// One mapping owned by the shim; it outlives the JavaScript heap so that the kernel may write late. It is unmapped when
// the last of its holders has let go: the ring (until no operation in the kernel can use it), and each share that is held.
struct region {
    struct region *next; // of its ring
    void *address;
    size_t length;
    uint32_t holders;
    uint32_t share_count;
    struct share shares[];
};

enum { SPARE_WAKES = 4 };

struct ring {
    struct ring *next; // the rings of this thread
    struct io_uring uring;
    struct io_uring bell; // a plain ring: turns the eventfd's signal into a byte on a socket
    struct region *regions;
    uint32_t *header;
    struct io_uring_cqe *cqes;
    size_t shared_length;
    uint32_t cqe_capacity;
    int eventfd;
    int bell_socket;
    int bell_watched;    // the other end, which Bun owns, and its inode
    ino_t bell_inode;
    int mounts;     // /proc/self/mountinfo, polled for changes
    uint64_t *running; // user_data of the SQEs in the kernel, where it can only cancel one by one; else NULL
    uint32_t running_count;
    uint64_t *opens; // hash set of ~user_data: SQEs in the kernel that open a descriptor which somebody has to own
    uint32_t opens_capacity, opens_count;
    int waited;       // cancel_all has run: what has not ended by then is not waited for again
    int stuck;        // and the helper thread has not
    int bell_ready;   // the bell ring exists
    int bell_pending; // CQEs that the bell ring still owes
    struct job *jobs; // on helper threads, see trees.h
    int spare_wake[SPARE_WAKES], spare_wakes; // eventfds of jobs that have ended
    int enabled;
    uint64_t event_count; // written by the bell's READ
    struct helper *helper;
#ifdef BUN_URING_FAULT
    struct faults *faults;
#endif
};

enum { OP_FIXED_FD_INSTALL = 54, OP_FTRUNCATE = 55 }; // newer than liburing 2.3's header

static int real_path_of(int fd, char *into, uint32_t length);

// Notes an SQE that goes to the kernel where that can only cancel one by one.
static inline void remember_running(struct ring *ring, uint64_t user_data)
{
    if (ring->running && ring->running_count < ring->cqe_capacity)
        ring->running[ring->running_count++] = user_data;
}

#include "fault-hooks.h"
#include "helper.h"
#include "sandbox.h"

// What create tells JavaScript; addresses are split so that no BigInt is made.
struct ring_info {
    uint32_t ring_low, ring_high;
    uint32_t shared_low, shared_high;
    uint32_t shared_length;
    uint32_t sq_entries, cq_entries;
    uint32_t features;
    uint32_t release_low, release_high; // address of region_release, the finalizer of ArrayBuffers over regions
};

// What copies give folders: the mode (unless NO_MODE) and both times.
struct attributes {
    int64_t access_seconds, modification_seconds;
    uint32_t access_nanoseconds, modification_nanoseconds;
    uint32_t mode;
};

static void close_thread_rings(void *first);
static void release_locks(void *locks);

// The only variables of the library besides the count of helpers: written once, before any other code of it can run.
static pthread_key_t thread_rings, thread_locks;

__attribute__((constructor)) static void create_thread_keys(void)
{
    pthread_key_create(&thread_rings, close_thread_rings);
    pthread_key_create(&thread_locks, release_locks);
}

static void split(uint64_t value, uint32_t *low, uint32_t *high)
{
    *low = (uint32_t)value;
    *high = (uint32_t)(value >> 32);
}

/* ---- what src/layout.ts checks ------------------------------------------------------------------------------ */

EXPORT int32_t bun_uring_abi(void)
{
    return BUN_URING_ABI;
}

// Sizes and offsets, in the order of LAYOUT in src/layout.ts. Returns how many there are.
EXPORT int32_t bun_uring_layout(uint32_t *out, uint32_t capacity)
{
    const uint32_t values[] = {
        sizeof(struct io_uring_sqe),
        offsetof(struct io_uring_sqe, opcode),
        offsetof(struct io_uring_sqe, flags),
        offsetof(struct io_uring_sqe, ioprio),
        offsetof(struct io_uring_sqe, fd),
        offsetof(struct io_uring_sqe, off),
        offsetof(struct io_uring_sqe, addr),
        offsetof(struct io_uring_sqe, len),
        offsetof(struct io_uring_sqe, rw_flags),
        offsetof(struct io_uring_sqe, user_data),
        offsetof(struct io_uring_sqe, buf_index),
        offsetof(struct io_uring_sqe, personality),
        offsetof(struct io_uring_sqe, file_index),
        offsetof(struct io_uring_sqe, addr3),
        sizeof(struct io_uring_cqe),
        offsetof(struct io_uring_cqe, user_data),
        offsetof(struct io_uring_cqe, res),
        offsetof(struct io_uring_cqe, flags),
        sizeof(struct statx),
        offsetof(struct statx, stx_size),
        offsetof(struct statx, stx_atime),
        offsetof(struct statx, stx_dev_major),
        sizeof(struct ring_info),
        sizeof(struct attributes),
        offsetof(struct attributes, mode),
        HEADER_BYTES,
    };
    const uint32_t count = sizeof(values) / sizeof(values[0]);
    memcpy(out, values, sizeof(uint32_t) * (capacity < count ? capacity : count));
    return (int32_t)count;
}

#include "trees.h"

/* ---- regions: page-aligned memory ---------------------------------------------------------------------------- */

static void region_drop(struct region *region)
{
    if (__atomic_sub_fetch(&region->holders, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    munmap(region->address, region->length);
    free(region);
}

// Maps `length` bytes of zeroed, page-aligned memory, held by the ring until region_free or the end of the ring.
// huge: ask for transparent huge pages. shares: how many ArrayBuffers may hold parts of it. Returns the address, or NULL.
EXPORT void *bun_uring_region_new(struct ring *ring, double length, int32_t huge, uint32_t shares)
{
    struct region *region = calloc(1, sizeof(*region) + shares * sizeof(struct share));
    if (!region)
        return NULL;
    region->length = (size_t)length;
    region->address =
        mmap(NULL, region->length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region->address == MAP_FAILED) {
        free(region);
        return NULL;
    }
    if (huge)
        madvise(region->address, region->length, MADV_HUGEPAGE);
    madvise(region->address, region->length, MADV_DONTFORK);
    region->holders = 1;
    region->share_count = shares;
    for (uint32_t i = 0; i < shares; i++)
        region->shares[i].region = region;
    region->next = ring->regions;
    ring->regions = region;
    return region->address;
}

// The region at this address, for region_share and region_held; NULL if the ring has none there.
EXPORT struct region *bun_uring_region_at(struct ring *ring, const void *address)
{
    for (struct region *region = ring->regions; region; region = region->next)
        if (region->address == address)
            return region;
    return NULL;
}

// Makes share `index` a holder of the region. Returns it: the context of region_release, which is the finalizer of the
// ArrayBuffer. NULL if it is held already. The caller holds the region by the ring or by another share.
EXPORT struct share *bun_uring_region_share(struct region *region, uint32_t index)
{
    if (index >= region->share_count || __atomic_exchange_n(&region->shares[index].held, 1, __ATOMIC_ACQ_REL))
        return NULL;
    __atomic_add_fetch(&region->holders, 1, __ATOMIC_RELAXED);
    return &region->shares[index];
}

// Whether share `index` is held. The caller holds the region by the ring or by another share.
EXPORT int32_t bun_uring_region_held(struct region *region, uint32_t index)
{
    return index < region->share_count && __atomic_load_n(&region->shares[index].held, __ATOMIC_ACQUIRE);
}

// The ring lets the region go. The caller knows that no operation in the kernel uses it.
EXPORT int32_t bun_uring_region_free(struct ring *ring, void *address)
{
    for (struct region **link = &ring->regions; *link; link = &(*link)->next) {
        struct region *region = *link;
        if (region->address != address)
            continue;
        *link = region->next;
        region_drop(region);
        return 0;
    }
    return -EINVAL;
}

// The finalizer of ArrayBuffers over a region, on whatever thread has them by then.
static void region_release(void *bytes, void *context)
{
    (void)bytes;
    struct share *share = context;
    struct region *region = share->region;
    __atomic_store_n(&share->held, 0, __ATOMIC_RELEASE);
    region_drop(region);
}

/* ---- set-up ---------------------------------------------------------------------------------------------------- */

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

/* ---- submit and reap ------------------------------------------------------------------------------------------- */

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
    for (uint32_t i = 0; i < ready && ring->opens_count; i++)
        if (forget_open(ring, ring->cqes[i].user_data) && discarded && ring->cqes[i].res >= 0)
            close(ring->cqes[i].res);
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

/* ---- the doorbell ---------------------------------------------------------------------------------------------- */

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

/* ---- calls that cannot block, where a ring operation would go to a thread --------------------------------------- */

enum { SYS_CACHESTAT = 451 }; // newer than the oldest headers that this builds with; the same on all architectures
enum { STAT_NO_FOLLOW = 1, STAT_DONT_SYNC = 2 };

// What a refused cached look-up says. That the kernel (before 5.12) or a sandbox does not have the call says nothing of the
// path, and O_NOATIME's EPERM comes again from the ring.
static int32_t cached_refusal(int error)
{
    return error == EINVAL || error == ENOSYS || error == EPERM ? -EAGAIN : -error;
}

// statx of a path whose every component is in the dentry cache: never waits for a disk or a server's lookup.
// Returns 0, -EAGAIN where the cache does not have it (use the ring), or the path's own -errno.
EXPORT int32_t bun_uring_stat_cached(const char *path, uint32_t flags, struct statx *out)
{
    const int no_follow = flags & STAT_NO_FOLLOW;
    const int at_flags = AT_EMPTY_PATH | (flags & STAT_DONT_SYNC ? AT_STATX_DONT_SYNC : 0);
    struct open_how how = {
        .flags = (uint64_t)(O_PATH | O_CLOEXEC | (no_follow ? O_NOFOLLOW : 0)),
        .resolve = RESOLVE_CACHED,
    };
    const int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
    if (fd < 0)
        return cached_refusal(errno);
    const int rc = statx(fd, "", at_flags, STATX_BASIC_STATS | STATX_BTIME, out) ? cached_refusal(errno) : 0;
    close(fd);
    return rc;
}

// access(2) of a path whose every component is in the dentry cache. With a mode, only of a file that is `user`'s own or
// gives its group nothing: of others the kernel may have to read an access control list.
// Returns what access says, or -EAGAIN.
EXPORT int32_t bun_uring_access_cached(const char *path, int32_t mode, uint32_t user)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_CACHED};
    const int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
    if (fd < 0 && cached_refusal(errno) == -EAGAIN)
        return -EAGAIN;
    struct stat stat = {0};
    const int unknown = fd >= 0 && mode != F_OK && (fstat(fd, &stat) || (stat.st_uid != user && (stat.st_mode & S_IRWXG)));
    if (fd >= 0)
        close(fd);
    if (unknown)
        return -EAGAIN;
    return access(path, mode) ? -errno : 0; // by the path again: it is the process's real user who asks
}

// The path of an open file, without links, as the kernel tells it; closes the file. Returns its length, -errno of the open
// that gave no file, or -EAGAIN where there is no telling.
static int real_path_of(int fd, char *into, uint32_t length)
{
    if (fd < 0)
        return -errno;
    char link[40] = "/proc/self/fd/";
    int digits = 1;
    for (int rest = fd / 10; rest > 0; rest /= 10)
        digits++;
    for (int rest = fd, i = digits; i > 0; rest /= 10) // snprintf would link to a libc's checked one
        link[14 + --i] = (char)('0' + rest % 10);
    const ssize_t n = readlink(link, into, length);
    close(fd);
    static const char gone[] = " (deleted)";
    const ssize_t tail = sizeof(gone) - 1;
    const int lost = n <= 0 || (uint32_t)n == length || into[0] != '/' || (n > tail && !memcmp(into + n - tail, gone, tail));
    return lost ? -EAGAIN : (int)n;
}

// realpath of a path whose every component is in the dentry cache. Returns its length, or -EAGAIN also for what fails.
EXPORT int32_t bun_uring_realpath_cached(const char *path, void *into, uint32_t capacity)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_CACHED};
    const int n = real_path_of((int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how)), into, capacity);
    return n < 0 ? -EAGAIN : n;
}

// Where read_cached leaves a file that it opened but did not read.
struct opened {
    int32_t fd;
    uint32_t mode;
    uint32_t size_low, size_high;
};

// Reads up to `length` bytes that are in the page cache. By position, so that nothing is taken from a FIFO or terminal:
// those say ESPIPE. Returns what it has got; *end is set if the file ended there.
static uint32_t read_now(int fd, char *into, uint32_t length, int *end)
{
    uint32_t done = 0;
    while (done < length) {
        struct iovec iov = {.iov_base = into + done, .iov_len = length - done};
        const ssize_t n = preadv2(fd, &iov, 1, done, RWF_NOWAIT);
        *end = n == 0;
        if (n <= 0)
            break;
        done += (uint32_t)n;
    }
    return done;
}

// Reads a whole small regular file that is in the dentry and page caches, without waiting for anything.
// Returns its length; -EAGAIN where nothing was done (use the ring); -EINPROGRESS where the file is open in out->fd but
// has to be read otherwise (not regular, not smaller than `capacity`, not cached); or what open said.
EXPORT int32_t bun_uring_read_cached(const char *path, int32_t flags, void *into, uint32_t capacity, struct opened *out)
{
    // O_NONBLOCK, so that a FIFO or device in this place can't hold the thread.
    struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC | O_NONBLOCK), .resolve = RESOLVE_CACHED};
    const int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
    if (fd < 0)
        return cached_refusal(errno);
    struct stat stat = {0};
    fstat(fd, &stat);
    if (S_ISREG(stat.st_mode) && stat.st_size < capacity) {
        // A file of /proc says 0 and has more: only a read of 0 bytes proves the end there.
        const int sized = stat.st_size > 0;
        const uint32_t wanted = sized ? (uint32_t)stat.st_size : capacity;
        int end = 0;
        const uint32_t done = read_now(fd, into, wanted, &end);
        if (end || (sized && done == wanted)) {
            close(fd);
            return (int32_t)done;
        }
    }
    fcntl(fd, F_SETFL, flags & (O_NONBLOCK | O_NOATIME));
    out->fd = fd;
    out->mode = stat.st_mode;
    split((uint64_t)stat.st_size, &out->size_low, &out->size_high);
    return -EINPROGRESS;
}

// Reads the `length` bytes that an open regular file has, if all of them are in the page cache, and closes it. Returns
// `length`, or less: then the file is still open, and what was read is to be read again.
EXPORT int32_t bun_uring_read_opened(int32_t fd, void *into, uint32_t length)
{
    int end = 0;
    const uint32_t done = read_now(fd, into, length, &end);
    if (done == length)
        close(fd);
    return (int32_t)done;
}

// statx of an open file. dont_sync: what the kernel knows already (never asks a file server).
EXPORT int32_t bun_uring_fstat(int32_t fd, int32_t dont_sync, struct statx *out)
{
    const int flags = AT_EMPTY_PATH | (dont_sync ? AT_STATX_DONT_SYNC : 0);
    return statx(fd, "", flags, STATX_BASIC_STATS | STATX_BTIME, out) ? -errno : 0;
}

// lseek for SEEK_DATA (3) and SEEK_HOLE (4), which have no opcode; a double holds every offset below 2^53 exactly.
EXPORT double bun_uring_seek(int32_t fd, double offset, int32_t whence)
{
    const off_t found = lseek(fd, (off_t)offset, whence);
    return found < 0 ? -errno : (double)found;
}

// What linux/fs.h has as struct procmap_query since 6.11.
struct mapping_query {
    uint64_t size, flags, address;
    uint64_t start, end, vma_flags, page_size, offset, inode;
    uint32_t device_major, device_minor, name_size, build_id_size;
    uint64_t name_address, build_id_address;
};

// Whether a range of memory is anonymous: a file's can be gone when it is touched. Returns 1 or 0, or -errno where the kernel can't
// be asked (before 6.11).
EXPORT int32_t bun_uring_is_anonymous(const void *address, double length)
{
    struct mapping_query query = {.size = sizeof(query), .address = (uintptr_t)address};
    const int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    const int rc = syscall(SYS_ioctl, fd, _IOWR('f', 17, struct mapping_query), &query) ? -errno : 0;
    close(fd);
    return rc < 0 ? rc : query.inode == 0 && query.start <= query.address && query.address + (uint64_t)length <= query.end;
}

// memcpy that says how far it came, or -EFAULT at once, where memory turns out not to be there: a mapping of a file that was
// cut. Where the kernel does not copy between processes (seccomp, its configuration), by way of a file in memory.
EXPORT double bun_uring_copy(void *to, const void *from, double length)
{
    const size_t wanted = (size_t)length;
    const struct iovec here = {.iov_base = to, .iov_len = wanted};
    const struct iovec there = {.iov_base = (void *)from, .iov_len = wanted};
    ssize_t copied = process_vm_readv(getpid(), &here, 1, &there, 1, 0);
    if (copied >= 0 || errno == EFAULT)
        return copied < 0 ? -EFAULT : (double)copied;
    const int fd = (int)syscall(SYS_memfd_create, "bun-uring", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    copied = write(fd, from, wanted);
    if (copied > 0)
        copied = pread(fd, to, (size_t)copied, 0);
    const int failed = errno;
    close(fd);
    return copied < 0 ? -failed : (double)copied;
}

// Moves a file's own position by the bytes of a transfer that then goes there by its offset. Returns where they begin, or
// -errno; *claimed is how many they are. A read claims what a regular file has left, and nothing of what has no size: -1
// then says that a file is empty, or made as it is read (/proc).
EXPORT double bun_uring_claim(int32_t fd, double length, int32_t of_read, double *claimed)
{
    off_t wanted = (off_t)length;
    bool sizeless = false;
    *claimed = 0;
    if (of_read) {
        struct statx stx;
        const off_t at = lseek(fd, 0, SEEK_CUR);
        if (at < 0 || statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_SIZE, &stx))
            return -errno;
        const off_t left = S_ISREG(stx.stx_mode) && (off_t)stx.stx_size > at ? (off_t)stx.stx_size - at : 0;
        if (left < wanted)
            wanted = left;
        sizeless = S_ISREG(stx.stx_mode) && stx.stx_size == 0;
    }
    const off_t end = lseek(fd, wanted, SEEK_CUR);
    if (end >= wanted) {
        *claimed = sizeless ? -1 : (double)wanted;
        return (double)(end - wanted);
    }
    const off_t at = lseek(fd, 0, SEEK_CUR); // a device that has no positions, or one beyond the largest
    return at < 0 ? -errno : (double)at;
}

#define NO_MODE 0xffffffffu

// fchmod (unless NO_MODE) and futimens of an open file or folder have no opcode either. On local file systems a few microseconds.
EXPORT int32_t bun_uring_set_attributes(int32_t fd, const struct attributes *a)
{
    const struct timespec times[2] = {
        {.tv_sec = a->access_seconds, .tv_nsec = a->access_nanoseconds},
        {.tv_sec = a->modification_seconds, .tv_nsec = a->modification_nanoseconds},
    };
    return (a->mode != NO_MODE && fchmod(fd, a->mode)) || futimens(fd, times) ? -errno : 0;
}

// Names of the extended attributes of a path (NULL: of fd), each with its NUL. Returns their bytes, or -errno; with a
// capacity of 0 the bytes there are. No opcode does this; it may wait for a disk, so never call it for a file server.
EXPORT int32_t bun_uring_list_xattr(const char *path, int32_t fd, void *out, uint32_t capacity)
{
    const ssize_t length = path ? listxattr(path, out, capacity) : flistxattr(fd, out, capacity);
    return length < 0 ? -errno : (int32_t)length;
}

// Removes an extended attribute of a path (NULL: of fd). Under the same conditions.
EXPORT int32_t bun_uring_remove_xattr(const char *path, int32_t fd, const char *name)
{
    return (path ? removexattr(path, name) : fremovexattr(fd, name)) ? -errno : 0;
}

// Which attributes of a file are its user's, so that one that takes its place is to have them: not those of file systems, nor
// capabilities and hashes, which belong to the bytes.
static int is_users_attribute(const char *name)
{
    return !strncmp(name, "user.", 5) || !strcmp(name, "security.selinux") || !strncmp(name, "security.SMACK64", 16);
}

#define ACCESS_LIST "system.posix_acl_access"

// The group's permissions that an access control list leaves it, as the kernel stores lists: a version, then entries of tag,
// permissions and id. Mode bits show the mask in their place.
static int32_t group_permissions(const uint8_t *list, ssize_t length)
{
    enum { GROUP = 0x04, MASK = 0x10 };
    int32_t group = 0, mask = 7;
    for (ssize_t at = 4; at + 8 <= length; at += 8) {
        const int tag = list[at] | list[at + 1] << 8;
        if (tag == GROUP)
            group = list[at + 2] & 7;
        else if (tag == MASK)
            mask = list[at + 2] & 7;
    }
    return group & mask;
}

// Gives an open file the extended attributes of the file at a path (no link), and its access control list: none, if it has
// none. What is not allowed is left out. Returns 0; where the list is left out 8 and the group's permissions in it; or -errno.
// Under the same conditions.
EXPORT int32_t bun_uring_copy_xattrs(const char *path, int32_t fd)
{
    enum { CAPACITY = 65536 };
    char *names = malloc(2 * CAPACITY);
    if (!names)
        return -ENOMEM;
    char *value = names + CAPACITY;
    int32_t result = 0;
    int has_list = 0;
    const ssize_t length = llistxattr(path, names, CAPACITY);
    for (const char *name = names; length > 0 && name < names + length && result >= 0; name += strlen(name) + 1) {
        const int is_list = !strcmp(name, ACCESS_LIST);
        if (!is_list && !is_users_attribute(name))
            continue;
        const ssize_t got = lgetxattr(path, name, value, CAPACITY);
        if (got < 0)
            continue; // gone meanwhile, or not for everybody to read
        has_list |= is_list;
        if (!fsetxattr(fd, name, value, got, 0))
            continue;
        if (errno != EPERM && errno != EACCES && errno != EOPNOTSUPP && errno != EINVAL)
            result = -errno;
        else if (is_list)
            result = 8 | group_permissions((const uint8_t *)value, got);
    }
    // From the folder's default list.
    if (!has_list && result >= 0 && fgetxattr(fd, ACCESS_LIST, NULL, 0) > 0 && fremovexattr(fd, ACCESS_LIST))
        result = -errno;
    free(names);
    return result;
}

// Whether an open file has positions: 0, or -ESPIPE for pipes, sockets and terminals.
EXPORT int32_t bun_uring_seekable(int32_t fd)
{
    return lseek(fd, 0, SEEK_CUR) < 0 ? -errno : 0;
}

// Whether the mounts may have changed since the last look: 1 at the first, -errno where there is no /proc.
// The descriptor is the ring's and goes with it, also when a Worker is terminated.
EXPORT int32_t bun_uring_mounts_changed(struct ring *ring)
{
    if (ring->mounts < 0) {
        ring->mounts = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
        return ring->mounts < 0 ? -errno : 1;
    }
    struct pollfd entry = {.fd = ring->mounts, .events = POLLPRI};
    return poll(&entry, 1, 0) > 0 && (entry.revents & (POLLPRI | POLLERR));
}

/* ---- files beneath a root, and what is cached of them ------------------------------------------------------------ */

// openat2(2) with RESOLVE_ flags, as a plain call: for look-ups that can't block (RESOLVE_CACHED), and where there is no
// ring. Returns the descriptor or -errno.
EXPORT int32_t bun_uring_open_beneath(int32_t dir, const char *path, int32_t flags, uint32_t mode, uint32_t resolve)
{
    struct open_how how = {.flags = (uint32_t)flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
    const int fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
    return fd < 0 ? -errno : fd;
}

// statx of an open file into `out` and, if it is a regular one of at most `capacity` bytes, all of its bytes into `into`,
// if they are in the page cache. Returns how many, -EAGAIN where not all of them could be had without waiting (or none
// was asked for), or statx's -errno. *out is written in any case but the last.
EXPORT int32_t bun_uring_look(int32_t fd, struct statx *out, void *into, uint32_t capacity)
{
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, out))
        return -errno;
    if (!S_ISREG(out->stx_mode) || out->stx_size > capacity)
        return -EAGAIN;
    int end = 0;
    const uint32_t done = read_now(fd, into, (uint32_t)out->stx_size, &end);
    return done == out->stx_size ? (int32_t)done : -EAGAIN;
}

// Reads what is in the page cache from `offset` on, without waiting. Returns the bytes, which may be none.
EXPORT int32_t bun_uring_read_now(int32_t fd, void *into, uint32_t length, double offset)
{
    const struct iovec iov = {.iov_base = into, .iov_len = length};
    const ssize_t n = preadv2(fd, &iov, 1, (off_t)offset, RWF_NOWAIT);
    return n < 0 ? -errno : (int32_t)n;
}

// Writes what a buffered write can without waiting. Returns the bytes, 0 where it would wait for the device all the same
// (O_DSYNC, O_SYNC), -EAGAIN, or what else the file system says to that.
EXPORT int32_t bun_uring_write_now(int32_t fd, const void *from, uint32_t length, double offset)
{
    if (fcntl(fd, F_GETFL) & O_DSYNC)
        return 0;
    const struct iovec iov = {.iov_base = (void *)(uintptr_t)from, .iov_len = length};
    const ssize_t n = pwritev2(fd, &iov, 1, (off_t)offset, RWF_NOWAIT);
    return n < 0 ? -errno : (int32_t)n;
}

/* ---- locks ----------------------------------------------------------------------------------------------------- */

// Files that a Worker has locked. Their descriptors stay open when it is terminated, and the locks would stay with them.
struct locks {
    uint32_t count, capacity;
    int32_t fds[];
};

// A descriptor is to be closed, or its lock is let go.
EXPORT int32_t bun_uring_forget_lock(int32_t fd)
{
    struct locks *locks = pthread_getspecific(thread_locks);
    for (uint32_t i = 0; locks && i < locks->count; i++)
        if (locks->fds[i] == fd) {
            locks->fds[i] = locks->fds[--locks->count];
            return 1;
        }
    return 0;
}

static void note_lock(int32_t fd)
{
    if (getpid() == (pid_t)syscall(SYS_gettid))
        return; // the main thread ends with the process
    bun_uring_forget_lock(fd);
    struct locks *locks = pthread_getspecific(thread_locks);
    if (!locks || locks->count == locks->capacity) {
        const uint32_t capacity = locks ? 2 * locks->capacity : 8;
        struct locks *grown = realloc(locks, sizeof(*locks) + capacity * sizeof(int32_t));
        if (!grown)
            return;
        if (!locks)
            grown->count = 0;
        grown->capacity = capacity;
        locks = grown;
        pthread_setspecific(thread_locks, locks);
    }
    locks->fds[locks->count++] = fd;
}

// When a thread ends.
static void release_locks(void *held)
{
    struct locks *locks = held;
    for (uint32_t i = 0; locks && i < locks->count; i++)
        flock(locks->fds[i], LOCK_UN);
    free(locks);
}

// flock(2); `operation` without LOCK_NB waits. Returns 0 or -errno. There is no opcode for it. A Worker's lock ends with it.
EXPORT int32_t bun_uring_flock(int32_t fd, int32_t operation)
{
    if (flock(fd, operation))
        return -errno;
    if (operation & LOCK_UN)
        bun_uring_forget_lock(fd);
    else
        note_lock(fd);
    return 0;
}

// Pages of a range that are in the page cache: cachestat(2), Linux 6.5. Some 4 µs a MiB. Returns -ENOSYS where it is not.
EXPORT int32_t bun_uring_cached_pages(int32_t fd, double offset, double length)
{
    const struct {
        uint64_t offset, length;
    } range = {(uint64_t)offset, (uint64_t)length};
    struct {
        uint64_t cached, dirty, writeback, evicted, recently_evicted;
    } counts;
    return syscall(SYS_CACHESTAT, fd, &range, &counts, 0) ? -errno : (int32_t)counts.cached;
}

/* ---- the end --------------------------------------------------------------------------------------------------- */

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

/* ---- the end of a Worker ---------------------------------------------------------------------------------------- */

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
    release_locks(pthread_getspecific(thread_locks));
    pthread_setspecific(thread_locks, NULL);
}

// Called by process.dlopen, which is how an environment's end can be heard of.
EXPORT void *napi_register_module_v1(napi_env env, void *exports)
{
    if (napi_add_env_cleanup_hook)
        napi_add_env_cleanup_hook(env, end_operations, NULL);
    return exports;
}

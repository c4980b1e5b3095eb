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

// Raised whenever a signature, struct or the shared header below changes; src/kernel/abi.ts holds the same number.
#define BUN_URING_ABI 7

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
    int of_worker; // its thread may be ended at any point of its JavaScript
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
static void release_files(void *files);
static void hold_for_worker(const struct ring *ring, int32_t fd);

// The only variables of the library besides the count of helpers: written once, before any other code of it can run.
static pthread_key_t thread_rings, thread_files;

__attribute__((constructor)) static void create_thread_keys(void)
{
    pthread_key_create(&thread_rings, close_thread_rings);
    pthread_key_create(&thread_files, release_files);
}

static void split(uint64_t value, uint32_t *low, uint32_t *high)
{
    *low = (uint32_t)value;
    *high = (uint32_t)(value >> 32);
}

/* ---- what src/kernel/abi.ts checks ------------------------------------------------------------------------------------- */

EXPORT int32_t bun_uring_abi(void)
{
    return BUN_URING_ABI;
}

// Sizes and offsets, in the order of LAYOUT in src/kernel/abi.ts. Returns how many there are.
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
#include "regions.h"
#include "setup.h"
#include "submit.h"
#include "doorbell.h"
#include "plain-calls.h"
#include "held-files.h"
#include "closing.h"

// The ceilings: the same work as the benches of bench/workloads, in C. On liburing, with the ring flags that the package
// uses; the names that end in -sys do it with plain blocking system calls instead.
//
// usage: ceiling WORKLOAD FOLDER DEPTH
// Then every line "MILLISECONDS" on stdin is one round, answered by one JSON line on stdout.
// Assumes the files that the workload's setup made. Any failed operation ends the program: a ceiling of errors is none.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, LARGE_BLOCK = 128 * 1024, SMALL_FILES = 10000, MAX_DEPTH = 256 };

struct bench {
  struct io_uring ring;
  const struct workload *workload;
  const char *folder;
  unsigned depth;
  int fd;
  uint64_t blocks;  // of workload->block bytes in the file
  uint64_t random;
  char *memory;                 // one block per lane
  char paths[MAX_DEPTH][4096];  // one path per lane, alive until its operation is done
  struct statx stats[MAX_DEPTH];
};

struct workload {
  const char *name;
  const char *file;  // below the folder; opened once, with the flags that follow
  int flags;
  unsigned block;  // bytes per operation, for MB/s
  bool registered;
  void (*stage)(struct bench *, unsigned lane);  // puts one operation of this lane into the submission queue
  void (*call)(struct bench *);                  // or does one at once
  int expected;                                  // result of the operation's last completion
};

static void die(const char *what, int error) {
  fprintf(stderr, "ceiling: %s: %s\n", what, strerror(error < 0 ? -error : error));
  exit(1);
}

static uint64_t next_random(struct bench *b) {
  b->random ^= b->random << 13;
  b->random ^= b->random >> 7;
  b->random ^= b->random << 17;
  return b->random;
}

static uint64_t random_offset(struct bench *b) { return next_random(b) % b->blocks * b->workload->block; }

static char *lane_memory(struct bench *b, unsigned lane) { return b->memory + (size_t)lane * b->workload->block * 2; }

static const char *small_path(struct bench *b, unsigned lane) {
  snprintf(b->paths[lane], sizeof b->paths[lane], "%s/small/%u", b->folder, (unsigned)(next_random(b) % SMALL_FILES));
  return b->paths[lane];
}

// Every SQE of an operation carries its lane; the last one also this bit, and only its completion counts.
#define LAST (1ull << 32)

static struct io_uring_sqe *sqe_of(struct bench *b) {
  struct io_uring_sqe *sqe = io_uring_get_sqe(&b->ring);
  if (!sqe) die("the submission queue is full", EBUSY);
  return sqe;
}

static void stage_read(struct bench *b, unsigned lane) {
  struct io_uring_sqe *sqe = sqe_of(b);
  io_uring_prep_read(sqe, b->fd, lane_memory(b, lane), BLOCK, random_offset(b));
  io_uring_sqe_set_data64(sqe, lane | LAST);
}

static void stage_read_fixed(struct bench *b, unsigned lane) {
  struct io_uring_sqe *sqe = sqe_of(b);
  io_uring_prep_read_fixed(sqe, 0, lane_memory(b, lane), b->workload->block, random_offset(b), (int)lane);
  sqe->flags |= IOSQE_FIXED_FILE;
  io_uring_sqe_set_data64(sqe, lane | LAST);
}

static void stage_write(struct bench *b, unsigned lane) {
  struct io_uring_sqe *sqe = sqe_of(b);
  io_uring_prep_write(sqe, b->fd, lane_memory(b, lane), BLOCK, random_offset(b));
  io_uring_sqe_set_data64(sqe, lane | LAST);
}

// Open into a direct descriptor, read, close: one chain, one system call. The read asks for more than the file has, so
// that its short result is the end of the file; hard links go on after a short read.
static void stage_small_read(struct bench *b, unsigned lane) {
  struct io_uring_sqe *sqe = sqe_of(b);
  io_uring_prep_openat_direct(sqe, AT_FDCWD, small_path(b, lane), O_RDONLY, 0, lane);
  sqe->flags |= IOSQE_IO_LINK;
  io_uring_sqe_set_data64(sqe, lane);
  sqe = sqe_of(b);
  io_uring_prep_read(sqe, (int)lane, lane_memory(b, lane), BLOCK * 2, 0);
  sqe->flags |= IOSQE_FIXED_FILE | IOSQE_IO_HARDLINK;
  io_uring_sqe_set_data64(sqe, lane);
  sqe = sqe_of(b);
  io_uring_prep_close_direct(sqe, lane);
  io_uring_sqe_set_data64(sqe, lane | LAST);
}

static void stage_open_close(struct bench *b, unsigned lane) {
  struct io_uring_sqe *sqe = sqe_of(b);
  io_uring_prep_openat_direct(sqe, AT_FDCWD, small_path(b, lane), O_RDONLY, 0, lane);
  sqe->flags |= IOSQE_IO_LINK;
  io_uring_sqe_set_data64(sqe, lane);
  sqe = sqe_of(b);
  io_uring_prep_close_direct(sqe, lane);
  io_uring_sqe_set_data64(sqe, lane | LAST);
}

static void stage_statx(struct bench *b, unsigned lane) {
  struct io_uring_sqe *sqe = sqe_of(b);
  io_uring_prep_statx(sqe, AT_FDCWD, small_path(b, lane), 0, STATX_BASIC_STATS | STATX_BTIME, &b->stats[lane]);
  io_uring_sqe_set_data64(sqe, lane | LAST);
}

static void call_read(struct bench *b) {
  if (pread(b->fd, b->memory, BLOCK, (off_t)random_offset(b)) != BLOCK) die("pread", errno);
}

static void call_write(struct bench *b) {
  if (pwrite(b->fd, b->memory, BLOCK, (off_t)random_offset(b)) != BLOCK) die("pwrite", errno);
}

static int open_small(struct bench *b) {
  int fd = open(small_path(b, 0), O_RDONLY | O_CLOEXEC);
  if (fd < 0) die("open", errno);
  return fd;
}

static void call_small_read(struct bench *b) {
  int fd = open_small(b);
  if (read(fd, b->memory, BLOCK * 2) != BLOCK) die("read", errno);
  close(fd);
}

static void call_open_close(struct bench *b) { close(open_small(b)); }

static void call_statx(struct bench *b) {
  if (statx(AT_FDCWD, small_path(b, 0), 0, STATX_BASIC_STATS | STATX_BTIME, b->stats)) die("statx", errno);
}

// A gigabyte from one place in memory to another, both there already and larger than the processor's caches: the
// bandwidth that no way to read a file can pass.
static void call_memory_copy(struct bench *b) {
  const size_t area = 256ul << 20, total = 1ul << 30;
  static char *from, *to;
  (void)b;
  if (!from) {
    const int mapping = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
    from = mmap(NULL, area, PROT_READ | PROT_WRITE, mapping, -1, 0);
    to = mmap(NULL, area, PROT_READ | PROT_WRITE, mapping, -1, 0);
    if (from == MAP_FAILED || to == MAP_FAILED) die("mmap", errno);
    memset(from, 1, area);
  }
  for (size_t copied = 0; copied < total; copied += area) memcpy(to, from, area);
}

static const struct workload workloads[] = {
    {"read-cached", "cached.bin", O_RDONLY, BLOCK, false, stage_read, NULL, BLOCK},
    {"read-cached-sys", "cached.bin", O_RDONLY, BLOCK, false, NULL, call_read, 0},
    {"read-direct", "direct.bin", O_RDONLY | O_DIRECT, BLOCK, false, stage_read, NULL, BLOCK},
    {"read-direct-large", "direct.bin", O_RDONLY | O_DIRECT, LARGE_BLOCK, true, stage_read_fixed, NULL, LARGE_BLOCK},
    {"small-read", NULL, 0, BLOCK, false, stage_small_read, NULL, 0},
    {"small-read-sys", NULL, 0, BLOCK, false, NULL, call_small_read, 0},
    {"memory-copy", NULL, 0, 0, false, NULL, call_memory_copy, 0},
    {"open-close", NULL, 0, 0, false, stage_open_close, NULL, 0},
    {"open-close-sys", NULL, 0, 0, false, NULL, call_open_close, 0},
    {"stat", NULL, 0, 0, false, stage_statx, NULL, 0},
    {"stat-sys", NULL, 0, 0, false, NULL, call_statx, 0},
    {"write-buffered", "write.bin", O_RDWR, BLOCK, false, stage_write, NULL, BLOCK},
    {"write-buffered-sys", "write.bin", O_RDWR, BLOCK, false, NULL, call_write, 0},
    {"write-direct", "direct.bin", O_RDWR | O_DIRECT, BLOCK, false, stage_write, NULL, BLOCK},
};

static uint64_t nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static uint64_t cpu_nanoseconds(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000ull +
         (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000ull;
}

// The package's own flags, then what older kernels know.
static void open_ring(struct bench *b) {
  const unsigned entries = 4 * MAX_DEPTH;
  int error = io_uring_queue_init(entries, &b->ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
  if (error == -EINVAL) error = io_uring_queue_init(entries, &b->ring, IORING_SETUP_COOP_TASKRUN);
  if (error == -EINVAL) error = io_uring_queue_init(entries, &b->ring, 0);
  if (error) die("io_uring_queue_init", error);
  error = io_uring_register_files_sparse(&b->ring, MAX_DEPTH);
  if (error) die("io_uring_register_files_sparse", error);
  if (!b->workload->registered) return;
  error = io_uring_register_files_update(&b->ring, 0, &b->fd, 1);
  if (error != 1) die("io_uring_register_files_update", error);
  struct iovec blocks[MAX_DEPTH];
  for (unsigned lane = 0; lane < b->depth; lane++) {
    blocks[lane] = (struct iovec){lane_memory(b, lane), b->workload->block};
  }
  error = io_uring_register_buffers(&b->ring, blocks, b->depth);
  if (error) die("io_uring_register_buffers", error);
}

static uint64_t round_on_ring(struct bench *b, uint64_t deadline) {
  uint64_t operations = 0;
  unsigned running = b->depth;
  bool stop = false;
  for (unsigned lane = 0; lane < b->depth; lane++) b->workload->stage(b, lane);
  for (unsigned turn = 0; running; turn++) {
    int submitted = io_uring_submit_and_wait(&b->ring, 1);
    if (submitted < 0 && submitted != -EINTR) die("io_uring_submit_and_wait", submitted);
    if (turn % 8 == 0) stop = nanoseconds() >= deadline;
    struct io_uring_cqe *cqe;
    unsigned head, seen = 0;
    io_uring_for_each_cqe(&b->ring, head, cqe) {
      seen++;
      if (cqe->res < 0) die(b->workload->name, cqe->res);
      if (!(cqe->user_data & LAST)) continue;
      if (cqe->res != b->workload->expected) die("a short transfer", EIO);
      operations++;
      if (stop) {
        running--;
      } else {
        b->workload->stage(b, (unsigned)cqe->user_data);
      }
    }
    io_uring_cq_advance(&b->ring, seen);
  }
  return operations;
}

static uint64_t round_of_calls(struct bench *b, uint64_t deadline) {
  uint64_t operations = 0;
  // The clock costs little beside one call, but not nothing; a call that lasts as long as the round comes alone.
  unsigned burst = 1;
  do {
    for (unsigned i = 0; i < burst; i++) b->workload->call(b);
    operations += burst;
    burst = 8;
  } while (nanoseconds() < deadline);
  return operations;
}

int main(int argc, char **argv) {
  static struct bench b;
  if (argc != 4) {
    fprintf(stderr, "usage: ceiling WORKLOAD FOLDER DEPTH\n");
    return 2;
  }
  for (size_t i = 0; i < sizeof workloads / sizeof *workloads; i++) {
    if (!strcmp(workloads[i].name, argv[1])) b.workload = &workloads[i];
  }
  b.folder = argv[2];
  b.depth = (unsigned)atoi(argv[3]);
  b.random = 0x9e3779b97f4a7c15ull;
  if (!b.workload || b.depth < 1 || b.depth > MAX_DEPTH) die("no such workload or depth", EINVAL);

  unsigned block = b.workload->block ? b.workload->block : BLOCK;
  const int mapping = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
  b.memory = mmap(NULL, (size_t)b.depth * block * 2, PROT_READ | PROT_WRITE, mapping, -1, 0);
  if (b.memory == MAP_FAILED) die("mmap", errno);
  if (b.workload->file) {
    char path[4096];
    struct stat stat;
    snprintf(path, sizeof path, "%s/%s", b.folder, b.workload->file);
    b.fd = open(path, b.workload->flags | O_CLOEXEC);
    if (b.fd < 0 || fstat(b.fd, &stat)) die(path, errno);
    b.blocks = (uint64_t)stat.st_size / block;
    if (!b.blocks) die(path, ENODATA);
  }
  if (b.workload->stage) open_ring(&b);
  else b.workload->call(&b);  // what it sets up is not measured

  char line[64];
  while (fgets(line, sizeof line, stdin)) {
    uint64_t cpu = cpu_nanoseconds(), start = nanoseconds();
    uint64_t deadline = start + strtoull(line, NULL, 10) * 1000000ull;
    uint64_t operations = b.workload->stage ? round_on_ring(&b, deadline) : round_of_calls(&b, deadline);
    double elapsed = (double)(nanoseconds() - start), busy = (double)(cpu_nanoseconds() - cpu);
    printf("{\"name\":\"%s\",\"operations\":%llu,\"ns_per_op\":%.1f,\"cpu_ns_per_op\":%.1f,\"mb_per_s\":%.1f}\n",
           b.workload->name, (unsigned long long)operations, elapsed / (double)operations, busy / (double)operations,
           (double)b.workload->block * (double)operations / elapsed * 1e3);
    fflush(stdout);
  }
  return 0;
}

/*
 * A small file system over raw /dev/fuse whose answers can be spoilt at run time: the tests' source of EIO, short
 * transfers, EINTR, slowness and silence. One flat directory of files in memory, every read and write answered here,
 * requests answered out of order when they are late. Assumes root. Never used by the package itself.
 *
 *   fuse-server MOUNTPOINT
 *
 * stdin takes one command a line and each is answered by one line on stdout:
 *   mode NAME [errno=N] [ms=N] [ops=read,write,…] [after=N] [count=N]
 *     ok | error (errno) | short (half of what was asked) | slow (ms) | hang (until the mode changes, or an interrupt,
 *     which gets EINTR) | hang-ignore (interrupts change nothing)
 *     ops: which requests (default read,write,fsync); after: skip so many first; count: spoil so many, then no more
 *   cache SECONDS    how long the kernel may keep a name it looked up (default 0); attributes are always asked for
 *   stats    read=N write=N fsync=N open=N interrupt=N held=N
 * End of stdin (the test ended, or died) ends it; a guard process then unmounts and removes the mount point, also when
 * the server itself was killed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FILES = 256, MAX_WRITE = 1 << 20, REQUEST_BYTES = MAX_WRITE + 4096, MAX_HELD = 4096, STATFS_BLOCKS = 1 << 20 };
enum mode { OK, ERROR, SHORT, SLOW, HANG, HANG_IGNORE };

struct file { char name[256]; uint8_t *data; size_t size, room; uint32_t mode; uint64_t opens; int linked, used; };
struct held { uint64_t unique, due_ms; uint8_t *request; }; /* due_ms 0: until the mode changes */

static struct file files[MAX_FILES]; /* nodeid = index + 2; 1 is the directory */
static struct held held[MAX_HELD];
static int held_count, device;
static enum mode mode;
static uint64_t name_cache_s;
static int mode_errno = EIO, mode_ms, after_left, count_left = -1;
static char mode_ops[128] = "read,write,fsync";
static unsigned long seen_read, seen_write, seen_fsync, seen_open, seen_interrupt;

static uint64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void reply(uint64_t unique, int error, const void *body, size_t length) {
  struct fuse_out_header header = {.len = (uint32_t)(sizeof header + length), .error = -error, .unique = unique};
  struct iovec parts[2] = {{&header, sizeof header}, {(void *)(uintptr_t)body, length}};
  /* ENOENT: the request was interrupted and its caller is gone. */
  if (writev(device, parts, error ? 1 : 2) < 0 && errno != ENOENT) perror("fuse-server: reply");
}

static struct file *node(uint64_t id) { return id >= 2 && id < MAX_FILES + 2 && files[id - 2].used ? &files[id - 2] : NULL; }

static struct file *find(const char *name) {
  for (int i = 0; i < MAX_FILES; i++)
    if (files[i].used && files[i].linked && strcmp(files[i].name, name) == 0) return &files[i];
  return NULL;
}

static struct file *create(const char *name, uint32_t permissions) {
  for (int i = 0; i < MAX_FILES; i++) {
    struct file *f = &files[i];
    if (f->used) continue;
    *f = (struct file){.mode = S_IFREG | (permissions & 07777), .linked = 1, .used = 1};
    snprintf(f->name, sizeof f->name, "%s", name);
    return f;
  }
  return NULL;
}

/* An unlinked file lives until its last close, as everywhere. */
static void drop(struct file *f) {
  if (f->linked || f->opens) return;
  free(f->data);
  *f = (struct file){0};
}

static int resize(struct file *f, uint64_t size) {
  if (size > f->room) {
    if (!(f->data = realloc(f->data, size))) abort();
    f->room = size;
  }
  if (size > f->size) memset(f->data + f->size, 0, size - f->size);
  f->size = size;
  return 0;
}

static struct fuse_attr attributes(uint64_t id) {
  struct file *f = node(id);
  struct fuse_attr a = {.ino = id, .mode = S_IFDIR | 0777, .nlink = 2, .blksize = 4096};
  if (f) {
    a.mode = f->mode;
    a.nlink = (uint32_t)f->linked;
    a.size = f->size;
    a.blocks = (f->size + 511) / 512;
  }
  return a;
}

static struct fuse_entry_out entry(struct file *f) {
  uint64_t id = (uint64_t)(f - files) + 2;
  return (struct fuse_entry_out){.nodeid = id, .attr = attributes(id), .entry_valid = name_cache_s};
}

static void do_readdir(uint64_t unique, const struct fuse_read_in *in) {
  char out[4096];
  size_t used = 0;
  for (uint64_t i = in->offset; i < MAX_FILES; i++) {
    if (!files[i].used || !files[i].linked) continue;
    size_t length = strlen(files[i].name), bytes = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + length);
    if (used + bytes > sizeof out || used + bytes > in->size) break;
    struct fuse_dirent *d = (struct fuse_dirent *)(out + used);
    memset(d, 0, bytes);
    d->ino = i + 2;
    d->off = i + 1;
    d->namelen = (uint32_t)length;
    d->type = S_IFREG >> 12;
    memcpy(d->name, files[i].name, length);
    used += bytes;
  }
  reply(unique, 0, out, used);
}

static void do_read(uint64_t unique, struct file *f, const struct fuse_read_in *in, int cut) {
  size_t left = in->offset < f->size ? f->size - in->offset : 0, n = in->size < left ? in->size : left;
  reply(unique, 0, f->data + (n ? in->offset : 0), cut && n > 1 ? n / 2 : n);
}

static void do_write(uint64_t unique, struct file *f, const struct fuse_write_in *in, int cut) {
  uint32_t n = cut && in->size > 1 ? in->size / 2 : in->size;
  int error = in->offset + n > f->size ? resize(f, in->offset + n) : 0;
  if (!error) memcpy(f->data + in->offset, in + 1, n);
  struct fuse_write_out out = {.size = n};
  reply(unique, error, &out, sizeof out);
}

static void do_setattr(uint64_t unique, uint64_t id, const struct fuse_setattr_in *in) {
  struct file *f = node(id);
  int error = f && (in->valid & FATTR_SIZE) ? resize(f, in->size) : 0;
  if (f && (in->valid & FATTR_MODE)) f->mode = S_IFREG | (in->mode & 07777);
  struct fuse_attr_out out = {.attr = attributes(id)};
  reply(unique, error, &out, sizeof out);
}

static void do_rename(uint64_t unique, const char *from, uint64_t flags) {
  const char *to = from + strlen(from) + 1;
  struct file *f = find(from), *old = find(to);
  if (!f || flags) return reply(unique, f ? EINVAL : ENOENT, NULL, 0);
  if (old && old != f) old->linked = 0, drop(old);
  snprintf(f->name, sizeof f->name, "%s", to);
  reply(unique, 0, NULL, 0);
}

/* Files named cached… go through the page cache, where a read or write waits for its answer; the others do not. */
static uint32_t open_flags(const struct file *f) { return strncmp(f->name, "cached", 6) == 0 ? 0 : FOPEN_DIRECT_IO; }

static void do_create(uint64_t unique, const struct fuse_create_in *in) {
  const char *name = (const char *)(in + 1);
  struct file *f = find(name);
  if (!f) f = create(name, in->mode);
  if (!f) return reply(unique, ENOSPC, NULL, 0);
  f->opens++;
  struct { struct fuse_entry_out e; struct fuse_open_out o; } out = {entry(f), {.open_flags = open_flags(f)}};
  reply(unique, 0, &out, sizeof out);
}

/* The request's true answer, cut in half where `cut` says so. */
static void answer(const uint8_t *request, int cut) {
  const struct fuse_in_header *in = (const struct fuse_in_header *)request;
  const void *body = in + 1;
  struct file *f = node(in->nodeid);
  switch (in->opcode) {
  case FUSE_INIT: {
    struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION,
                                .max_readahead = 65536, .max_background = 1024, .congestion_threshold = 1000,
                                .flags = FUSE_BIG_WRITES | FUSE_ASYNC_READ | FUSE_ASYNC_DIO | FUSE_MAX_PAGES,
                                .max_write = MAX_WRITE, .max_pages = 256, .time_gran = 1};
    return reply(in->unique, 0, &out, sizeof out);
  }
  case FUSE_LOOKUP: {
    if (!(f = find(body))) return reply(in->unique, ENOENT, NULL, 0);
    struct fuse_entry_out out = entry(f);
    return reply(in->unique, 0, &out, sizeof out);
  }
  case FUSE_GETATTR: {
    struct fuse_attr_out out = {.attr = attributes(in->nodeid)};
    return reply(in->unique, 0, &out, sizeof out);
  }
  case FUSE_OPEN:
    f->opens++; /* fall through */
  case FUSE_OPENDIR: {
    struct fuse_open_out out = {.open_flags = in->opcode == FUSE_OPEN ? open_flags(f) : 0};
    return reply(in->unique, 0, &out, sizeof out);
  }
  case FUSE_RELEASE:
    f->opens--;
    reply(in->unique, 0, NULL, 0);
    return drop(f);
  case FUSE_UNLINK:
    if (!(f = find(body))) return reply(in->unique, ENOENT, NULL, 0);
    f->linked = 0;
    reply(in->unique, 0, NULL, 0);
    return drop(f);
  case FUSE_STATFS: {
    struct fuse_statfs_out out = {.st = {.blocks = STATFS_BLOCKS, .bfree = STATFS_BLOCKS, .bavail = STATFS_BLOCKS,
                                         .files = MAX_FILES, .bsize = 4096, .frsize = 4096, .namelen = 255}};
    return reply(in->unique, 0, &out, sizeof out);
  }
  case FUSE_READ: return do_read(in->unique, f, body, cut);
  case FUSE_WRITE: return do_write(in->unique, f, body, cut);
  case FUSE_READDIR: return do_readdir(in->unique, body);
  case FUSE_SETATTR: return do_setattr(in->unique, in->nodeid, body);
  case FUSE_CREATE: return do_create(in->unique, body);
  case FUSE_RENAME: return do_rename(in->unique, (const char *)body + sizeof(struct fuse_rename_in), 0);
  case FUSE_RENAME2:
    return do_rename(in->unique, (const char *)body + sizeof(struct fuse_rename2_in), ((const struct fuse_rename2_in *)body)->flags);
  case FUSE_FSYNC: case FUSE_FLUSH: case FUSE_RELEASEDIR: case FUSE_FSYNCDIR: case FUSE_DESTROY:
    return reply(in->unique, 0, NULL, 0);
  default: return reply(in->unique, ENOSYS, NULL, 0);
  }
}

static const char *operation(uint32_t opcode) {
  switch (opcode) {
  case FUSE_READ: seen_read++; return "read";
  case FUSE_WRITE: seen_write++; return "write";
  case FUSE_FSYNC: seen_fsync++; return "fsync";
  case FUSE_OPEN: case FUSE_CREATE: seen_open++; return "open";
  case FUSE_GETATTR: return "getattr";
  case FUSE_LOOKUP: return "lookup";
  case FUSE_RENAME: case FUSE_RENAME2: return "rename";
  case FUSE_UNLINK: return "unlink";
  case FUSE_FLUSH: return "flush";
  default: return NULL;
  }
}

/* A whole name in the comma-separated list. */
static int listed(const char *name) {
  size_t n = strlen(name);
  for (const char *p = mode_ops; (p = strstr(p, name)); p += n)
    if ((p == mode_ops || p[-1] == ',') && (p[n] == ',' || p[n] == 0)) return 1;
  return 0;
}

static int spoilt(uint32_t opcode) {
  const char *name = operation(opcode);
  if (mode == OK || !name || !listed(name)) return 0;
  if (after_left > 0) return after_left--, 0;
  if (count_left == 0) return 0;
  if (count_left > 0) count_left--;
  return 1;
}

static void hold(const uint8_t *request, uint64_t due_ms) {
  const struct fuse_in_header *in = (const struct fuse_in_header *)request;
  if (held_count == MAX_HELD) return reply(in->unique, ENOMEM, NULL, 0);
  uint8_t *copy = malloc(in->len + 1);
  memcpy(copy, request, in->len);
  held[held_count++] = (struct held){in->unique, due_ms, copy};
}

static void release(int i, int error) {
  struct held h = held[i];
  held[i] = held[--held_count];
  if (error) reply(h.unique, error, NULL, 0);
  else answer(h.request, 0);
  free(h.request);
}

static void interrupt(uint64_t target) {
  seen_interrupt++;
  if (mode == HANG_IGNORE) return;
  for (int i = 0; i < held_count; i++)
    if (held[i].unique == target) return release(i, EINTR);
}

static void serve(const uint8_t *request) {
  const struct fuse_in_header *in = (const struct fuse_in_header *)request;
  if (in->opcode == FUSE_FORGET || in->opcode == FUSE_BATCH_FORGET) return; /* take no answer */
  if (in->opcode == FUSE_INTERRUPT) return interrupt(((const struct fuse_interrupt_in *)(in + 1))->unique);
  if (!spoilt(in->opcode)) return answer(request, 0);
  switch (mode) {
  case ERROR: return reply(in->unique, mode_errno, NULL, 0);
  case SHORT: return answer(request, 1);
  case SLOW: return hold(request, now_ms() + (uint64_t)mode_ms);
  default: return hold(request, 0);
  }
}

static int option(const char *line, const char *name, int fallback) {
  const char *at = strstr(line, name);
  return at ? atoi(at + strlen(name)) : fallback;
}

static int set_mode(const char *line) {
  static const char *const names[] = {"ok", "error", "short", "slow", "hang", "hang-ignore"};
  char name[32] = "";
  sscanf(line, "mode %31s", name);
  for (int i = 0; i < 6; i++) {
    if (strcmp(name, names[i]) != 0) continue;
    mode = (enum mode)i;
    mode_errno = option(line, " errno=", EIO);
    mode_ms = option(line, " ms=", 100);
    after_left = option(line, " after=", 0);
    count_left = option(line, " count=", -1);
    const char *ops = strstr(line, " ops=");
    snprintf(mode_ops, sizeof mode_ops, "read,write,fsync");
    if (ops) sscanf(ops, " ops=%127[a-z,]", mode_ops);
    for (int k = held_count - 1; k >= 0; k--)
      if (held[k].due_ms == 0) release(k, 0);
    return 1;
  }
  return 0;
}

static void command(const char *line) {
  if (strncmp(line, "mode ", 5) == 0) printf(set_mode(line) ? "ok\n" : "unknown mode\n");
  else if (sscanf(line, "cache %lu", &name_cache_s) == 1) printf("ok\n");
  else if (strcmp(line, "stats") == 0)
    printf("read=%lu write=%lu fsync=%lu open=%lu interrupt=%lu held=%d\n", seen_read, seen_write, seen_fsync, seen_open,
           seen_interrupt, held_count);
  else printf("unknown command\n");
  fflush(stdout);
}

/* Reads what stdin has; 0 at its end. */
static int commands(void) {
  static char text[1024];
  static size_t used;
  ssize_t n = read(0, text + used, sizeof text - 1 - used);
  if (n <= 0) return 0;
  text[used += (size_t)n] = 0;
  for (char *end; (end = strchr(text, '\n'));) {
    *end = 0;
    command(text);
    used -= (size_t)(end + 1 - text);
    memmove(text, end + 1, used + 1);
  }
  return 1;
}

static int wait_ms(void) {
  uint64_t now = now_ms(), first = UINT64_MAX;
  for (int i = 0; i < held_count; i++)
    if (held[i].due_ms && held[i].due_ms < first) first = held[i].due_ms;
  return first == UINT64_MAX ? -1 : first > now ? (int)(first - now) : 0;
}

static void run(void) {
  static _Alignas(8) uint8_t request[REQUEST_BYTES];
  for (;;) {
    struct pollfd polls[2] = {{.fd = device, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
    if (poll(polls, 2, wait_ms()) < 0 && errno != EINTR) return;
    for (int i = held_count - 1; i >= 0; i--)
      if (held[i].due_ms && held[i].due_ms <= now_ms()) release(i, 0);
    if (polls[1].revents && !commands()) return;
    if (polls[0].revents) {
      ssize_t n = read(device, request, sizeof request);
      if (n > 0) serve(request);
      else if (errno == ENODEV) return; /* unmounted by somebody else */
    }
  }
}

int main(int argc, char **argv) {
  if (argc != 2) return fprintf(stderr, "usage: fuse-server MOUNTPOINT\n"), 2;
  if (setsid() < 0 && errno != EPERM) return perror("setsid"), 1; /* a Ctrl-C is for the test; its end reaches us by stdin */
  pid_t server = fork();
  if (server != 0) { /* the guard: holds no device, so the kernel ends every request when the server is gone */
    close(0);
    int status = 0;
    waitpid(server, &status, 0);
    umount2(argv[1], MNT_FORCE | MNT_DETACH);
    rmdir(argv[1]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if ((device = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK)) < 0) return perror("/dev/fuse"), 1;
  char options[128];
  snprintf(options, sizeof options, "fd=%d,rootmode=40777,user_id=0,group_id=0,allow_other", device);
  if (mount("bun-uring-test", argv[1], "fuse", MS_NOSUID | MS_NODEV, options) < 0) return perror("mount"), 1;
  printf("ready\n");
  fflush(stdout);
  run();
  return 0; /* closing the device ends what is held; the guard unmounts */
}

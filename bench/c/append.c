// What `make bench-log` holds AppendLog against: groups of records appended by one write(2) and one fdatasync(2), nothing else.
//
// usage: append FILE GROUP_BYTES MILLISECONDS FILL
// FILL bytes of zeros are written and synced before the clock starts (0: the file grows with each group). Prints the number of
// groups, and the nanoseconds they took. Any failed call ends the program.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int64_t now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return at.tv_sec * INT64_C(1000000000) + at.tv_nsec;
}

static void need(int ok, const char *what) {
  if (ok) return;
  perror(what);
  exit(1);
}

int main(int argc, char **argv) {
  if (argc != 5) {
    fprintf(stderr, "usage: append FILE GROUP_BYTES MILLISECONDS FILL\n");
    return 2;
  }
  size_t length = strtoul(argv[2], NULL, 10);
  int64_t limit = strtol(argv[3], NULL, 10) * INT64_C(1000000);
  size_t fill = strtoul(argv[4], NULL, 10);
  int fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0600);
  need(fd >= 0, "open");
  enum { STEP = 1 << 20 };
  char *bytes = calloc(1, length > STEP ? length : STEP);
  need(bytes != NULL, "calloc");
  for (size_t at = 0; at < fill; at += STEP) need(pwrite(fd, bytes, STEP, (off_t)at) == STEP, "write");
  need(fdatasync(fd) == 0, "fdatasync");
  memset(bytes, 'x', length);
  int64_t start = now();
  int64_t took = 0;
  long groups = 0;
  for (off_t at = 0; took < limit; groups++, at += (off_t)length) {
    if (fill > 0 && (size_t)at + length > fill) at = 0;
    need(pwrite(fd, bytes, length, at) == (ssize_t)length, "write");
    need(fdatasync(fd) == 0, "fdatasync");
    took = now() - start;
  }
  printf("%ld %lld\n", groups, (long long)took);
  return 0;
}

/*
 * Cuts the power of one file system: from here on nothing in its cache reaches the device, not even its log.
 * Assumes root and ext4 (or xfs, f2fs). Never flushes anything: what was not synced is meant to be lost.
 *
 *   fs-shutdown MOUNTPOINT
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>

#define FS_IOC_SHUTDOWN _IOR('X', 125, uint32_t) /* include/uapi: EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN */

int main(int argc, char **argv) {
  uint32_t without_log_flush = 2;
  int fd = argc == 2 ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
  if (fd < 0 || ioctl(fd, FS_IOC_SHUTDOWN, &without_log_flush) < 0) return perror("fs-shutdown"), 1;
  return 0;
}

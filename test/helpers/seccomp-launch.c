/*
 * Runs a program under a seccomp filter that refuses io_uring's system calls, or openat2, as container runtimes do.
 * Assumes x86-64 or arm64 (both give these calls the same numbers). Changes nothing but the program it starts.
 *
 *   seccomp-launch CALL=ERRNO… -- PROGRAM ARGUMENT…
 *
 * CALL: setup, enter, register, openat2, or register:OPERATION for one IORING_REGISTER_ number; ERRNO: a number.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { IO_URING_REGISTER = 427, MAX_RULES = 4 };

static const struct {
  const char *name;
  unsigned number;
} calls[] = {{"setup", 425}, {"enter", 426}, {"register", IO_URING_REGISTER}, {"openat2", 437}};

static unsigned call_number(const char *name, size_t length) {
  for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++)
    if (strlen(calls[i].name) == length && strncmp(name, calls[i].name, length) == 0) return calls[i].number;
  return 0;
}

int main(int argc, char **argv) {
  struct sock_filter code[5 * MAX_RULES + 1];
  unsigned short n = 0;
  int i = 1;
  for (; i < argc && strcmp(argv[i], "--") != 0 && i <= MAX_RULES; i++) {
    const char *equals = strchr(argv[i], '=');
    const char *colon = strchr(argv[i], ':');
    const unsigned number = equals ? call_number(argv[i], (size_t)((colon ? colon : equals) - argv[i])) : 0;
    if (!number) return fprintf(stderr, "seccomp-launch: unknown call in %s\n", argv[i]), 2;
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, colon ? 3 : 1);
    if (colon) { // the operation is the second argument
      code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1]));
      code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)atoi(colon + 1), 0, 1);
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)atoi(equals + 1));
  }
  code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  if (i >= argc - 1 || strcmp(argv[i], "--") != 0) return fprintf(stderr, "usage: seccomp-launch CALL=ERRNO… -- PROGRAM\n"), 2;

  struct sock_fprog program = {.len = n, .filter = code};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0))
    return perror("seccomp-launch: prctl"), 1;
  execvp(argv[i + 1], argv + i + 1);
  return perror(argv[i + 1]), 127;
}

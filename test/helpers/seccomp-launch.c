/*
 * Runs a program under a seccomp filter that refuses system calls, as container runtimes and service managers do.
 * Assumes x86-64 or arm64 (both give io_uring's calls and openat2 the same numbers). Changes nothing but the program it starts.
 *
 *   seccomp-launch RULE… -- PROGRAM ARGUMENT…
 *
 * RULE: CALL[:OPERATION]=ACTION, CALL[@ARGUMENT&MASK]…=ACTION or else=ACTION; the first that fits is taken, and without one the call
 * is allowed. CALL: setup, enter, register, openat2, a number, or NUMBER+ for that one and all above. OPERATION: one IORING_REGISTER_ number. @ARGUMENT&MASK: only where
 * that argument (0 to 5) has a bit of the mask (decimal). ACTION: an errno, allow, or kill.
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

enum { MAX_CODE = 4096 };

static const struct {
  const char *name;
  int number;
} calls[] = {{"setup", 425}, {"enter", 426}, {"register", 427}, {"openat2", 437}};

static struct sock_filter code[MAX_CODE];
static unsigned short length;

static void put(unsigned short op, unsigned k, unsigned char yes, unsigned char no) {
  if (length == MAX_CODE) fprintf(stderr, "seccomp-launch: too many rules\n"), exit(2);
  code[length++] = (struct sock_filter){op, yes, no, k};
}

static int call_number(const char *name, size_t bytes) {
  for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++)
    if (strlen(calls[i].name) == bytes && strncmp(name, calls[i].name, bytes) == 0) return calls[i].number;
  return name[0] >= '0' && name[0] <= '9' ? atoi(name) : -1;
}

static unsigned action_of(const char *name) {
  if (strcmp(name, "allow") == 0) return SECCOMP_RET_ALLOW;
  if (strcmp(name, "kill") == 0) return SECCOMP_RET_KILL_PROCESS;
  return SECCOMP_RET_ERRNO | (unsigned)atoi(name);
}

/* Jumps over what follows of the rule where it does not fit; what that is, is known when the rule is whole. */
static int add_rule(const char *rule) {
  const char *equals = strchr(rule, '=');
  if (!equals) return 0;
  const int always = strncmp(rule, "else=", 5) == 0;
  const int number = always ? 0 : call_number(rule, strcspn(rule, ":@="));
  if (number < 0) return 0;
  const unsigned short first = length;
  if (!always) {
    put(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
    put(BPF_JMP | (rule[strcspn(rule, "+:@=")] == '+' ? BPF_JGE : BPF_JEQ) | BPF_K, (unsigned)number, 0, 255);
  }
  const char *at = rule + strcspn(rule, ":@=");
  if (*at == ':') {
    put(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1]), 0, 0);
    put(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)atoi(at + 1), 0, 255);
  }
  for (; *at == '@'; at += 1 + strcspn(at + 1, "@=")) {
    const char *mask = strchr(at, '&');
    if (!mask) return 0;
    put(BPF_LD | BPF_W | BPF_ABS, (unsigned)(offsetof(struct seccomp_data, args) + 8 * (unsigned)atoi(at + 1)), 0, 0);
    put(BPF_JMP | BPF_JSET | BPF_K, (unsigned)atoi(mask + 1), 0, 255);
  }
  put(BPF_RET | BPF_K, action_of(equals + 1), 0, 0);
  for (unsigned short i = first; i < length; i++)
    if (code[i].jf == 255) code[i].jf = (unsigned char)(length - i - 1);
  return 1;
}

int main(int argc, char **argv) {
  int i = 1;
  for (; i < argc && strcmp(argv[i], "--") != 0; i++)
    if (!add_rule(argv[i])) return fprintf(stderr, "seccomp-launch: no such rule: %s\n", argv[i]), 2;
  put(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
  if (i >= argc - 1) return fprintf(stderr, "usage: seccomp-launch RULE… -- PROGRAM\n"), 2;

  struct sock_fprog program = {.len = length, .filter = code};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0))
    return perror("seccomp-launch: prctl"), 1;
  execvp(argv[i + 1], argv + i + 1);
  return perror(argv[i + 1]), 127;
}

// What a sandbox would do to io_uring's system calls, found without taking the risk.

#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/wait.h>

// Whether a seccomp filter of this thread ends the process for one of io_uring's calls: the signal with which it does, 0 if it does not, or
// -errno if that can't be found out. A child makes the calls, in a way that does nothing; only under a filter, as fork costs
// about a millisecond. Raw system calls: no handler of anybody's runs, and no SIGCHLD is sent.
EXPORT int32_t bun_uring_deadly(void)
{
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != SECCOMP_MODE_FILTER)
        return 0;
    const pid_t child = (pid_t)syscall(SYS_clone, 0L, 0L, 0L, 0L, 0L);
    if (child < 0)
        return -errno;
    if (child == 0) {
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); // no core file
        syscall(SYS_io_uring_setup, 0L, 0L);
        syscall(SYS_io_uring_enter, -1L, 0L, 0L, 0L, 0L, 0L);
        syscall(SYS_io_uring_register, -1L, 0L, 0L, 0L);
        for (;;)
            syscall(SYS_exit_group, 0L);
    }
    int status = 0;
    while (syscall(SYS_wait4, (long)child, &status, (long)__WALL, 0L) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

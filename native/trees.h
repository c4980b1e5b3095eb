// Work on trees that no opcode does, or that costs less as plain calls in a row: removing and listing, by descriptors. It
// runs on threads of the process, which are made when there is work and end when there has been none for a second (the helper of
// a ring takes single calls; these take work of any length).
// A job owns its input, output and descriptors; it is freed by the later of its two owners, the thread and the ring.
// No name is ever looked up but in a folder that is open, and no link is entered: whoever exchanges names meanwhile
// leads nobody out of the tree. At most OPEN_FOLDERS of a tree are open, however deep it is.

#include <dirent.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

enum { JOB_REMOVE = 1, JOB_LIST = 2, JOB_COPY = 3 };
enum { LIST_RECURSIVE = 1, JOB_REMOTE = 2, COPY_FOLLOW = 4, COPY_OVERWRITE = 8, COPY_TIMES = 16, COPY_DROP_SET_ID = 32, COPY_ACCESSED = 64 };
// Which call failed, for the error's syscall.
enum { CALL_NONE, CALL_LSTAT, CALL_UNLINK, CALL_RMDIR, CALL_SCANDIR };
enum { OPEN_FOLDERS = 32, LISTING_BYTES = 32 * 1024 };
enum { MAX_RESCANS = 100, IDLE_SECONDS = 1, LOCAL_THREADS = 4, REMOTE_THREADS = 64 };

struct bytes {
    char *at;
    size_t length, capacity;
};

struct job {
    struct job *next; // in the queue
    struct job *sibling; // of the same ring
    int kind, flags;
    int folder; // the root if it is open already, else -1
    int target; // of a copy
    int wake;   // an eventfd, which the ring reads
    char *path; // of a copy: names, each with its NUL, and another NUL
    atomic_int owners;
    atomic_int stop;
    int failed; // errno
    int call;
    struct bytes path_below; // of what is worked on or has failed, from the root
    struct bytes out;
};

#include "tree-walk.h"
#include "tree-copy.h"

/* ---- threads ------------------------------------------------------------------------------------------------------- */

struct queue {
    struct job *first, **last;
    uint32_t length;
};

// What may wait for a server has a queue of its own: it never takes a thread from what is local.
static struct {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct queue local, remote;
    uint32_t threads, idle;
    uint32_t on_remote; // threads that run such a job
} tree_threads = {.lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER};

static void enqueue(struct queue *queue, struct job *job)
{
    job->next = NULL;
    *(queue->first ? queue->last : &queue->first) = job;
    queue->last = &job->next;
    queue->length++;
}

// The next job for a thread, or NULL. With the lock held.
static struct job *dequeue(void)
{
    struct queue *queue = tree_threads.local.first ? &tree_threads.local : &tree_threads.remote;
    struct job *job = queue->first;
    if (!job || (queue == &tree_threads.remote && tree_threads.on_remote == REMOTE_THREADS))
        return NULL;
    queue->first = job->next;
    queue->length--;
    return job;
}

static void run_job(struct job *job)
{
    const uint64_t one = 1;
    if (job->kind == JOB_REMOVE)
        remove_tree(job);
    else if (job->kind == JOB_LIST)
        list_tree(job);
    else
        copy_names(job);
    close_folders(job); // before anybody is told: then nothing is open any more
    // The job may be JavaScript's alone as soon as it has been told.
    const int wake = job->wake;
    while (write(wake, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
    release_job(job);
}

static void *tree_thread(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&tree_threads.lock);
    for (;;) {
        struct job *job = dequeue();
        if (job) {
            const uint32_t remote = (job->flags & JOB_REMOTE) != 0;
            tree_threads.on_remote += remote;
            pthread_mutex_unlock(&tree_threads.lock);
            run_job(job);
            pthread_mutex_lock(&tree_threads.lock);
            tree_threads.on_remote -= remote;
            continue;
        }
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += IDLE_SECONDS;
        tree_threads.idle++;
        const int rc = pthread_cond_timedwait(&tree_threads.work, &tree_threads.lock, &until);
        tree_threads.idle--;
        if (rc == ETIMEDOUT && !tree_threads.local.first && !tree_threads.remote.first)
            break;
    }
    tree_threads.threads--;
    pthread_mutex_unlock(&tree_threads.lock);
    return NULL;
}

// Makes a thread that takes no signals. Called with the lock held.
static int add_tree_thread(void)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int rc = pthread_create(&thread, &attributes, tree_thread, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (rc == 0)
        tree_threads.threads++;
    return -rc;
}

// Gives the job to a thread, if need be to a new one. Returns -errno where nobody is there to take it.
static int hand_over(struct job *job)
{
    int rc = 0;
    pthread_mutex_lock(&tree_threads.lock);
    const int remote = (job->flags & JOB_REMOTE) != 0;
    const uint32_t on_local = tree_threads.threads - tree_threads.on_remote;
    const uint32_t waiting = tree_threads.local.length + tree_threads.remote.length;
    const int may_add = remote ? tree_threads.on_remote + tree_threads.remote.length < REMOTE_THREADS : on_local < LOCAL_THREADS;
    if (tree_threads.idle <= waiting && may_add)
        rc = add_tree_thread();
    if (remote ? tree_threads.threads > 0 : on_local > 0)
        rc = 0;
    if (rc == 0) {
        enqueue(remote ? &tree_threads.remote : &tree_threads.local, job);
        pthread_cond_signal(&tree_threads.work);
    }
    pthread_mutex_unlock(&tree_threads.lock);
    return rc;
}

/* ---- what JavaScript calls ----------------------------------------------------------------------------------------- */

struct job_started {
    uint32_t job_low, job_high;
    int32_t wake;
};

struct job_outcome {
    int32_t error;
    uint32_t call;
    uint32_t out_low, out_high, out_length;
    uint32_t path_low, path_high, path_length;
};

// Starts a job. Removing: of `path`. Listing: of `path`, or of the folder open as `folder`. Copying: of the names in `path` from
// `folder` into `target`. The job has descriptors of its own. When it has ended, its eventfd can be read. Returns 0 or -errno.
EXPORT int32_t bun_uring_job_start(struct ring *ring, int32_t kind, const char *path, uint32_t length, int32_t folder,
                                   int32_t target, int32_t flags, struct job_started *started)
{
    struct job *job = calloc(1, sizeof(*job));
    if (!job)
        return -ENOMEM;
    job->folder = job->target = -1;
    job->kind = kind;
    job->flags = flags;
    job->owners = 1;
    job->wake = ring->spare_wakes ? ring->spare_wake[--ring->spare_wakes] : eventfd(0, EFD_CLOEXEC);
    int rc = job->wake < 0 ? -errno : 0;
    // What is known to be missing is told at once, and a folder that is known need not be looked up again.
    if (rc == 0 && kind == JOB_REMOVE && !(flags & JOB_REMOTE)) {
        struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_CACHED};
        job->folder = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
        if (job->folder < 0 && errno == ENOENT)
            rc = -ENOENT;
    }
    if (rc == 0 && length > 0) {
        job->path = malloc(length);
        if (job->path)
            memcpy(job->path, path, length);
        else
            rc = -ENOMEM;
    }
    if (rc == 0 && folder >= 0 && (job->folder = fcntl(folder, F_DUPFD_CLOEXEC, 3)) < 0)
        rc = -errno;
    if (rc == 0 && target >= 0 && (job->target = fcntl(target, F_DUPFD_CLOEXEC, 3)) < 0)
        rc = -errno;
    if (rc == 0) {
        job->owners = 2;
        rc = hand_over(job);
        if (rc < 0)
            job->owners = 1;
    }
    if (rc < 0) {
        release_job(job);
        return rc;
    }
    job->sibling = ring->jobs;
    ring->jobs = job;
    split((uintptr_t)job, &started->job_low, &started->job_high);
    started->wake = job->wake;
    return 0;
}

// Asks a job to stop soon; it ends as jobs do.
EXPORT void bun_uring_job_stop(struct job *job)
{
    atomic_store(&job->stop, 1);
}

// What a job that has ended has brought. The memory is the job's.
EXPORT void bun_uring_job_outcome(const struct job *job, struct job_outcome *outcome)
{
    outcome->error = -job->failed;
    outcome->call = (uint32_t)job->call;
    split((uintptr_t)job->out.at, &outcome->out_low, &outcome->out_high);
    outcome->out_length = (uint32_t)job->out.length;
    split((uintptr_t)job->path_below.at, &outcome->path_low, &outcome->path_high);
    outcome->path_length = (uint32_t)job->path_below.length;
}

// Lets go of a job. If it has not ended it stops soon, and its memory goes then. `ended`: its eventfd was read, and can be
// another job's.
EXPORT void bun_uring_job_free(struct ring *ring, struct job *job, int32_t ended)
{
    for (struct job **link = &ring->jobs; *link; link = &(*link)->sibling) {
        if (*link != job)
            continue;
        *link = job->sibling;
        atomic_store(&job->stop, 1);
        if (ended && ring->spare_wakes < SPARE_WAKES) {
            ring->spare_wake[ring->spare_wakes++] = job->wake;
            job->wake = -1;
        }
        release_job(job);
        return;
    }
}

static void free_jobs(struct ring *ring)
{
    while (ring->jobs)
        bun_uring_job_free(ring, ring->jobs, 0);
    while (ring->spare_wakes)
        close(ring->spare_wake[--ring->spare_wakes]);
}

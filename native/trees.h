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

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static int append(struct bytes *bytes, const void *from, size_t length)
{
    if (bytes->length + length > bytes->capacity) {
        const size_t capacity = (bytes->length + length) * 2 + 64;
        char *grown = realloc(bytes->at, capacity);
        if (!grown)
            return -1;
        bytes->at = grown;
        bytes->capacity = capacity;
    }
    if (length)
        memcpy(bytes->at + bytes->length, from, length);
    bytes->length += length;
    return 0;
}

static void close_folders(struct job *job)
{
    if (job->folder >= 0)
        close(job->folder);
    if (job->target >= 0)
        close(job->target);
    job->folder = job->target = -1;
}

static void release_job(struct job *job)
{
    if (atomic_fetch_sub(&job->owners, 1) > 1)
        return;
    if (job->wake >= 0)
        close(job->wake);
    close_folders(job);
    free(job->path);
    free(job->path_below.at);
    free(job->out.at);
    free(job);
}

/* ---- walking ----------------------------------------------------------------------------------------------------- */

// One folder on the way down: `pending` holds the names, each with its NUL, of folders in it that are still to be entered.
struct frame {
    int fd; // -1 while it is closed to keep few open
    dev_t dev;
    ino_t ino;
    struct bytes pending;
    size_t next;
    size_t path_length; // of path_below at this folder
    int rescans;
    int removed; // something has gone since it was read
};

struct walk {
    struct job *job;
    struct frame *frames;
    uint32_t depth, capacity;
    char *listing;
    struct bytes types, names; // of one batch
};

static int put_batch(struct walk *walk);

static int fail(struct job *job, int error, int call)
{
    job->failed = error;
    job->call = call;
    return -1;
}

// `name` becomes the path's last part, below its first `keep` bytes.
static int name_path(struct job *job, size_t keep, const char *name)
{
    job->path_below.length = keep;
    if (keep && append(&job->path_below, "/", 1))
        return fail(job, ENOMEM, CALL_SCANDIR);
    return append(&job->path_below, name, strlen(name)) ? fail(job, ENOMEM, CALL_SCANDIR) : 0;
}

static int enter(struct walk *walk, int fd)
{
    struct stat stat;
    if (walk->depth == walk->capacity) {
        const uint32_t capacity = walk->capacity * 2 + 16;
        struct frame *grown = realloc(walk->frames, capacity * sizeof(*grown));
        if (!grown) {
            close(fd);
            return fail(walk->job, ENOMEM, CALL_SCANDIR);
        }
        walk->frames = grown;
        walk->capacity = capacity;
    }
    if (walk->depth >= OPEN_FOLDERS) {
        struct frame *above = &walk->frames[walk->depth - OPEN_FOLDERS];
        // Without its identity it can't be closed, as it could not be known again.
        if (above->fd >= 0 && !fstat(above->fd, &stat)) {
            above->dev = stat.st_dev;
            above->ino = stat.st_ino;
            close(above->fd);
            above->fd = -1;
        }
    }
    walk->frames[walk->depth++] = (struct frame){.fd = fd, .path_length = walk->job->path_below.length};
    return 0;
}

// Opens the folder above the last one again. EBUSY if that is another by now: somebody has moved what we are in.
static int reopen_above(struct walk *walk)
{
    struct frame *above = &walk->frames[walk->depth - 2];
    struct stat stat;
    if (above->fd >= 0)
        return 0;
    const int fd = openat(walk->frames[walk->depth - 1].fd, "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return fail(walk->job, errno, CALL_SCANDIR);
    if (fstat(fd, &stat) || stat.st_dev != above->dev || stat.st_ino != above->ino) {
        close(fd);
        return fail(walk->job, EBUSY, CALL_SCANDIR);
    }
    above->fd = fd;
    return 0;
}

static void leave(struct walk *walk)
{
    struct frame *frame = &walk->frames[--walk->depth];
    if (frame->fd >= 0)
        close(frame->fd);
    free(frame->pending.at);
}

struct entry {
    uint64_t ino;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

static int is_dots(const char *name)
{
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

// Calls `each` for the names in the last folder. It returns 0, or -1 after `fail`.
static int read_folder(struct walk *walk, int (*each)(struct walk *, struct frame *, const struct entry *))
{
    struct job *job = walk->job;
    const int fd = walk->frames[walk->depth - 1].fd;
    for (;;) {
        const long length = syscall(SYS_getdents64, fd, walk->listing, LISTING_BYTES);
        if (length == 0)
            return 0;
        if (length < 0) {
            if (errno == ENOENT)
                return 0; // the folder itself has gone
            return fail(job, errno, CALL_SCANDIR);
        }
        for (long at = 0; at < length;) {
            const struct entry *entry = (const struct entry *)(walk->listing + at);
            at += entry->length;
            if (is_dots(entry->name))
                continue;
            if (atomic_load_explicit(&job->stop, memory_order_relaxed))
                return fail(job, ECANCELED, CALL_SCANDIR);
            if (each(walk, &walk->frames[walk->depth - 1], entry))
                return -1;
        }
        if (walk->types.length && put_batch(walk))
            return -1;
    }
}

static int end_walk(struct walk *walk, int result)
{
    while (walk->depth)
        leave(walk);
    free(walk->frames);
    free(walk->listing);
    free(walk->types.at);
    free(walk->names.at);
    return result;
}

static int open_below(int folder, const char *name)
{
    return openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* ---- removing ---------------------------------------------------------------------------------------------------- */

static int is_folder(int folder, const char *name)
{
    struct stat stat;
    return !fstatat(folder, name, &stat, AT_SYMLINK_NOFOLLOW) && S_ISDIR(stat.st_mode);
}

static int later(struct walk *walk, struct frame *frame, const char *name)
{
    return append(&frame->pending, name, strlen(name) + 1) ? fail(walk->job, ENOMEM, CALL_SCANDIR) : 0;
}

static int remove_entry(struct walk *walk, struct frame *frame, const struct entry *entry)
{
    if (entry->type == DT_DIR)
        return later(walk, frame, entry->name);
    if (!unlinkat(frame->fd, entry->name, 0)) {
        frame->removed = 1;
        return 0;
    }
    const int error = errno;
    if (error == ENOENT)
        return 0;
    if (error == EISDIR || is_folder(frame->fd, entry->name))
        return later(walk, frame, entry->name);
    name_path(walk->job, frame->path_length, entry->name);
    return fail(walk->job, error, CALL_UNLINK);
}

// What can't be opened to be read can still be removed if it is empty. What rmdir says of a full one is not the reason.
static int remove_unreadable(struct job *job, int folder, const char *name, int error)
{
    if (!unlinkat(folder, name, AT_REMOVEDIR) || errno == ENOENT)
        return 0;
    if (errno == ENOTDIR)
        return !unlinkat(folder, name, 0) || errno == ENOENT ? 0 : fail(job, errno, CALL_UNLINK);
    if (errno == ENOTEMPTY || errno == EEXIST || errno == EPERM)
        return fail(job, error, CALL_SCANDIR);
    return fail(job, errno, CALL_RMDIR);
}

// Enters the next folder that the last one holds. 0 if there was none, 1 if so, -1 after a failure.
static int remove_next_below(struct walk *walk)
{
    struct frame *frame = &walk->frames[walk->depth - 1];
    while (frame->next < frame->pending.length) {
        const char *name = frame->pending.at + frame->next;
        frame->next += strlen(name) + 1;
        if (name_path(walk->job, frame->path_length, name))
            return -1;
        const int fd = open_below(frame->fd, name);
        frame->removed = 1;
        if (fd >= 0)
            return enter(walk, fd) ? -1 : 1;
        if (errno != ENOENT && remove_unreadable(walk->job, frame->fd, name, errno))
            return -1;
    }
    frame->pending.length = frame->next = 0;
    return 0;
}

// Removes the last folder, which should be empty. 1 if it has to be read again.
static int remove_last(struct walk *walk, const char *root)
{
    struct job *job = walk->job;
    struct frame *frame = &walk->frames[walk->depth - 1];
    job->path_below.length = frame->path_length;
    int folder = AT_FDCWD;
    const char *name = root;
    if (walk->depth > 1) {
        if (reopen_above(walk))
            return -1;
        folder = walk->frames[walk->depth - 2].fd;
        if (append(&job->path_below, "", 1)) // its NUL
            return fail(job, ENOMEM, CALL_RMDIR);
        job->path_below.length--;
        const size_t above = walk->frames[walk->depth - 2].path_length;
        name = job->path_below.at + above + (above ? 1 : 0);
    }
    if (unlinkat(folder, name, AT_REMOVEDIR) && errno != ENOENT) {
        const int error = errno;
        if ((error == ENOTEMPTY || error == EEXIST) && frame->removed && frame->rescans++ < MAX_RESCANS) {
            frame->removed = 0;
            lseek(frame->fd, 0, SEEK_SET);
            return 1;
        }
        return fail(job, error, CALL_RMDIR);
    }
    leave(walk);
    return 0;
}

static int remove_tree(struct job *job)
{
    struct walk walk = {.job = job};
    const int fd = job->folder >= 0 ? job->folder : open_below(AT_FDCWD, job->path);
    job->folder = -1;
    if (fd < 0) {
        const int error = errno;
        struct stat stat;
        if (error == ENOTDIR || error == ELOOP) {
            if (!unlinkat(AT_FDCWD, job->path, 0) || errno == ENOENT)
                return 0;
            if (errno != EISDIR)
                return fstatat(AT_FDCWD, job->path, &stat, AT_SYMLINK_NOFOLLOW) ? fail(job, errno, CALL_LSTAT)
                                                                                : fail(job, errno, CALL_UNLINK);
        }
        if (fstatat(AT_FDCWD, job->path, &stat, AT_SYMLINK_NOFOLLOW))
            return fail(job, errno, CALL_LSTAT);
        return remove_unreadable(job, AT_FDCWD, job->path, error);
    }
    if (!(walk.listing = malloc(LISTING_BYTES))) {
        close(fd);
        return fail(job, ENOMEM, CALL_SCANDIR);
    }
    if (enter(&walk, fd) || read_folder(&walk, remove_entry))
        return end_walk(&walk, -1);
    while (walk.depth) {
        int more = remove_next_below(&walk);
        if (more == 0)
            more = remove_last(&walk, job->path);
        if (more < 0 || (more > 0 && read_folder(&walk, remove_entry)))
            return end_walk(&walk, -1);
    }
    return end_walk(&walk, 0);
}

/* ---- listing ----------------------------------------------------------------------------------------------------- */

static unsigned char type_of(int folder, const char *name)
{
    struct stat stat;
    return fstatat(folder, name, &stat, AT_SYMLINK_NOFOLLOW) ? DT_UNKNOWN : IFTODT(stat.st_mode);
}

// What a batch of names becomes: three words (the length of their folder's path, how many they are, their bytes), the path
// from the root, a type for each (DT_ values), and the names with a NUL behind each.
static int put_batch(struct walk *walk)
{
    struct job *job = walk->job;
    const uint32_t head[3] = {(uint32_t)job->path_below.length, (uint32_t)walk->types.length,
                              (uint32_t)walk->names.length};
    const int rc = append(&job->out, head, sizeof(head)) ||
                   append(&job->out, job->path_below.at, job->path_below.length) ||
                   append(&job->out, walk->types.at, walk->types.length) ||
                   append(&job->out, walk->names.at, walk->names.length);
    walk->types.length = walk->names.length = 0;
    return rc ? fail(job, ENOMEM, CALL_SCANDIR) : 0;
}

static int list_entry(struct walk *walk, struct frame *frame, const struct entry *entry)
{
    struct job *job = walk->job;
    const unsigned char type = entry->type == DT_UNKNOWN ? type_of(frame->fd, entry->name) : entry->type;
    if (append(&walk->types, &type, 1) || append(&walk->names, entry->name, strlen(entry->name) + 1))
        return fail(job, ENOMEM, CALL_SCANDIR);
    return type == DT_DIR && (job->flags & LIST_RECURSIVE) ? later(walk, frame, entry->name) : 0;
}

static int list_tree(struct job *job)
{
    struct walk walk = {.job = job};
    int fd = job->folder;
    if (job->path)
        fd = open(job->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(job, errno, CALL_SCANDIR);
    job->folder = -1;
    if (!(walk.listing = malloc(LISTING_BYTES))) {
        close(fd);
        return fail(job, ENOMEM, CALL_SCANDIR);
    }
    if (enter(&walk, fd))
        return end_walk(&walk, -1);
    if (!job->path)
        lseek(fd, 0, SEEK_SET);
    if (read_folder(&walk, list_entry))
        return end_walk(&walk, -1);
    while (walk.depth) {
        struct frame *frame = &walk.frames[walk.depth - 1];
        if (frame->next >= frame->pending.length) {
            if (walk.depth > 1 && reopen_above(&walk))
                return end_walk(&walk, -1);
            leave(&walk);
            continue;
        }
        const char *name = frame->pending.at + frame->next;
        frame->next += strlen(name) + 1;
        if (name_path(job, frame->path_length, name))
            return end_walk(&walk, -1);
        const int below = open_below(frame->fd, name);
        if (below < 0) {
            // Gone, or something else by now.
            if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)
                continue;
            fail(job, errno, CALL_SCANDIR);
            return end_walk(&walk, -1);
        }
        if (enter(&walk, below) || read_folder(&walk, list_entry))
            return end_walk(&walk, -1);
    }
    return end_walk(&walk, 0);
}

/* ---- copying ----------------------------------------------------------------------------------------------------- */

enum { COPIED, NOT_REGULAR, SAME_FILE };
enum { COPY_PIECE = 128 * 1024, COPY_RANGE = 8 * 1024 * 1024, COPY_NS = 15000000 };

// What became of one name: COPIED, NOT_REGULAR (the source, nothing was done), SAME_FILE or -errno.
struct copied {
    int32_t status;
    uint32_t size_low, size_high;
};

static int write_all(int fd, const char *from, size_t length, off_t at)
{
    while (length > 0) {
        const ssize_t n = pwrite(fd, from, length, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -ENOSPC;
        from += n;
        at += n;
        length -= (size_t)n;
    }
    return 0;
}

// Copies [at, end) by reads and writes; with `end` < 0 all there is. Returns where it ended, which is earlier if the source
// is shorter by now.
static int64_t copy_by_pieces(struct job *job, int in, int out, int64_t at, int64_t end, char *piece)
{
    for (;;) {
        const size_t wanted = end >= 0 && end - at < COPY_PIECE ? (size_t)(end - at) : COPY_PIECE;
        if (wanted == 0)
            return at;
        if (atomic_load_explicit(&job->stop, memory_order_relaxed))
            return -ECANCELED;
        const ssize_t n = pread(in, piece, wanted, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : at;
        const int rc = write_all(out, piece, (size_t)n, at);
        if (rc)
            return rc;
        at += n;
    }
}

// As above, in the kernel where it can: it shares blocks where the file system does, and copies once.
static int64_t copy_extent(struct job *job, int in, int out, int64_t at, int64_t end, char *piece)
{
    const int64_t first = at;
    while (at < end) {
        if (atomic_load_explicit(&job->stop, memory_order_relaxed))
            return -ECANCELED;
        int64_t from = at, to = at;
        const size_t wanted = end - at < COPY_RANGE ? (size_t)(end - at) : COPY_RANGE;
        const long n = end - first <= COPY_PIECE ? -1 : syscall(SYS_copy_file_range, in, &from, out, &to, wanted, 0);
        if (n < 0 && errno == EINTR && end - first > COPY_PIECE)
            continue;
        if (n <= 0)
            return copy_by_pieces(job, in, out, at, end, piece);
        at += n;
    }
    return at;
}

// The contents of a regular file of `size` bytes into an empty one. Holes stay holes. Returns the length or -errno.
static int64_t copy_contents(struct job *job, int in, int out, const struct stat *source, char *piece)
{
    const int64_t size = source->st_size;
    if (size == 0)
        return copy_by_pieces(job, in, out, 0, -1, piece); // of /proc and the like, which say 0 and have more
    if ((int64_t)source->st_blocks * 512 >= size)
        return copy_extent(job, in, out, 0, size, piece);
    for (int64_t at = 0; at < size;) {
        const off_t data = lseek(in, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            break;
        const off_t hole = data < 0 ? -1 : lseek(in, data, SEEK_HOLE);
        const int64_t from = data < 0 ? at : data;
        const int64_t end = hole < 0 || hole > size ? size : hole;
        const int64_t copied = copy_extent(job, in, out, from, end, piece);
        if (copied < end)
            return copied;
        at = end;
    }
    return ftruncate(out, size) ? -errno : size;
}

// Opens the target: a new file, or with COPY_OVERWRITE the regular one that is there; what else is there goes, unless it is
// a folder. `made`: it is ours to remove.
static int open_target(const struct job *job, const char *name, mode_t mode, int *made)
{
    const int flags = O_WRONLY | O_NOFOLLOW | O_CLOEXEC;
    for (int tries = 0;; tries++) {
        const int fresh = openat(job->target, name, flags | O_CREAT | O_EXCL, mode & 0777);
        *made = fresh >= 0;
        if (fresh >= 0 || errno != EEXIST || !(job->flags & COPY_OVERWRITE) || tries > 8)
            return fresh;
        struct stat there;
        if (fstatat(job->target, name, &there, AT_SYMLINK_NOFOLLOW)) {
            if (errno == ENOENT)
                continue;
            return -1;
        }
        if (S_ISDIR(there.st_mode)) {
            errno = EISDIR;
            return -1;
        }
        if (S_ISREG(there.st_mode)) {
            const int old = openat(job->target, name, flags | O_NONBLOCK, 0);
            if (old >= 0 || (errno != ENOENT && errno != ELOOP))
                return old;
        } else if (unlinkat(job->target, name, 0) && errno != ENOENT)
            return -1;
    }
}

// Modes and times are given by the open descriptor.
static int give_attributes(const struct job *job, int in, int out, const struct stat *source, const struct stat *target)
{
    mode_t mode = source->st_mode & 07777;
    if ((job->flags & COPY_DROP_SET_ID) && (source->st_uid != target->st_uid || source->st_gid != target->st_gid))
        mode &= (mode_t)~(S_ISUID | S_ISGID);
    // Writing may have cleared set-id bits that the target had.
    if (((target->st_mode & 07777) != mode || (mode & (S_ISUID | S_ISGID))) && fchmod(out, mode))
        return -errno;
    if (job->flags & COPY_TIMES) {
        struct stat now;
        // Reading is an access: COPY_ACCESSED gives the time that the source has after it.
        const int later = (job->flags & COPY_ACCESSED) && !fstat(in, &now);
        const struct timespec accessed = later ? now.st_atim : source->st_atim;
        const struct timespec times[2] = {accessed, source->st_mtim};
        if (futimens(out, times))
            return -errno;
    }
    return 0;
}

static int64_t copy_name(struct job *job, const char *name, char *piece, int64_t *size)
{
    struct stat source, target;
    const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | (job->flags & COPY_FOLLOW ? 0 : O_NOFOLLOW);
    const int in = openat(job->folder, name, flags, 0);
    if (in < 0)
        return errno == ELOOP || errno == ENXIO ? NOT_REGULAR : -errno;
    int made = 0, out = -1;
    int64_t rc = fstat(in, &source) ? -errno : 0;
    if (rc == 0 && !S_ISREG(source.st_mode))
        rc = NOT_REGULAR;
    if (rc == 0) {
        *size = source.st_size;
        out = open_target(job, name, source.st_mode, &made);
        rc = out < 0 || fstat(out, &target) ? -errno : 0;
    }
    if (rc == 0 && target.st_dev == source.st_dev && target.st_ino == source.st_ino)
        rc = SAME_FILE;
    if (rc == 0 && !S_ISREG(target.st_mode))
        rc = -EEXIST; // it has been exchanged just now
    // Not emptied where every byte will be written: ext4 would flush it at the close.
    const int64_t kept = (int64_t)source.st_blocks * 512 >= source.st_size ? source.st_size : 0;
    if (rc == 0 && !made && target.st_size > kept && ftruncate(out, kept))
        rc = -errno;
    if (rc == 0) {
        const int64_t length = copy_contents(job, in, out, &source, piece);
        rc = length < 0 ? length : 0;
        if (rc == 0 && !made && length < target.st_size && ftruncate(out, length))
            rc = -errno; // the source is shorter by now
        made = 1; // either a copy or nothing
        *size = length;
    }
    if (rc == 0)
        rc = give_attributes(job, in, out, &source, &target);
    close(in);
    if (out >= 0 && close(out) && rc == 0 && errno != EINTR)
        rc = -errno;
    if (rc < 0 && made)
        unlinkat(job->target, name, 0);
    return rc;
}

// Copies the names one after another, until a failure or for some milliseconds: what has not been begun is the caller's to ask
// for again.
static void copy_names(struct job *job)
{
    char *piece = malloc(COPY_PIECE);
    const int64_t until = now_ns() + COPY_NS;
    for (const char *name = job->path; *name && now_ns() < until; name += strlen(name) + 1) {
        int64_t size = 0;
        const int64_t rc = piece ? copy_name(job, name, piece, &size) : -ENOMEM;
        struct copied copied = {.status = (int32_t)rc};
        split((uint64_t)size, &copied.size_low, &copied.size_high);
        if (append(&job->out, &copied, sizeof(copied)))
            job->failed = ENOMEM;
        if (rc < 0 || job->failed)
            break;
    }
    free(piece);
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

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

/* ---- what JavaScript calls --------------------------------------------------------------------------------------- */

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

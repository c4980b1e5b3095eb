// What is written down of a tree, and how names are copied from one open folder into another. Included by trees.h.

/* ---- listing ------------------------------------------------------------------------------------------------------- */

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

/* ---- copying ------------------------------------------------------------------------------------------------------- */

enum { COPIED, NOT_REGULAR, SAME_FILE };
enum { COPY_CHUNK = 128 * 1024, COPY_RANGE = 8 * 1024 * 1024, COPY_NS = 15000000 };

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
static int64_t copy_by_chunks(struct job *job, int in, int out, int64_t at, int64_t end, char *chunk)
{
    for (;;) {
        const size_t wanted = end >= 0 && end - at < COPY_CHUNK ? (size_t)(end - at) : COPY_CHUNK;
        if (wanted == 0)
            return at;
        if (atomic_load_explicit(&job->stop, memory_order_relaxed))
            return -ECANCELED;
        const ssize_t n = pread(in, chunk, wanted, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : at;
        const int rc = write_all(out, chunk, (size_t)n, at);
        if (rc)
            return rc;
        at += n;
    }
}

// As above, in the kernel where it can: it shares blocks where the file system does, and copies once.
static int64_t copy_extent(struct job *job, int in, int out, int64_t at, int64_t end, char *chunk)
{
    const int64_t first = at;
    while (at < end) {
        if (atomic_load_explicit(&job->stop, memory_order_relaxed))
            return -ECANCELED;
        int64_t from = at, to = at;
        const size_t wanted = end - at < COPY_RANGE ? (size_t)(end - at) : COPY_RANGE;
        const long n = end - first <= COPY_CHUNK ? -1 : syscall(SYS_copy_file_range, in, &from, out, &to, wanted, 0);
        if (n < 0 && errno == EINTR && end - first > COPY_CHUNK)
            continue;
        if (n <= 0)
            return copy_by_chunks(job, in, out, at, end, chunk);
        at += n;
    }
    return at;
}

// The contents of a regular file of `size` bytes into an empty one. Holes stay holes. Returns the length or -errno.
static int64_t copy_contents(struct job *job, int in, int out, const struct stat *source, char *chunk)
{
    const int64_t size = source->st_size;
    if (size == 0)
        return copy_by_chunks(job, in, out, 0, -1, chunk); // of /proc and the like, which say 0 and have more
    if ((int64_t)source->st_blocks * 512 >= size)
        return copy_extent(job, in, out, 0, size, chunk);
    for (int64_t at = 0; at < size;) {
        const off_t data = lseek(in, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            break;
        const off_t hole = data < 0 ? -1 : lseek(in, data, SEEK_HOLE);
        const int64_t from = data < 0 ? at : data;
        const int64_t end = hole < 0 || hole > size ? size : hole;
        const int64_t copied = copy_extent(job, in, out, from, end, chunk);
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

static int64_t copy_name(struct job *job, const char *name, char *chunk, int64_t *size)
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
        const int64_t length = copy_contents(job, in, out, &source, chunk);
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
    char *chunk = malloc(COPY_CHUNK);
    const int64_t until = now_ns() + COPY_NS;
    for (const char *name = job->path; *name && now_ns() < until; name += strlen(name) + 1) {
        int64_t size = 0;
        const int64_t rc = chunk ? copy_name(job, name, chunk, &size) : -ENOMEM;
        struct copied copied = {.status = (int32_t)rc};
        split((uint64_t)size, &copied.size_low, &copied.size_high);
        if (append(&job->out, &copied, sizeof(copied)))
            job->failed = ENOMEM;
        if (rc < 0 || job->failed)
            break;
    }
    free(chunk);
}

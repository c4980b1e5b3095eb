// How trees are walked by descriptors, a level at a time, and how they are removed. Included by trees.h, which says what holds for all.

/* ---- memory -------------------------------------------------------------------------------------------------------- */

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

/* ---- walking ------------------------------------------------------------------------------------------------------- */

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

/* ---- removing ------------------------------------------------------------------------------------------------------ */

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

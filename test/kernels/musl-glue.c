// What glibc's libstdc++ and libgcc_s name and musl 1.2.3 does not have: enough for Bun's musl build to start with them on a
// Debian machine, which has no libstdc++ for musl. On Alpine none of this is needed. For tests only.

#define _GNU_SOURCE
#include <locale.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

char __libc_single_threaded = 0;
struct {
    unsigned int vendor, type, subtype, features[1];
} __cpu_model;

int __cpu_indicator_init(void)
{
    return 0;
}

uint32_t arc4random(void)
{
    uint32_t value = 0;
    getrandom(&value, sizeof value, 0);
    return value;
}

size_t __strftime_l(char *out, size_t size, const char *format, const struct tm *time, locale_t locale)
{
    return strftime_l(out, size, format, time, locale);
}

// "Not found": the unwinder then looks by dl_iterate_phdr.
int _dl_find_object(void *address, void *result)
{
    (void)address, (void)result;
    return -1;
}

// Destructors of thread-local objects, last made first.
struct destructor {
    void (*function)(void *);
    void *object;
    struct destructor *next;
};
static pthread_key_t destructors;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void run(void *first)
{
    for (struct destructor *entry = first; entry;) {
        struct destructor *next = entry->next;
        entry->function(entry->object);
        free(entry);
        entry = next;
    }
}

static void make_key(void)
{
    pthread_key_create(&destructors, run);
}

int __cxa_thread_atexit_impl(void (*function)(void *), void *object, void *library)
{
    (void)library;
    pthread_once(&once, make_key);
    struct destructor *entry = malloc(sizeof *entry);
    if (!entry)
        return -1;
    *entry = (struct destructor){function, object, pthread_getspecific(destructors)};
    return pthread_setspecific(destructors, entry);
}

/* A disk that is full from a chosen call on: preloaded, it counts and fails what changes files below a folder. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char below[PATH_MAX];
static int first, for_ever;
static int *calls; /* shared with processes that are forked */

void disk_fail(int number, int stays, const char *folder) {
    if (!calls) calls = mmap(NULL, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    *calls = 0;
    first = number;
    for_ever = stays;
    strncpy(below, folder, sizeof below - 1);
}

int disk_calls(void) { return calls ? *calls : 0; }

static int counted(const char *path) { return calls && below[0] && !strncmp(path, below, strlen(below)); }

static int fails(void) {
    int number = __sync_add_and_fetch(calls, 1);
    if (number == first || (for_ever && first && number > first)) {
        errno = ENOSPC;
        return 1;
    }
    return 0;
}

static int fails_on(int handle) {
    char link[64], path[PATH_MAX];
    if (!calls || !below[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return counted(path) && fails();
}

static int fails_at(const char *path) {
    char whole[PATH_MAX];
    if (!calls || !below[0]) return 0;
    if (path[0] == '/') return counted(path) && fails();
    if (!getcwd(whole, sizeof whole - strlen(path) - 2)) return 0;
    strcat(strcat(whole, "/"), path);
    return counted(whole) && fails();
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name)
#define ON_HANDLE(type, name, declared, ...) \
    type name declared { REAL(name); if (fails_on(handle)) return -1; return real(__VA_ARGS__); }
#define ON_PATH(name, declared, ...) \
    int name declared { REAL(name); if (fails_at(path)) return -1; return real(__VA_ARGS__); }

/* The last write that there is room for may be for a part of what is written. */
ssize_t write(int handle, const void *data, size_t size) {
    REAL(write);
    if (fails_on(handle)) return for_ever && disk_calls() == first && size > 1 ? real(handle, data, size / 2) : -1;
    return real(handle, data, size);
}

ON_HANDLE(ssize_t, pwrite, (int handle, const void *data, size_t size, off_t at), handle, data, size, at)
ON_HANDLE(ssize_t, pwrite64, (int handle, const void *data, size_t size, off64_t at), handle, data, size, at)
ON_HANDLE(ssize_t, writev, (int handle, const struct iovec *parts, int count), handle, parts, count)
ON_HANDLE(int, fsync, (int handle), handle)
ON_HANDLE(int, fdatasync, (int handle), handle)
ON_PATH(rename, (const char *path, const char *name), path, name)
ON_PATH(link, (const char *path, const char *name), path, name)
ON_PATH(renameat2, (int from, const char *path, int to, const char *name, unsigned how), from, path, to, name, how)
ON_PATH(mkdir, (const char *path, mode_t mode), path, mode)

static int makes(int flags) { return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE; }
#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); va_list rest; va_start(rest, flags); int mode = va_arg(rest, int); va_end(rest); \
        if (makes(flags) && fails_at(path)) return -1; \
        return real(path, flags, mode); }
OPEN(open)
OPEN(open64)

/* Shifts the wall clock of whoever runs with this in LD_PRELOAD, by the nanoseconds that the file $CHAOS_CLOCK holds.
 *
 * The file is mapped, so a jump is seen by all processes at once, also by those that were forked before. What measures
 * lengths of time (CLOCK_MONOTONIC) is left alone, as it is when a machine's clock is set.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static const volatile int64_t *offset;
static int (*real_clock_gettime)(clockid_t, struct timespec *);
static int (*real_sem_timedwait)(sem_t *, const struct timespec *);

__attribute__((constructor)) static void begin(void) {
    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    real_sem_timedwait = dlsym(RTLD_NEXT, "sem_timedwait");
    const char *path = getenv("CHAOS_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *page = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED) offset = page;
    close(fd);
}

static struct timespec shifted(struct timespec at, int64_t by) {
    int64_t nanoseconds = at.tv_nsec + by % SECOND;
    at.tv_sec += by / SECOND + (nanoseconds >= SECOND) - (nanoseconds < 0);
    at.tv_nsec = (nanoseconds + SECOND) % SECOND;
    return at;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    if (!real_clock_gettime) begin(); /* another library's constructor came first */
    int result = real_clock_gettime(clock, at);
    if (result == 0 && offset && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) *at = shifted(*at, *offset);
    return result;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    (void)zone;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

/* The kernel waits by its own clock, which was not shifted. */
int sem_timedwait(sem_t *semaphore, const struct timespec *until) {
    if (!real_sem_timedwait) begin();
    struct timespec at = shifted(*until, offset ? -*offset : 0);
    return real_sem_timedwait(semaphore, &at);
}

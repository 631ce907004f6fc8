/* Shift clocks and delay syncs of one process and its threads.
 *
 * Loaded before the C library's own functions (LD_PRELOAD). Three numbers in a memory-mapped file
 * hold the changes, so that another process can set them at any time:
 *
 *   wall    offset of CLOCK_REALTIME and its variants, nanoseconds;
 *   steady  offset of CLOCK_MONOTONIC and its variants: below 0 after a suspend, during which they
 *           stop. CLOCK_BOOTTIME counts suspends, and is not changed;
 *   sync    additional duration of each sync.
 *
 * The kernel does not know the shifted clocks. A wait until a time of the monotonic clock is
 * converted to the kernel's time; a wait that began before a suspend goes on after it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const int64_t SECOND = 1000000000;
/* Seconds. A time before this is not a wall clock time, but one of a clock that began at boot. */
static const int64_t NO_WALL_CLOCK = 500000000;

struct settings {
    int64_t wall, steady, sync;
};
static volatile const struct settings *settings;

__attribute__((constructor)) static void map_settings(void) {
    const char *path = getenv("BRAFT_FAULTS_INTERPOSER");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *memory = mmap(NULL, sizeof *settings, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (memory != MAP_FAILED) settings = memory;
}

static struct timespec moved(struct timespec time, int64_t by) {
    int64_t nanos = time.tv_nsec + by % SECOND;
    time.tv_sec += by / SECOND + (nanos >= SECOND) - (nanos < 0);
    time.tv_nsec = nanos + (nanos < 0 ? SECOND : nanos >= SECOND ? -SECOND : 0);
    return time;
}

static int is_wall(clockid_t clock) {
    return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
}

static int is_steady(clockid_t clock) {
    return clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_RAW ||
           clock == CLOCK_MONOTONIC_COARSE;
}

/* Convert a time of the shifted monotonic clock to the kernel's time. */
static struct timespec of_kernel(const struct timespec *moment) {
    return moved(*moment, settings ? -settings->steady : 0);
}

/* ------------------------------------------------------------------------------ reading */

int clock_gettime(clockid_t clock, struct timespec *time) {
    int failed = (int)syscall(SYS_clock_gettime, clock, time);
    if (!failed && settings && is_wall(clock)) *time = moved(*time, settings->wall);
    if (!failed && settings && is_steady(clock)) *time = moved(*time, settings->steady);
    return failed;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now)) return (time_t)-1;
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}

/* ------------------------------------------------------------------------------ waiting */

static int is_over(clockid_t clock, const struct timespec *moment) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec > moment->tv_sec ||
           (now.tv_sec == moment->tv_sec && now.tv_nsec >= moment->tv_nsec);
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *until,
                    struct timespec *rest) {
    if (!is_steady(clock) || !(flags & TIMER_ABSTIME))
        return syscall(SYS_clock_nanosleep, clock, flags, until, rest) ? errno : 0;
    do {
        struct timespec moment = of_kernel(until);
        if (syscall(SYS_clock_nanosleep, clock, flags, &moment, NULL)) return errno;
    } while (!is_over(clock, until));
    return 0;
}

int sem_clockwait(sem_t *semaphore, clockid_t clock, const struct timespec *until) {
    static int (*next)(sem_t *, clockid_t, const struct timespec *);
    if (!next) *(void **)&next = dlsym(RTLD_NEXT, "sem_clockwait");
    if (!is_steady(clock)) return next(semaphore, clock, until);
    int failed;
    do {
        struct timespec moment = of_kernel(until);
        failed = next(semaphore, clock, &moment);
    } while (failed && errno == ETIMEDOUT && !is_over(clock, until));
    return failed;
}

/* A wait for a condition may end early at any time: callers check the condition and wait again. */

int pthread_cond_clockwait(pthread_cond_t *condition, pthread_mutex_t *mutex, clockid_t clock,
                           const struct timespec *until) {
    static int (*next)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
    if (!next) *(void **)&next = dlsym(RTLD_NEXT, "pthread_cond_clockwait");
    struct timespec moment = is_steady(clock) ? of_kernel(until) : *until;
    return next(condition, mutex, clock, &moment);
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    static int (*next)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!next) *(void **)&next = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    /* Only the condition variable knows which clock it uses. */
    struct timespec moment = until->tv_sec < NO_WALL_CLOCK ? of_kernel(until) : *until;
    return next(condition, mutex, &moment);
}

/* ------------------------------------------------------------------------------ syncs */

static void hold_back(void) {
    int64_t nanos = settings ? settings->sync : 0;
    struct timespec rest = {nanos / SECOND, nanos % SECOND};
    while (nanos > 0 && syscall(SYS_nanosleep, &rest, &rest) && errno == EINTR) {
    }
}

int fsync(int fd) {
    hold_back();
    return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd) {
    hold_back();
    return (int)syscall(SYS_fdatasync, fd);
}

int sync_file_range(int fd, off64_t offset, off64_t count, unsigned int flags) {
    hold_back();
    return (int)syscall(SYS_sync_file_range, fd, offset, count, flags);
}

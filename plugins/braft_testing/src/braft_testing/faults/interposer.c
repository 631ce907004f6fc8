/* Clocks that can be set and syncs that take their time, for one process and its threads.
 *
 * Loaded before the C library's own functions (LD_PRELOAD). Three numbers in a file that is mapped
 * into memory say what is different, so that it can be changed from outside at any moment:
 *
 *   wall    what CLOCK_REALTIME and its relatives are ahead, nanoseconds;
 *   steady  what CLOCK_MONOTONIC and its relatives are ahead: below 0 after a suspend, during which
 *           they stand still. CLOCK_BOOTTIME counts suspends, and is left alone;
 *   sync    how much longer each sync takes.
 *
 * The kernel knows nothing of the shifted clocks. What waits until a moment of the monotonic clock is
 * given the kernel's own moment; a wait that was under way in a suspend goes on after it.
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
/* Seconds. A moment before it is not one of the wall clock, but of a clock that began at the boot. */
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

/* The kernel's moment of a moment of the shifted monotonic clock. */
static struct timespec of_kernel(const struct timespec *moment) {
    return moved(*moment, settings ? -settings->steady : 0);
}

/* ------------------------------------------------------------------------------ looking */

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

/* A wait for a condition may end too early at any time: its callers look, and wait again. */

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
    /* Which clock it goes by, only the condition knows. */
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

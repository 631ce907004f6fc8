/* A wall clock that can be set, for one process and its threads.
 *
 * Loaded before the C library's own functions (LD_PRELOAD). The offset in nanoseconds is a number in
 * a file that is mapped into memory, so that it can be changed from outside at any moment. Only
 * CLOCK_REALTIME and its relatives are moved; the monotonic clock stays what it is.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *offset;

__attribute__((constructor)) static void map_offset(void) {
    const char *path = getenv("BRAFT_FAULTS_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *memory = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (memory != MAP_FAILED) offset = memory;
}

static void move(struct timespec *time) {
    const int64_t second = 1000000000;
    int64_t by = offset ? *offset : 0;
    int64_t nanos = time->tv_nsec + by % second;
    time->tv_sec += by / second + (nanos >= second) - (nanos < 0);
    time->tv_nsec = nanos + (nanos < 0 ? second : nanos >= second ? -second : 0);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int failed = (int)syscall(SYS_clock_gettime, clock, time);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) move(time);
    return failed;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    if (time) {
        time->tv_sec = now.tv_sec;
        time->tv_usec = now.tv_nsec / 1000;
    }
    return 0;
}

time_t time(time_t *result) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now)) return (time_t)-1;
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}

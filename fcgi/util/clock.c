#include "util/clock.h"

#include <time.h>

static int64_t read_us(clockid_t id) {
    struct timespec t;
    must(clock_gettime(id, &t) == 0);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_unix_s(void) {
    return read_us(CLOCK_REALTIME) / 1000000;
}

int64_t clock_unix_us(void) {
    return read_us(CLOCK_REALTIME);
}

int64_t clock_mono_us(void) {
    return read_us(CLOCK_MONOTONIC);
}

int64_t clock_mono_ms(void) {
    return read_us(CLOCK_MONOTONIC) / 1000;
}

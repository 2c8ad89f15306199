#include "util/log.h"

#include "util/buf.h"
#include "util/clock.h"
#include "util/lock.h"
#include "util/secret.h"

#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static const struct {
    const char *name;
    enum log_level level;
} events[] = {
#define EVENT(name, level, text) {#name, level},
#include "util/log.def"
#undef EVENT
};
static_assert(ARRAY_LEN(events) == LOG_EV__MAX, "log.def and the table differ");

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static enum log_level threshold = LOG_INFO;
static int out_fd = STDERR_FILENO;
static struct rwlock setup_lock = RWLOCK_INIT;

bool log_setup(enum log_level level, const char *path) {
    int fd = STDERR_FILENO;
    if (path && path[0] && strcmp(path, "-") != 0) {
        fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
        if (fd < 0)
            return false;
    }
    LOCKED_WRITE(&setup_lock);
    if (out_fd != STDERR_FILENO)
        close(out_fd);
    out_fd = fd;
    threshold = level;
    return true;
}

bool log_level_parse(struct str name, enum log_level *out) {
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++)
        if (str_eqc(name, level_names[i])) {
            *out = (enum log_level)i;
            return true;
        }
    return false;
}

const char *log_event_name(enum log_event ev) {
    return ev < LOG_EV__MAX ? events[ev].name : NULL;
}

bool log_wants(enum log_event ev) {
    LOCKED_READ(&setup_lock);
    return events[ev].level >= threshold;
}

static void put_time(struct buf *b, int64_t us) {
    time_t s = (time_t)(us / 1000000);
    struct tm tm;
    gmtime_r(&s, &tm);
    buf_printf(b, "{\"time\":\"%04d-%02d-%02dT%02d:%02d:%02d.%03dZ\"", tm.tm_year + 1900,
               tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
               (int)(us % 1000000 / 1000));
}

void log_write(enum log_event ev, const struct log_field *fields, size_t n) {
    if (!log_wants(ev))
        return;
    struct buf b AUTO(buf_free) = BUF(16 * 1024);
    put_time(&b, clock_unix_us());
    buf_printf(&b, ",\"level\":\"%s\",\"event\":\"", level_names[events[ev].level]);
    for (const char *c = events[ev].name; *c; c++)
        buf_putc(&b, *c >= 'A' && *c <= 'Z' ? (char)(*c | 0x20) : *c);
    buf_putc(&b, '"');
    for (size_t i = 0; i < n; i++) {
        buf_printf(&b, ",\"%s\":", fields[i].name);
        if (!fields[i].s.p) {
            buf_i64(&b, fields[i].i);
            continue;
        }
        struct buf clean AUTO(buf_free) = BUF(4096);
        secret_scrub(&clean, str_sub(fields[i].s, 0, 2000));
        buf_json(&b, buf_view(&clean));
    }
    buf_puts(&b, "}\n");
    if (b.failed)
        return;
    LOCKED_READ(&setup_lock);
    ssize_t w = write(out_fd, b.p, b.n);
    (void)w; /* a full disk must not stop the gateway */
}

/* log.h - one JSON line per event, to stderr or a file; secrets never get here.
 *
 *   LOG(LOG_EV_WORKER_STARTED, log_s("socket", path), log_i("pid", getpid()));
 *
 * The events, their levels and texts are rows of log.def. A value that looks like a credential is
 * masked by secret_scrub before it is written. Any thread; a line is one write().
 */
#pragma once

#include "util/str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

enum log_event {
#define EVENT(name, level, text) LOG_EV_##name,
#include "util/log.def"
#undef EVENT
    LOG_EV__MAX
};

struct log_field {
    const char *name;
    struct str s; /* used when s.p */
    int64_t i;
};

static inline struct log_field log_str(const char *name, struct str s) {
    return (struct log_field){name, s.p ? s : (struct str){"", 0}, 0};
}
static inline struct log_field log_s(const char *name, const char *s) {
    return log_str(name, str_c(s));
}
static inline struct log_field log_i(const char *name, int64_t i) {
    return (struct log_field){name, STR_NONE, i};
}

/* Lines below `level` are dropped. path NULL or "-" = stderr. False when the file can't be opened
 * (the old destination stays). Called again on SIGHUP. */
must_use bool log_setup(enum log_level level, const char *path);
must_use bool log_level_parse(struct str name, enum log_level *out);
void log_write(enum log_event ev, const struct log_field *fields, size_t n);
/* True when the event would be written: guards expensive fields. */
bool log_wants(enum log_event ev);
/* The name the event has in the lines ("worker_started"), NULL past the end: for the docs. */
const char *log_event_name(enum log_event ev);

#define LOG(ev, ...)                                 \
    log_write(ev, (struct log_field[]){__VA_ARGS__}, \
              sizeof((struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field))

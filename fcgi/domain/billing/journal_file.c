#include "domain/billing/journal_file.h"

#include "domain/billing/record.h"
#include "door/zip.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define NAME_DIGITS 16

struct header {
    char magic[8];
    uint32_t opened_size, bill_size; /* another program version's records are not ours to read */
    int64_t worker;
    uint64_t last_seq;
};

struct frame {
    uint32_t length, crc; /* of kind and payload */
    uint32_t kind;
};

static_assert(sizeof(struct frame) == JOURNAL_FRAME, "the frame's size is part of the format");

static void lock_path(char path[JOURNAL_PATH_MAX], const char *dir, int64_t worker,
                      const char *ending) {
    int n = snprintf(path, JOURNAL_PATH_MAX, "%s/%016" PRIx64 ".%s", dir, (uint64_t)worker, ending);
    must(n > 0 && n < JOURNAL_PATH_MAX);
}

void journal_file_segment(char path[JOURNAL_PATH_MAX], const char *dir, int64_t worker,
                          uint64_t number) {
    char ending[48];
    snprintf(ending, sizeof ending, "%" PRIu64 ".journal", number);
    lock_path(path, dir, worker, ending);
}

int journal_file_lock_new(const char *dir, int64_t worker) {
    char making[JOURNAL_PATH_MAX], path[JOURNAL_PATH_MAX];
    lock_path(making, dir, worker, "new");
    lock_path(path, dir, worker, "lock");
    int fd = open(making, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 || link(making, path) != 0)
        base_closep(&fd);
    unlink(making);
    return fd;
}

int journal_file_lock_dead(const char *dir, int64_t worker) {
    char path[JOURNAL_PATH_MAX];
    lock_path(path, dir, worker, "lock");
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -1;
    /* a file deleted between open and flock was adopted by somebody else */
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 || access(path, F_OK) != 0)
        base_closep(&fd);
    return fd;
}

static bool worker_of(const char *name, const char *ending, int64_t *worker) {
    struct str s = str_c(name);
    uint8_t raw[NAME_DIGITS / 2];
    if (!str_ends(s, str_c(ending)) || s.n < NAME_DIGITS + 1 || s.p[NAME_DIGITS] != '.')
        return false;
    if (!str_hex(str_sub(s, 0, NAME_DIGITS), raw, sizeof raw))
        return false;
    uint64_t id = 0;
    for (size_t i = 0; i < sizeof raw; i++)
        id = id << 8 | raw[i];
    *worker = (int64_t)id;
    return true;
}

bool journal_file_workers(const char *dir, bool (*fn)(void *ctx, int64_t worker), void *ctx) {
    DIR *d = opendir(dir);
    if (!d)
        return false;
    bool stop = false;
    for (struct dirent *e; !stop && (e = readdir(d));) {
        int64_t worker;
        if (worker_of(e->d_name, ".lock", &worker))
            stop = fn(ctx, worker);
    }
    closedir(d);
    return stop;
}

static int by_number(const void *a, const void *b) {
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

size_t journal_file_segments(const char *dir, int64_t worker, uint64_t **out) {
    *out = NULL;
    size_t n = 0, cap = 0;
    DIR *d = opendir(dir);
    if (!d)
        return 0;
    for (struct dirent *e; (e = readdir(d));) {
        int64_t owner;
        uint64_t number;
        if (!worker_of(e->d_name, ".journal", &owner) || owner != worker)
            continue;
        struct str s = str_from(str_c(e->d_name), NAME_DIGITS + 1);
        if (s.n < sizeof ".journal" || !str_u64(str_sub(s, 0, s.n - strlen(".journal")), &number))
            continue;
        if (n == cap) {
            cap = cap ? cap * 2 : 8;
            *out = base_realloc(*out, cap * sizeof **out);
        }
        (*out)[n++] = number;
    }
    closedir(d);
    if (n)
        qsort(*out, n, sizeof **out, by_number);
    return n;
}

void journal_file_remove(const char *dir, int64_t worker) {
    uint64_t *numbers AUTO(base_freep) = NULL;
    size_t n = journal_file_segments(dir, worker, &numbers);
    char path[JOURNAL_PATH_MAX];
    for (size_t i = 0; i < n; i++) {
        journal_file_segment(path, dir, worker, numbers[i]);
        unlink(path);
    }
    lock_path(path, dir, worker, "bell");
    unlink(path);
    lock_path(path, dir, worker, "lock");
    unlink(path);
}

static struct header header_of(int64_t worker, uint64_t last_seq) {
    struct header h = {.magic = "TGJRNL2",
                       .opened_size = sizeof(struct opened),
                       .bill_size = sizeof(struct bill),
                       .worker = worker,
                       .last_seq = last_seq};
    return h;
}

void journal_file_header(struct buf *out, int64_t worker, uint64_t last_seq) {
    struct header h = header_of(worker, last_seq);
    buf_put(out, &h, sizeof h);
}

bool journal_file_check(struct str *rest, int64_t worker, uint64_t *last_seq) {
    struct header h = header_of(worker, 0), got;
    if (rest->n < sizeof h)
        return false;
    memcpy(&got, rest->p, sizeof got);
    *last_seq = h.last_seq = got.last_seq;
    if (memcmp(&got, &h, sizeof h) != 0)
        return false;
    *rest = str_from(*rest, sizeof h);
    return true;
}

void journal_file_set_aside(const char *dir, int64_t worker) {
    char path[JOURNAL_PATH_MAX], to[JOURNAL_PATH_MAX];
    lock_path(path, dir, worker, "lock");
    lock_path(to, dir, worker, "bad");
    if (rename(path, to) != 0)
        unlink(path);
}

size_t journal_file_begin(struct buf *out, enum journal_kind kind) {
    size_t at = out->n;
    struct frame f = {.kind = kind};
    buf_put(out, &f, sizeof f);
    return at;
}

void journal_file_end(struct buf *out, size_t at) {
    if (out->failed)
        return;
    struct frame f;
    memcpy(&f, out->p + at, sizeof f);
    f.length = (uint32_t)(out->n - at - sizeof f);
    size_t from = at + offsetof(struct frame, kind);
    f.crc = zip_crc32(str_of(out->p + from, out->n - from));
    memcpy(out->p + at, &f, sizeof f);
}

int journal_file_next(struct str *rest, enum journal_kind *kind, struct str *payload) {
    if (!rest->n)
        return 0;
    struct frame f;
    if (rest->n < sizeof f)
        return -1;
    memcpy(&f, rest->p, sizeof f);
    if (!f.length && !f.crc && !f.kind) /* allocated ahead, not written yet */
        return 0;
    if (rest->n - sizeof f < f.length)
        return -1;
    size_t from = offsetof(struct frame, kind);
    if (zip_crc32(str_sub(*rest, from, sizeof f - from + f.length)) != f.crc)
        return -1;
    if (f.kind != JOURNAL_OPENED && f.kind != JOURNAL_ENDED)
        return -1;
    *kind = (enum journal_kind)f.kind;
    *payload = str_sub(*rest, sizeof f, f.length);
    *rest = str_from(*rest, sizeof f + f.length);
    return 1;
}

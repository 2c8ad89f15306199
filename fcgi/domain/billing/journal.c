#include "domain/billing/journal.h"

#include "domain/billing/journal_file.h"
#include "domain/billing/journal_sync.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* What one ended call needs at most; space for every call under way is allocated before it is
 * opened, so that a full disk refuses new calls and never loses the end of an old one. */
#define END_MAX ((int64_t)(sizeof(struct bill) + 64))
#define GROW_BYTES (INT64_C(1) << 20)
#define WINDOW_STEP (INT64_C(64) << 10) /* a multiple of any page's size */

/* A full segment that is kept until `last_seq` is in the database. */
struct segment {
    struct list node;
    uint64_t number, last_seq;
    int64_t bytes;
};

struct journal {
    struct lock lock;
    struct journal_conf conf;
    char dir[JOURNAL_PATH_MAX];
    int lock_fd, fd;
    uint64_t number, next_serial, last_seq;
    int64_t bytes, allocated, old_bytes;
    char *window; /* the segment's allocated end: what is written there is in the page cache */
    int64_t window_at, window_n;
    int64_t touched; /* of the segment's bytes: their pages are there */
    int64_t n_open;
    struct list old;  /* of struct segment, oldest first */
    struct list open; /* of struct opened */
    struct buf scratch;
    struct journal_sync *sync; /* NULL: nothing waits for the disk */
    uint64_t appends;
};

/* True when `more` bytes and the ends of all calls under way fit into fd, `bytes` long. */
static bool make_room(const struct journal *j, int fd, int64_t bytes, int64_t more,
                      int64_t *allocated) {
    int64_t want = bytes + more + (j->n_open + 1) * END_MAX;
    if (want <= *allocated)
        return true;
    int64_t to = *allocated + (want - *allocated + GROW_BYTES - 1) / GROW_BYTES * GROW_BYTES;
    if (posix_fallocate(fd, *allocated, to - *allocated) != 0)
        return false;
    *allocated = to;
    return true;
}

static void close_window(struct journal *j) {
    if (j->window)
        munmap(j->window, (size_t)j->window_n);
    j->window = NULL;
}

/* The pages up to `end`, and some more, at once: a fault for each would take longer. Where the
 * kernel can not do that, writing takes the faults. */
static void touch(struct journal *j, int64_t end) {
    if (end <= j->touched)
        return;
    int64_t from = j->touched, most = j->window_at + j->window_n;
    int64_t to = (end + WINDOW_STEP - 1) / WINDOW_STEP * WINDOW_STEP;
    j->touched = to < most ? to : most;
#ifdef MADV_POPULATE_WRITE
    madvise(j->window + (from - j->window_at), (size_t)(j->touched - from), MADV_POPULATE_WRITE);
#endif
}

/* Where the next `n` bytes go; NULL when there is no room for them. */
static char *next_bytes(struct journal *j, int64_t n) {
    if (j->bytes + n > j->allocated && !make_room(j, j->fd, j->bytes, n, &j->allocated))
        return NULL;
    if (!j->window || j->bytes + n > j->window_at + j->window_n) {
        close_window(j);
        j->window_at = j->bytes / WINDOW_STEP * WINDOW_STEP;
        j->window_n = j->allocated - j->window_at;
        void *p =
            mmap(NULL, (size_t)j->window_n, PROT_WRITE, MAP_SHARED, j->fd, (off_t)j->window_at);
        if (p == MAP_FAILED)
            return NULL;
        j->window = p;
        j->touched = j->window_at;
    }
    touch(j, j->bytes + n);
    return j->window + (j->bytes - j->window_at);
}

/* Into the page cache without a system call, which the fronts would queue for. Who dies here leaves
 * no record: the frame that begins the bytes is written last, and without it a segment ends. */
static bool write_all(struct journal *j, struct str bytes) {
    char *to = next_bytes(j, (int64_t)bytes.n);
    if (!to)
        return false;
    size_t head = bytes.n < JOURNAL_FRAME ? bytes.n : JOURNAL_FRAME;
    memcpy(to + head, bytes.p + head, bytes.n - head);
    __atomic_signal_fence(__ATOMIC_RELEASE);
    memcpy(to, bytes.p, head);
    j->bytes += (int64_t)bytes.n;
    j->appends++;
    return true;
}

static void put_opened(struct journal *j, const struct opened *o) {
    size_t at = journal_file_begin(&j->scratch, JOURNAL_OPENED);
    opened_write(&j->scratch, o);
    journal_file_end(&j->scratch, at);
}

/* A new file is found after a power cut when its folder is on the disk, too. What stands in the old
 * one is nobody's to write through any more. */
static bool sync_segments(const struct journal *j, int new_fd) {
    if (!j->conf.sync)
        return true;
    int dir_fd AUTO(base_closep) = open(j->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return dir_fd >= 0 && fdatasync(new_fd) == 0 && fsync(dir_fd) == 0 &&
           (j->fd < 0 || fdatasync(j->fd) == 0);
}

/* On failure the old segment stays in use: larger than it should be, but whole. */
static void start_segment(struct journal *j) {
    char path[JOURNAL_PATH_MAX];
    journal_file_segment(path, j->dir, j->conf.worker_id, j->number + 1);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    buf_clear(&j->scratch);
    journal_file_header(&j->scratch, j->conf.worker_id, j->last_seq);
    LIST_EACH (n, &j->open)
        put_opened(j, CONTAINER_OF(n, struct opened, node));
    struct str head = buf_view(&j->scratch);
    int64_t allocated = 0;
    if (j->scratch.failed || !make_room(j, fd, 0, (int64_t)head.n, &allocated) ||
        pwrite(fd, head.p, head.n, 0) != (ssize_t)head.n || !sync_segments(j, fd)) {
        close(fd);
        unlink(path);
        return;
    }
    if (j->fd >= 0) {
        struct segment *s = base_zalloc(sizeof *s);
        *s = (struct segment){.number = j->number, .last_seq = j->last_seq, .bytes = j->bytes};
        list_push(&j->old, &s->node);
        j->old_bytes += j->bytes;
        close_window(j);
        close(j->fd);
    }
    j->fd = fd;
    j->number++;
    j->bytes = (int64_t)head.n;
    j->allocated = allocated;
}

static int file_to_sync(void *ctx, uint64_t *last) {
    struct journal *j = ctx;
    LOCKED(&j->lock);
    *last = j->appends;
    return fcntl(j->fd, F_DUPFD_CLOEXEC, 0);
}

enum err journal_open(const struct journal_conf *conf, struct journal **out, struct fault *f) {
    struct journal *j = base_zalloc(sizeof *j);
    j->conf = *conf;
    j->fd = -1;
    j->next_serial = 1;
    must(str_copy(str_c(conf->dir), j->dir, sizeof j->dir));
    lock_init(&j->lock);
    list_init(&j->old);
    list_init(&j->open);
    buf_init(&j->scratch, 256u << 20);
    j->lock_fd = journal_file_lock_new(j->dir, conf->worker_id);
    if (j->lock_fd >= 0)
        start_segment(j);
    if (j->fd < 0) {
        journal_close(&j, true);
        return fault_set(f, ERR_INTERNAL, "%s: journal can not be written", conf->dir);
    }
    if (conf->sync)
        j->sync = journal_sync_start(file_to_sync, j);
    *out = j;
    return OK;
}

static void drop_segment(struct journal *j, struct segment *s) {
    char path[JOURNAL_PATH_MAX];
    journal_file_segment(path, j->dir, j->conf.worker_id, s->number);
    unlink(path);
    j->old_bytes -= s->bytes;
    list_remove(&s->node);
    free(s);
}

void journal_close(struct journal **jp, bool done) {
    struct journal *j = *jp;
    *jp = NULL;
    if (!j)
        return;
    journal_sync_stop(&j->sync);
    LIST_EACH_SAFE (n, next, &j->old) {
        struct segment *s = CONTAINER_OF(n, struct segment, node);
        if (done) {
            drop_segment(j, s);
        } else {
            free(s);
        }
    }
    close_window(j);
    base_closep(&j->fd);
    if (done && j->lock_fd >= 0)
        journal_file_remove(j->dir, j->conf.worker_id);
    base_closep(&j->lock_fd);
    buf_free(&j->scratch);
    lock_free(&j->lock);
    free(j);
}

static enum err append_opened(struct journal *j, struct opened *o, uint64_t *append) {
    LOCKED(&j->lock);
    if (j->bytes + j->old_bytes > j->conf.max_bytes)
        return ERR_JOURNAL_FULL;
    if (j->bytes > j->conf.segment_bytes)
        start_segment(j);
    o->serial = j->next_serial++;
    buf_clear(&j->scratch);
    put_opened(j, o);
    struct str record = buf_view(&j->scratch);
    if (!make_room(j, j->fd, j->bytes, (int64_t)record.n, &j->allocated) || !write_all(j, record))
        return ERR_JOURNAL_FULL;
    list_push(&j->open, &o->node);
    j->n_open++;
    *append = j->appends;
    return OK;
}

/* Its record may have been copied, and others stand behind it: another one says that it costs
 * nothing. */
static void take_back(struct journal *j, struct opened *o) {
    LOCKED(&j->lock);
    list_remove(&o->node);
    j->n_open--;
    o->interrupted_cost = 0;
    buf_clear(&j->scratch);
    put_opened(j, o);
    bool written = write_all(j, buf_view(&j->scratch));
    (void)written; /* a disk that takes nothing */
}

enum err journal_open_call(struct journal *j, struct opened *o) {
    uint64_t append;
    enum err e = append_opened(j, o, &append);
    if (!e && j->sync && !journal_sync_wait(j->sync, append)) {
        take_back(j, o);
        e = ERR_JOURNAL_FULL;
    }
    return e;
}

bool journal_end(struct journal *j, const struct bill *bill, struct opened *opened) {
    LOCKED(&j->lock);
    buf_clear(&j->scratch);
    size_t at = journal_file_begin(&j->scratch, JOURNAL_ENDED);
    bill_write(&j->scratch, bill);
    journal_file_end(&j->scratch, at);
    list_remove(&opened->node);
    j->n_open--;
    j->last_seq = bill->seq;
    bool written = !j->scratch.failed && write_all(j, buf_view(&j->scratch));
    if (written && j->sync)
        journal_sync_ask(j->sync, j->appends);
    return written;
}

void journal_applied(struct journal *j, uint64_t seq) {
    LOCKED(&j->lock);
    LIST_EACH_SAFE (n, next, &j->old) {
        struct segment *s = CONTAINER_OF(n, struct segment, node);
        if (s->last_seq > seq)
            break;
        drop_segment(j, s);
    }
}

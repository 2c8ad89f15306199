#include "domain/billing/state.h"

#include "util/log.h"
#include "util/memory.h"

#include <poll.h>

#define GATHER_MS 1
#define ATTEND_ROUNDS 20 /* of GATHER_MS without a call, until it sleeps */

struct batch {
    struct bill **bills;
    struct opened **opened;
    size_t cap;
};

static void reserve(struct batch *t, size_t n) {
    if (n <= t->cap)
        return;
    t->cap = n * 2;
    t->bills = base_realloc(t->bills, t->cap * sizeof(struct bill *));
    t->opened = base_realloc(t->opened, t->cap * sizeof(struct opened *));
}

/* Ended calls get their order here. */
static void write_ended(struct billing *b, struct list *ended, size_t n, struct batch *t,
                        uint64_t *seq) {
    size_t i = 0;
    reserve(t, n);
    LIST_EACH (node, ended) {
        struct hold *h = CONTAINER_OF(node, struct hold, node);
        h->bill.seq = ++*seq;
        t->bills[i] = &h->bill;
        t->opened[i++] = &h->opened;
    }
    if (!journal_end(b->journal, t->bills, t->opened, n))
        LOG(LOG_EV_LEDGER_FAILED, log_s("journal", "write"), log_i("calls", (int64_t)n));
    LIST_EACH_SAFE (node, next, ended) {
        list_remove(node);
        must(queue_put(&b->written, node)); /* closed by nobody */
    }
}

/* Until a call ends. */
static void sleep_until_ended(struct billing *b) {
    struct pollfd fd = {.fd = queue_fd(&b->ended), .events = POLLIN};
    if (!queue_attend(&b->ended, false))
        poll(&fd, 1, -1);
    queue_attend(&b->ended, true);
}

/* Calls that end at nearly the same time share a write. While calls go on ending it looks by
 * itself: whoever settles one is about to send the last byte of an answer, and needs not wake a
 * thread before that. */
static void *writer_main(void *arg) {
    struct billing *b = arg;
    struct batch t = {0};
    uint64_t seq = 0;
    memory_thread_init();
    for (int idle = 0;;) {
        struct list ended;
        list_init(&ended);
        size_t n = queue_take(&b->ended, &ended);
        idle = n ? 0 : idle + 1;
        if (n)
            write_ended(b, &ended, n, &t, &seq);
        else if (queue_closed(&b->ended))
            break;
        if (idle > ATTEND_ROUNDS)
            sleep_until_ended(b);
        poll(NULL, 0, GATHER_MS);
    }
    base_freep(&t.bills);
    base_freep(&t.opened);
    return NULL;
}

void writer_start(struct billing *b) {
    must(pthread_create(&b->writer, NULL, writer_main, b) == 0);
    must(pthread_setname_np(b->writer, "journal") == 0);
}

void writer_stop(struct billing *b) {
    queue_close(&b->ended);
    must(pthread_join(b->writer, NULL) == 0);
}

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

/* Ended calls get their order here; who calls it is the only one. */
static void write_ended(struct billing *b, struct list *ended, size_t n, struct batch *t) {
    size_t i = 0;
    LIST_EACH (node, ended) {
        struct hold *h = CONTAINER_OF(node, struct hold, node);
        h->bill.seq = ++b->last_seq;
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

/* Calls that end at nearly the same time share a write to the disk. While calls go on ending it
 * looks by itself: whoever settles one is about to send the last byte of an answer, and needs not
 * wake a thread before that. */
static void *writer_main(void *arg) {
    struct billing *b = arg;
    struct batch t = {0};
    memory_thread_init();
    for (int idle = 0;;) {
        struct list ended;
        list_init(&ended);
        size_t n = queue_take(&b->ended, &ended);
        idle = n ? 0 : idle + 1;
        if (n) {
            reserve(&t, n);
            write_ended(b, &ended, n, &t);
        } else if (queue_closed(&b->ended)) {
            break;
        }
        if (idle > ATTEND_ROUNDS)
            sleep_until_ended(b);
        poll(NULL, 0, GATHER_MS);
    }
    base_freep(&t.bills);
    base_freep(&t.opened);
    return NULL;
}

void writer_start(struct billing *b, bool apart) {
    b->writes_apart = apart;
    if (!apart)
        return;
    must(pthread_create(&b->writer, NULL, writer_main, b) == 0);
    must(pthread_setname_np(b->writer, "journal") == 0);
}

void writer_stop(struct billing *b) {
    if (!b->writes_apart)
        return;
    queue_close(&b->ended);
    must(pthread_join(b->writer, NULL) == 0);
}

void writer_put(struct billing *b, struct hold *h) {
    if (b->writes_apart) {
        must(queue_put(&b->ended, &h->node)); /* never closed: the writer outlives the loop */
        return;
    }
    struct list ended;
    struct batch one = {.bills = (struct bill *[1]){0}, .opened = (struct opened *[1]){0}};
    list_init(&ended);
    list_push(&ended, &h->node);
    LOCKED(&b->ending); /* the ledger gets them in their order */
    write_ended(b, &ended, 1, &one);
}

#include "domain/billing/journal_sync.h"

#include "util/lock.h"
#include "util/log.h"
#include "util/memory.h"
#include "util/wait.h"

#include <stdlib.h>
#include <unistd.h>

struct journal_sync {
    struct lock lock;
    pthread_cond_t asked, tried;
    pthread_t thread;
    journal_sync_file *file;
    void *ctx;
    uint64_t wanted, done; /* appends up to this one */
    uint64_t refused;      /* the last one that the disk did not take */
    bool stop;
};

/* The next that is wanted; false at the end. */
static bool await_wish(struct journal_sync *s) {
    LOCKED(&s->lock);
    while (!s->stop && s->wanted <= s->done)
        must(pthread_cond_wait(&s->asked, &s->lock.m) == 0);
    return s->wanted > s->done;
}

static void *sync_main(void *arg) {
    struct journal_sync *s = arg;
    memory_thread_init();
    while (await_wish(s)) {
        uint64_t last = 0;
        int fd = s->file(s->ctx, &last);
        bool taken = fd >= 0 && fdatasync(fd) == 0;
        base_closep(&fd);
        if (!taken)
            LOG(LOG_EV_LEDGER_FAILED, log_s("journal", "sync"));
        LOCKED(&s->lock);
        if (!taken)
            s->refused = last;
        s->done = last;
        must(pthread_cond_broadcast(&s->tried) == 0);
    }
    return NULL;
}

struct journal_sync *journal_sync_start(journal_sync_file *file, void *ctx) {
    struct journal_sync *s = base_zalloc(sizeof *s);
    s->file = file;
    s->ctx = ctx;
    lock_init(&s->lock);
    must(pthread_cond_init(&s->asked, NULL) == 0);
    must(pthread_cond_init(&s->tried, NULL) == 0);
    must(pthread_create(&s->thread, NULL, sync_main, s) == 0);
    must(pthread_setname_np(s->thread, "journal") == 0);
    return s;
}

void journal_sync_stop(struct journal_sync **sp) {
    struct journal_sync *s = *sp;
    *sp = NULL;
    if (!s)
        return;
    lock_take(&s->lock);
    s->stop = true;
    must(pthread_cond_signal(&s->asked) == 0);
    lock_drop(&s->lock);
    must(pthread_join(s->thread, NULL) == 0);
    pthread_cond_destroy(&s->asked);
    pthread_cond_destroy(&s->tried);
    lock_free(&s->lock);
    free(s);
}

static void want(struct journal_sync *s, uint64_t n) {
    if (n <= s->wanted)
        return;
    s->wanted = n;
    must(pthread_cond_signal(&s->asked) == 0);
}

void journal_sync_ask(struct journal_sync *s, uint64_t n) {
    LOCKED(&s->lock);
    want(s, n);
}

bool journal_sync_wait(struct journal_sync *s, uint64_t n) {
    wait_begins();
    LOCKED(&s->lock);
    want(s, n);
    while (s->done < n)
        must(pthread_cond_wait(&s->tried, &s->lock.m) == 0);
    return n > s->refused; /* older ones than that may have been taken: refused as well */
}

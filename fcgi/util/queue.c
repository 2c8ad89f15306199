#include "util/queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

void queue_init(struct queue *q) {
    *q = (struct queue){.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    must(q->fd >= 0);
    lock_init(&q->lock);
    list_init(&q->items);
}

void queue_free(struct queue *q) {
    must(list_empty(&q->items));
    base_closep(&q->fd);
    lock_free(&q->lock);
}

void queue_wake(struct queue *q) {
    uint64_t one = 1;
    ssize_t n = write(q->fd, &one, sizeof one);
    (void)n; /* full counter: a wake-up is already due */
    __atomic_store_n(&q->rung, true, __ATOMIC_RELEASE);
}

void queue_put(struct queue *q, struct list *node) {
    bool first;
    {
        LOCKED(&q->lock);
        first = q->count == 0 && !q->attended;
        list_push(&q->items, node);
        q->count++;
    }
    if (first)
        queue_wake(q);
}

bool queue_attend(struct queue *q, bool on) {
    LOCKED(&q->lock);
    q->attended = on;
    return q->count > 0;
}

/* Who comes between the writing and its mark is woken once more. */
static void silence(struct queue *q) {
    uint64_t seen;
    if (!__atomic_exchange_n(&q->rung, false, __ATOMIC_ACQ_REL))
        return;
    ssize_t n = read(q->fd, &seen, sizeof seen);
    (void)n; /* EAGAIN: silenced before */
}

size_t queue_take(struct queue *q, struct list *into) {
    silence(q);
    LOCKED(&q->lock);
    size_t count = q->count;
    if (count) {
        q->items.next->prev = into->prev;
        into->prev->next = q->items.next;
        q->items.prev->next = into;
        into->prev = q->items.prev;
        list_init(&q->items);
        q->count = 0;
    }
    return count;
}

size_t queue_count(struct queue *q) {
    LOCKED(&q->lock);
    return q->count;
}

int queue_fd(const struct queue *q) {
    return q->fd;
}

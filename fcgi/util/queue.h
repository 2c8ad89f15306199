/* queue.h - many threads put, one thread takes; the taker sleeps in epoll or poll on queue_fd().
 *
 * Items are intrusive list nodes. Putting wakes the taker only when the queue was empty, so a
 * burst costs one wake-up. queue_take moves everything that waits in one go.
 */
#pragma once

#include "util/list.h"
#include "util/lock.h"

struct queue {
    struct lock lock;
    struct list items;
    size_t count;
    int fd;    /* eventfd */
    bool rung; /* atomic: the eventfd was written to */
    bool attended;
};

void queue_init(struct queue *q);
void queue_free(struct queue *q);
/* Any thread. */
void queue_put(struct queue *q, struct list *node);
/* While on, the taker looks often enough by itself and is woken by queue_wake alone. True when
 * items wait already. Taker only. */
bool queue_attend(struct queue *q, bool on);
/* Moves all waiting items to the end of *into, clears the wake-up; returns how many. Taker only. */
size_t queue_take(struct queue *q, struct list *into);
size_t queue_count(struct queue *q);
/* Readable while items wait. */
int queue_fd(const struct queue *q);
/* Wakes the taker without an item. */
void queue_wake(struct queue *q);

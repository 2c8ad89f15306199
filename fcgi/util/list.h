/* list.h - an intrusive doubly linked list; a node is in at most one list.
 *
 *   struct list idle; list_init(&idle); list_push(&idle, &x->node);
 *   LIST_EACH_SAFE(n, next, &idle) { struct thing *x = CONTAINER_OF(n, struct thing, node); ... }
 */
#pragma once

#include "util/base.h"

struct list {
    struct list *prev, *next;
};

static inline void list_init(struct list *l) {
    l->prev = l->next = l;
}

static inline bool list_empty(const struct list *l) {
    return l->next == l;
}

/* Appends at the end. */
static inline void list_push(struct list *l, struct list *n) {
    n->prev = l->prev;
    n->next = l;
    l->prev->next = n;
    l->prev = n;
}

/* Unlinks; the node is then an empty list of its own, so removing twice is harmless. */
static inline void list_remove(struct list *n) {
    n->prev->next = n->next;
    n->next->prev = n->prev;
    list_init(n);
}

#define LIST_EACH(it, l) for (struct list *it = (l)->next; it != (l); it = it->next)
#define LIST_EACH_SAFE(it, nx, l) \
    for (struct list *it = (l)->next, *nx = it->next; it != (l); it = nx, nx = it->next)

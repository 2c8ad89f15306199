#include "util/wait.h"

#include <stddef.h>

static _Thread_local struct {
    void (*fn)(void *ctx);
    void *ctx;
} listener;

void wait_hear(void (*fn)(void *ctx), void *ctx) {
    listener.fn = fn;
    listener.ctx = ctx;
}

void wait_begins(void) {
    if (listener.fn)
        listener.fn(listener.ctx);
}

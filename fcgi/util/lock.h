/* lock.h - mutex and reader-writer lock that cannot fail, with scope guards.
 *
 *   LOCKED(&m);      holds the mutex to the end of the scope
 *   LOCKED_READ(&r); LOCKED_WRITE(&r);
 */
#pragma once

#include "util/base.h"
#include <pthread.h>

struct lock {
    pthread_mutex_t m;
};
struct rwlock {
    pthread_rwlock_t r;
};

#define LOCK_INIT \
    { PTHREAD_MUTEX_INITIALIZER }
#define RWLOCK_INIT \
    { PTHREAD_RWLOCK_INITIALIZER }

void lock_init(struct lock *l);
void lock_free(struct lock *l);
void lock_take(struct lock *l);
/* False when it is taken. */
must_use bool lock_try(struct lock *l);
void lock_drop(struct lock *l);
void rwlock_init(struct rwlock *l);
void rwlock_free(struct rwlock *l);
void rwlock_read(struct rwlock *l);
void rwlock_write(struct rwlock *l);
void rwlock_drop(struct rwlock *l);

static inline struct lock *lock_taken(struct lock *l) {
    lock_take(l);
    return l;
}
static inline void lock_dropp(struct lock **l) {
    lock_drop(*l);
}
static inline struct rwlock *rwlock_read_taken(struct rwlock *l) {
    rwlock_read(l);
    return l;
}
static inline struct rwlock *rwlock_write_taken(struct rwlock *l) {
    rwlock_write(l);
    return l;
}
static inline void rwlock_dropp(struct rwlock **l) {
    rwlock_drop(*l);
}

#define LOCK_PASTE2(a, b) a##b
#define LOCK_PASTE(a, b) LOCK_PASTE2(a, b)
#define LOCKED(l)                                                                       \
    struct lock *LOCK_PASTE(held_, __LINE__) AUTO(lock_dropp) __attribute__((unused)) = \
        lock_taken(l)
#define LOCKED_READ(l)                                                                      \
    struct rwlock *LOCK_PASTE(held_, __LINE__) AUTO(rwlock_dropp) __attribute__((unused)) = \
        rwlock_read_taken(l)
#define LOCKED_WRITE(l)                                                                     \
    struct rwlock *LOCK_PASTE(held_, __LINE__) AUTO(rwlock_dropp) __attribute__((unused)) = \
        rwlock_write_taken(l)

#include "util/lock.h"

#include <errno.h>

void lock_init(struct lock *l) {
    must(pthread_mutex_init(&l->m, NULL) == 0);
}

void lock_free(struct lock *l) {
    must(pthread_mutex_destroy(&l->m) == 0);
}

void lock_take(struct lock *l) {
    must(pthread_mutex_lock(&l->m) == 0);
}

bool lock_try(struct lock *l) {
    int rc = pthread_mutex_trylock(&l->m);
    must(rc == 0 || rc == EBUSY);
    return rc == 0;
}

void lock_drop(struct lock *l) {
    must(pthread_mutex_unlock(&l->m) == 0);
}

void rwlock_init(struct rwlock *l) {
    must(pthread_rwlock_init(&l->r, NULL) == 0);
}

void rwlock_free(struct rwlock *l) {
    must(pthread_rwlock_destroy(&l->r) == 0);
}

void rwlock_read(struct rwlock *l) {
    must(pthread_rwlock_rdlock(&l->r) == 0);
}

void rwlock_write(struct rwlock *l) {
    must(pthread_rwlock_wrlock(&l->r) == 0);
}

void rwlock_drop(struct rwlock *l) {
    must(pthread_rwlock_unlock(&l->r) == 0);
}

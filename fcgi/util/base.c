#include "util/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void base_must_failed(const char *cond, const char *file, int line) {
    fprintf(stderr, "{\"event\":\"assertion_failed\",\"cond\":\"%s\",\"at\":\"%s:%d\"}\n", cond,
            file, line);
    fflush(stderr);
    abort();
}

void *base_alloc(size_t n) {
    void *p = malloc(n ? n : 1);
    must(p != NULL);
    return p;
}

void *base_zalloc(size_t n) {
    void *p = calloc(1, n ? n : 1);
    must(p != NULL);
    return p;
}

void *base_realloc(void *p, size_t n) {
    void *q = realloc(p, n ? n : 1);
    must(q != NULL);
    return q;
}

char *base_strdup(const char *s) {
    char *p = strdup(s);
    must(p != NULL);
    return p;
}

void base_freep(void *pp) {
    void **p = pp;
    free(*p);
    *p = NULL;
}

void base_closep(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

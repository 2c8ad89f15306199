/* A configuration that loads can be dumped and loaded again, and says the same. */
#include "fuzz.h"

#include "door/conf.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static enum err load(struct str text, struct conf *c) {
    char path[64];
    int fd AUTO(base_closep) = memfd_create("conf", MFD_CLOEXEC);
    must(fd >= 0 && fchmod(fd, 0600) == 0);
    must(text.n == 0 || write(fd, text.p, text.n) == (ssize_t)text.n);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return conf_load(path, c, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    static struct conf first, second;
    struct buf a AUTO(buf_free) = BUF(1 << 20), b AUTO(buf_free) = BUF(1 << 20);
    if (load(str_of(p, n), &first))
        return 0;
    conf_dump(&first, &a);
    must(!a.failed && load(buf_view(&a), &second) == OK);
    conf_dump(&second, &b);
    must(str_eq(buf_view(&a), buf_view(&b)));
    return 0;
}

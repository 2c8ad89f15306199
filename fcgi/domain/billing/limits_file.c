#include "domain/billing/limits_file.h"

#include "door/crypt.h"
#include "util/clock.h"
#include "util/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC UINT64_C(0x32534c494d474c54)

/* The owner died inside: counts of one call may be off by one, nothing else can be. */
pthread_mutex_t *limits_mutex_taken(pthread_mutex_t *m) {
    int e = pthread_mutex_lock(m);
    if (e == EOWNERDEAD)
        e = pthread_mutex_consistent(m);
    must(e == 0);
    return m;
}

void limits_mutex_drop(pthread_mutex_t **m) {
    must(pthread_mutex_unlock(*m) == 0);
}

/* Times and owners of mutexes mean nothing after the machine has started again. */
static void read_boot(char boot[LIMITS_BOOT]) {
    int fd AUTO(base_closep) = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    memset(boot, 0, LIMITS_BOOT);
    if (fd >= 0 && read(fd, boot, LIMITS_BOOT) < 0)
        memset(boot, 0, LIMITS_BOOT);
}

static void init_file(struct limits_file *f) {
    const int64_t host = f->magic == MAGIC ? f->host_id : 0;
    memset(f, 0, sizeof *f);
    f->host_id = host;
    read_boot(f->boot);
    pthread_mutexattr_t attr;
    must(pthread_mutexattr_init(&attr) == 0);
    must(pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) == 0);
    must(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST) == 0);
    must(pthread_mutex_init(&f->mutex, &attr) == 0);
    for (size_t i = 0; i < LIMITS_STRIPES; i++)
        must(pthread_mutex_init(&f->stripes[i].mutex, &attr) == 0);
    pthread_mutexattr_destroy(&attr);
    f->seed = hash_u64((uint64_t)clock_unix_us());
    while (f->host_id <= 0)
        crypt_random(&f->host_id, sizeof f->host_id);
    f->size = sizeof *f;
    f->magic = MAGIC;
}

/* Made under flock, so that one worker initialises and the others see it whole. A file of another
 * layout is replaced: its users keep their mapping of the deleted one. */
struct limits_file *limits_file_map(const char *path) {
    for (int attempt = 0; attempt < 2; attempt++) {
        int fd AUTO(base_closep) = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        struct stat st;
        if (fd < 0 || flock(fd, LOCK_EX) != 0 || fstat(fd, &st) != 0)
            return NULL;
        bool fresh = st.st_size == 0;
        /* allocated in full: touching a hole of a mapped file on a full disk would kill us */
        if (fresh && posix_fallocate(fd, 0, (off_t)sizeof(struct limits_file)) != 0)
            return NULL;
        if (fresh || st.st_size == (off_t)sizeof(struct limits_file)) {
            struct limits_file *f =
                mmap(NULL, sizeof *f, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            if (f == MAP_FAILED)
                return NULL;
            char boot[LIMITS_BOOT];
            read_boot(boot);
            bool ours = f->magic == MAGIC && f->size == sizeof *f;
            if (fresh || f->magic == 0 || (ours && memcmp(boot, f->boot, sizeof boot) != 0))
                init_file(f);
            if (f->magic == MAGIC && f->size == sizeof *f) {
                /* the mapping keeps the open file, and with it the lock, alive */
                must(flock(fd, LOCK_UN) == 0);
                return f;
            }
            limits_file_unmap(&f);
        }
        unlink(path);
    }
    return NULL;
}

void limits_file_unmap(struct limits_file **f) {
    munmap(*f, sizeof **f);
    *f = NULL;
}

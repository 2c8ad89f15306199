#include "domain/routing/host.h"

#include "util/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "tgshared"
#define VERSION 2
#define GEN_SLOTS 16384
#define CHANGE_SLOTS 16384
#define CHANNEL_SLOTS 4096
#define CHANNEL_REACH 64 /* how far from its place a channel's slot may be */

static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_LLONG_LOCK_FREE == 2,
              "only lock-free atomics work between processes");

struct header {
    char magic[8];
    uint32_t version, size;
    char boot[40]; /* monotonic times mean nothing after a reboot */
};

struct channel_slot {
    _Atomic int64_t id; /* 0 = free; set once */
    _Atomic uint64_t health;
};

struct worker_slot {
    _Atomic uint64_t owner; /* pid << 32 | low bits of its start time; 0 = free */
    _Atomic int64_t worker_id, beat_ms;
};

/* Any change of this layout needs a new VERSION. */
struct shared {
    struct header header;
    _Atomic uint32_t gens[HOST_GEN__MAX][GEN_SLOTS];
    _Atomic uint32_t bumps;
    _Atomic int64_t changes[CHANGE_SLOTS];
    struct channel_slot channels[CHANNEL_SLOTS];
    struct worker_slot workers[HOST_MAX_WORKERS];
};

struct host {
    struct shared *map;
    int slot; /* of host_worker_join, -1 = none */
};

/* ---- the file ---- */

static void fill_header(struct header *h) {
    *h = (struct header){.version = VERSION, .size = sizeof(struct shared)};
    memcpy(h->magic, MAGIC, sizeof h->magic);
    int fd AUTO(base_closep) = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && read(fd, h->boot, sizeof h->boot - 1) < 0)
        h->boot[0] = '\0';
}

static bool usable(int fd, const struct header *want) {
    struct stat st;
    struct header have;
    return fstat(fd, &st) == 0 && st.st_size == (off_t)sizeof(struct shared) &&
           pread(fd, &have, sizeof have, 0) == (ssize_t)sizeof have &&
           memcmp(&have, want, sizeof have) == 0;
}

/* Whole before it gets its name: whoever opens DIR/shared never sees a half-made file. */
static int make(const char *dir, const char *path, const struct header *header) {
    char *temp AUTO(base_freep) = NULL;
    if (asprintf(&temp, "%s/shared.new", dir) < 0)
        return -1;
    if (unlink(temp) != 0 && errno != ENOENT)
        return -1;
    int fd = open(temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    /* Real blocks: a full disk is an error here and not a SIGBUS later. */
    errno = posix_fallocate(fd, 0, (off_t)sizeof(struct shared));
    if (errno == 0 && pwrite(fd, header, sizeof *header, 0) == (ssize_t)sizeof *header &&
        rename(temp, path) == 0)
        return fd;
    base_closep(&fd);
    return -1;
}

/* The lock is the kernel's: it goes with a killed process. */
static int open_or_make(const char *dir) {
    char *path AUTO(base_freep) = NULL, *lock AUTO(base_freep) = NULL;
    if (asprintf(&path, "%s/shared", dir) < 0 || asprintf(&lock, "%s/shared.lock", dir) < 0)
        return -1;
    int lock_fd AUTO(base_closep) = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock_fd < 0)
        return -1;
    while (flock(lock_fd, LOCK_EX) != 0)
        if (errno != EINTR)
            return -1;
    struct header header;
    fill_header(&header);
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && usable(fd, &header))
        return fd;
    if (fd < 0 && errno != ENOENT)
        return -1;
    base_closep(&fd);
    return make(dir, path, &header);
}

enum err host_open(const char *run_dir, struct host **out, struct fault *f) {
    *out = NULL;
    int fd AUTO(base_closep) = open_or_make(run_dir);
    void *map = MAP_FAILED;
    if (fd >= 0)
        map = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        char text[80];
        const char *why = strerror_r(errno, text, sizeof text);
        return fault_set(f, ERR_CONFIG, "run.dir: %.150s/shared: %s", run_dir, why);
    }
    *out = base_alloc(sizeof **out);
    **out = (struct host){.map = map, .slot = -1};
    return OK;
}

/* ---- generations ---- */

static size_t gen_slot(enum host_gen kind, int64_t id) {
    return kind == HOST_GEN_CATALOG ? 0 : (uint64_t)id % GEN_SLOTS;
}

uint32_t host_gen(const struct host *h, enum host_gen kind, int64_t id) {
    return atomic_load_explicit(&h->map->gens[kind][gen_slot(kind, id)], memory_order_acquire);
}

uint32_t host_gen_bumps(const struct host *h) {
    return atomic_load(&h->map->bumps);
}

/* Who sees the generation's new value sees that something was bumped. */
void host_gen_bump(struct host *h, enum host_gen kind, int64_t id) {
    atomic_fetch_add(&h->map->bumps, 1);
    atomic_fetch_add(&h->map->gens[kind][gen_slot(kind, id)], 1);
}

void host_gen_bump_all(struct host *h) {
    atomic_fetch_add(&h->map->bumps, 1);
    for (size_t kind = 0; kind < HOST_GEN__MAX; kind++)
        for (size_t i = 0; i < GEN_SLOTS; i++)
            atomic_fetch_add(&h->map->gens[kind][i], 1);
}

bool host_change_applied(const struct host *h, int64_t change_id) {
    return atomic_load(&h->map->changes[(uint64_t)change_id % CHANGE_SLOTS]) == change_id;
}

void host_change_mark(struct host *h, int64_t change_id) {
    atomic_store(&h->map->changes[(uint64_t)change_id % CHANGE_SLOTS], change_id);
}

/* ---- channel health ----
 * One word a channel, so that every transition is one compare-and-swap. */

enum phase { CLOSED, COOLING, PROBING };

struct health {
    enum phase phase;
    int64_t until_ms;  /* COOLING: its end; PROBING: when the probe may be given anew */
    uint32_t failures; /* in a row, while CLOSED */
    uint32_t trips;    /* cool-downs in a row */
};

#define MS_BITS 42
#define FAILURES_MAX 0x3ffU
#define TRIPS_MAX 0xffU

static uint64_t pack(struct health s) {
    uint64_t ms = (uint64_t)s.until_ms & ((UINT64_C(1) << MS_BITS) - 1);
    return ms | (uint64_t)s.failures << 42 | (uint64_t)s.trips << 52 | (uint64_t)s.phase << 60;
}

static struct health unpack(uint64_t w) {
    return (struct health){.phase = (enum phase)(w >> 60),
                           .until_ms = (int64_t)(w & ((UINT64_C(1) << MS_BITS) - 1)),
                           .failures = (uint32_t)(w >> 42) & FAILURES_MAX,
                           .trips = (uint32_t)(w >> 52) & TRIPS_MAX};
}

/* The word of a channel; with `claim` a free slot becomes its own. NULL: none yet, the table is
 * full there, or a built-in channel (id 0): all of them count as healthy. */
static _Atomic uint64_t *health_of(struct shared *m, int64_t id, bool claim) {
    if (id <= 0)
        return NULL;
    /* the same in every process, unlike hash_u64 */
    size_t at = (size_t)((uint64_t)id * UINT64_C(0x9e3779b97f4a7c15) >> 32);
    for (size_t i = 0; i < CHANNEL_REACH; i++) {
        struct channel_slot *s = &m->channels[(at + i) % CHANNEL_SLOTS];
        int64_t have = atomic_load(&s->id);
        if (have == 0 && !claim)
            return NULL;
        if (have == id ||
            (have == 0 && (atomic_compare_exchange_strong(&s->id, &have, id) || have == id)))
            return &s->health;
    }
    return NULL;
}

enum host_health host_channel_peek(const struct host *h, int64_t channel_id) {
    _Atomic uint64_t *w = health_of(h->map, channel_id, false);
    struct health s = unpack(w ? atomic_load(w) : 0);
    if (s.phase == CLOSED)
        return HEALTH_OK;
    return clock_mono_ms() < s.until_ms ? HEALTH_COOLING : HEALTH_PROBE;
}

enum host_health host_channel_ask(struct host *h, int64_t channel_id) {
    _Atomic uint64_t *w = health_of(h->map, channel_id, false);
    uint64_t old = w ? atomic_load(w) : 0;
    for (;;) {
        struct health s = unpack(old);
        if (s.phase == CLOSED)
            return HEALTH_OK;
        int64_t now = clock_mono_ms();
        if (now < s.until_ms)
            return HEALTH_COOLING;
        s.phase = PROBING;
        s.until_ms = now + HOST_PROBE_MS;
        if (atomic_compare_exchange_weak(w, &old, pack(s)))
            return HEALTH_PROBE;
    }
}

bool host_channel_ok(struct host *h, int64_t channel_id) {
    _Atomic uint64_t *w = health_of(h->map, channel_id, false);
    uint64_t old = w ? atomic_load(w) : 0;
    for (;;) {
        enum phase phase = unpack(old).phase;
        if (old == 0 || phase == COOLING)
            return false;
        if (atomic_compare_exchange_weak(w, &old, 0))
            return phase == PROBING;
    }
}

static int64_t cooldown_ms(const struct cooldown_rule *rule, uint32_t trips, int64_t wish) {
    int64_t ms = rule->first_ms;
    for (uint32_t i = 1; i < trips && ms < rule->max_ms; i++)
        ms *= 2;
    if (ms > rule->max_ms)
        ms = rule->max_ms;
    return wish > ms ? wish : ms;
}

/* What a failure makes of s; true when a cool-down begins. */
static bool fail(struct health *s, const struct cooldown_rule *rule, int64_t wish, int64_t now) {
    if (s->phase == COOLING) { /* a straggler: no new cool-down, but its wish counts */
        if (wish && now + wish > s->until_ms)
            s->until_ms = now + wish;
        return false;
    }
    if (s->failures < FAILURES_MAX)
        s->failures++;
    if (s->phase == CLOSED && !wish && s->failures < rule->failures)
        return false;
    if (s->trips < TRIPS_MAX)
        s->trips++;
    *s = (struct health){
        .phase = COOLING, .until_ms = now + cooldown_ms(rule, s->trips, wish), .trips = s->trips};
    return true;
}

bool host_channel_failed(struct host *h, int64_t channel_id, const struct cooldown_rule *rule,
                         int64_t retry_after_ms) {
    _Atomic uint64_t *w = health_of(h->map, channel_id, true);
    if (!w)
        return false;
    int64_t wish = retry_after_ms < 0 ? 0 : retry_after_ms;
    if (wish > HOST_RETRY_AFTER_MAX_MS)
        wish = HOST_RETRY_AFTER_MAX_MS;
    uint64_t old = atomic_load(w);
    for (;;) {
        struct health s = unpack(old);
        bool cools = fail(&s, rule, wish, clock_mono_ms());
        if (atomic_compare_exchange_weak(w, &old, pack(s)))
            return cools;
    }
}

int64_t host_channel_wait_ms(const struct host *h, int64_t channel_id) {
    _Atomic uint64_t *w = health_of(h->map, channel_id, false);
    struct health s = unpack(w ? atomic_load(w) : 0);
    int64_t left = s.phase == CLOSED ? 0 : s.until_ms - clock_mono_ms();
    return left > 0 ? left : 0;
}

/* ---- workers ---- */

/* Field 22 of /proc/PID/stat; 0 when there is no such process. */
static uint32_t start_time(pid_t pid) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd AUTO(base_closep) = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    if (n <= 0)
        return 0;
    struct str rest = str_of(text, (size_t)n), field = STR_NONE;
    for (;;) { /* the name in parentheses may hold anything: start after the last one */
        ptrdiff_t at = str_find(rest, ')');
        if (at < 0)
            break;
        rest = str_from(rest, (size_t)at + 1);
    }
    rest = str_trim(rest);
    for (int i = 3; i <= 22; i++)
        if (!str_cut(&rest, ' ', &field))
            return 0;
    uint64_t ticks;
    return str_u64(field, &ticks) ? (uint32_t)ticks : 0;
}

static uint64_t owner_of(pid_t pid) {
    return (uint64_t)pid << 32 | start_time(pid);
}

static bool alive(uint64_t owner) {
    pid_t pid = (pid_t)(owner >> 32);
    return (kill(pid, 0) == 0 || errno == EPERM) && owner_of(pid) == owner;
}

int host_worker_join(struct host *h, int64_t worker_id) {
    uint64_t me = owner_of(getpid());
    for (int i = 0; i < HOST_MAX_WORKERS; i++) {
        struct worker_slot *s = &h->map->workers[i];
        uint64_t owner = atomic_load(&s->owner);
        if (owner && alive(owner))
            continue;
        if (!atomic_compare_exchange_strong(&s->owner, &owner, me))
            continue;
        atomic_store(&s->worker_id, worker_id);
        h->slot = i;
        host_worker_beat(h, i);
        return i;
    }
    return -1;
}

void host_worker_beat(struct host *h, int slot) {
    must(slot >= 0 && slot < HOST_MAX_WORKERS);
    atomic_store(&h->map->workers[slot].beat_ms, clock_mono_ms());
}

void host_close(struct host **h) {
    if (!*h)
        return;
    if ((*h)->slot >= 0) { /* a forked child that closes must not free its parent's slot */
        uint64_t me = owner_of(getpid());
        atomic_compare_exchange_strong(&(*h)->map->workers[(*h)->slot].owner, &me, 0);
    }
    munmap((*h)->map, sizeof(struct shared));
    free(*h);
    *h = NULL;
}

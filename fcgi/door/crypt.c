#include "door/crypt.h"

#include "util/lock.h"
#include "util/secret.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_SUFFIX ".key"
#define MAX_PATH 640
#define SEAL_NONCE crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define SEAL_TAG crypto_aead_xchacha20poly1305_ietf_ABYTES
/* OWASP's argon2id parameters: several front threads may hash at once in a small process. */
#define PASSWORD_OPS 2
#define PASSWORD_MEMORY ((size_t)19 * 1024 * 1024)

static_assert(CRYPT_SEAL_OVERHEAD == 1 + SEAL_NONCE + SEAL_TAG, "crypt.h states the overhead");
static_assert(crypto_pwhash_STRBYTES == 128, "crypt.h states the length of a password hash");

struct generation {
    uint8_t number; /* 1..255, from the file's name */
    uint8_t pepper[CRYPT_KEY_LEN], seal[CRYPT_KEY_LEN];
};

struct table {            /* never changes */
    struct table *before; /* what was in force earlier: somebody may still read it */
    unsigned edition;     /* counts from 1 */
    int n;
    struct generation gens[CRYPT_GENERATIONS]; /* newest first */
};

struct ring {
    struct table *now; /* atomic */
    struct lock loading;
    char dir[MAX_PATH];
};

struct keyring {
    struct ring *ring;
};

static const struct table *table_of(const struct keyring *k) {
    return __atomic_load_n(&k->ring->now, __ATOMIC_ACQUIRE);
}

void crypt_init(void) {
    must(sodium_init() >= 0);
}

static void closedirp(DIR **d) {
    if (*d)
        closedir(*d);
}

/* "12.key" -> 12; 0 for any other name. */
static uint8_t generation_number(const char *name) {
    struct str s = str_c(name);
    int64_t n;
    if (!str_ends(s, STR(FILE_SUFFIX)) || s.p[0] == '0' ||
        !str_i64(str_sub(s, 0, s.n - strlen(FILE_SUFFIX)), &n) || n < 1 || n > 255)
        return 0;
    return (uint8_t)n;
}

/* Secrets that others can read are not secret: refuse to work with them. */
static enum err check_private(const char *path, const struct stat *st, struct fault *f) {
    if (st->st_mode & 077)
        return fault_set(f, ERR_INTERNAL, "%s: must not be accessible to group or others (mode %o)",
                         path, (unsigned)st->st_mode & 07777);
    if (st->st_uid != geteuid() && geteuid() != 0)
        return fault_set(f, ERR_INTERNAL, "%s: must belong to the user that runs this", path);
    return OK;
}

static bool take_key(struct str *text, const char *name, uint8_t key[CRYPT_KEY_LEN]) {
    struct str line, word;
    return str_cut(text, '\n', &line) && str_cut(&line, ' ', &word) && str_eqc(word, name) &&
           line.p && str_hex(line, key, CRYPT_KEY_LEN);
}

static enum err read_generation(const char *dir, uint8_t number, struct generation *g,
                                struct fault *f) {
    char path[MAX_PATH], text[256];
    snprintf(path, sizeof path, "%s/%u" FILE_SUFFIX, dir, (unsigned)number);
    int fd AUTO(base_closep) = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return fault_set(f, ERR_INTERNAL, "%s: %s", path, strerrordesc_np(errno));
    enum err e = check_private(path, &st, f);
    if (e != OK)
        return e;
    ssize_t n = read(fd, text, sizeof text);
    struct str rest = str_of(text, n > 0 ? (size_t)n : 0);
    g->number = number;
    bool good = take_key(&rest, "pepper", g->pepper) && take_key(&rest, "seal", g->seal);
    sodium_memzero(text, sizeof text);
    return good ? OK : fault_set(f, ERR_INTERNAL, "%s: malformed", path);
}

/* The generations' numbers in dir, newest first, into numbers. */
static enum err list_generations(const char *dir, uint8_t numbers[CRYPT_GENERATIONS], int *n,
                                 struct fault *f) {
    DIR *d AUTO(closedirp) = opendir(dir);
    struct stat st;
    *n = 0;
    if (!d || fstat(dirfd(d), &st) < 0)
        return fault_set(f, ERR_INTERNAL, "%s: %s", dir, strerrordesc_np(errno));
    enum err e = check_private(dir, &st, f);
    if (e != OK)
        return e;
    for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
        uint8_t number = generation_number(entry->d_name);
        if (!number)
            continue;
        if (*n == CRYPT_GENERATIONS)
            return fault_set(f, ERR_INTERNAL, "%s: more than %d generations", dir,
                             CRYPT_GENERATIONS);
        int at = (*n)++;
        for (; at > 0 && numbers[at - 1] < number; at--)
            numbers[at] = numbers[at - 1];
        numbers[at] = number;
    }
    return OK;
}

static void table_free(struct table **t) {
    sodium_free(*t);
    *t = NULL;
}

static enum err load_table(const char *dir, struct table **out, struct fault *f) {
    uint8_t numbers[CRYPT_GENERATIONS];
    int n;
    *out = NULL;
    enum err e = list_generations(dir, numbers, &n, f);
    if (e != OK)
        return e;
    if (n == 0)
        return fault_set(f, ERR_INTERNAL, "%s: no keys; run 'tollgatectl secrets init'", dir);
    struct table *t AUTO(table_free) = sodium_malloc(sizeof *t);
    must(t != NULL);
    t->before = NULL;
    t->edition = 1;
    t->n = n;
    for (int i = 0; i < n; i++) {
        e = read_generation(dir, numbers[i], &t->gens[i], f);
        if (e != OK)
            return e;
    }
    *out = t;
    t = NULL;
    return OK;
}

enum err keyring_load(const char *dir, struct keyring **out, struct fault *f) {
    struct table *t;
    *out = NULL;
    enum err e = load_table(dir, &t, f);
    if (e != OK)
        return e;
    must(sodium_mprotect_readonly(t) == 0);
    struct keyring *k = base_zalloc(sizeof *k);
    k->ring = base_zalloc(sizeof *k->ring);
    k->ring->now = t;
    lock_init(&k->ring->loading);
    must(str_copy(str_c(dir), k->ring->dir, sizeof k->ring->dir));
    *out = k;
    return OK;
}

static bool is_listed(const struct table *t, const uint8_t numbers[CRYPT_GENERATIONS], int n) {
    bool same = t->n == n;
    for (int i = 0; same && i < n; i++)
        same = t->gens[i].number == numbers[i];
    return same;
}

bool keyring_refresh(const struct keyring *k, unsigned edition) {
    struct ring *r = k->ring;
    uint8_t numbers[CRYPT_GENERATIONS];
    struct table *t;
    int n;
    LOCKED(&r->loading);
    if (r->now->edition != edition)
        return true; /* another thread was faster */
    if (list_generations(r->dir, numbers, &n, NULL) != OK || is_listed(r->now, numbers, n) ||
        load_table(r->dir, &t, NULL) != OK)
        return false;
    t->before = r->now;
    t->edition = edition + 1;
    must(sodium_mprotect_readonly(t) == 0);
    __atomic_store_n(&r->now, t, __ATOMIC_RELEASE);
    return true;
}

void keyring_free(struct keyring **k) {
    if (!*k)
        return;
    struct table *t = (*k)->ring->now;
    while (t) {
        struct table *before = t->before;
        table_free(&t);
        t = before;
    }
    lock_free(&(*k)->ring->loading);
    free((*k)->ring);
    free(*k);
    *k = NULL;
}

int keyring_generations(const struct keyring *k) {
    return table_of(k)->n;
}

static void random_line(struct buf *b, const char *name) {
    uint8_t key[CRYPT_KEY_LEN];
    crypt_random(key, sizeof key);
    buf_printf(b, "%s ", name);
    buf_hex(b, key, sizeof key);
    buf_putc(b, '\n');
    sodium_memzero(key, sizeof key);
}

static bool write_all(int fd, struct str s) {
    while (s.n) {
        ssize_t n = write(fd, s.p, s.n);
        if (n < 0 && errno != EINTR)
            return false;
        s = str_from(s, n > 0 ? (size_t)n : 0);
    }
    return true;
}

/* Under its final name only when complete and on disk; owned by whoever owns the directory, so
 * that root may rotate the keys of a worker that is not root. */
static enum err write_generation(const char *dir, uint8_t number, struct fault *f) {
    char path[MAX_PATH], temp[MAX_PATH + 8];
    snprintf(path, sizeof path, "%s/%u" FILE_SUFFIX, dir, (unsigned)number);
    snprintf(temp, sizeof temp, "%s.new", path);
    struct buf text AUTO(buf_free) = BUF(256);
    random_line(&text, "pepper");
    random_line(&text, "seal");
    int dirfd AUTO(base_closep) = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd AUTO(base_closep) =
        open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    struct stat st;
    bool good = dirfd >= 0 && fd >= 0 && fstat(dirfd, &st) == 0 &&
                (geteuid() != 0 || fchown(fd, st.st_uid, st.st_gid) == 0) &&
                write_all(fd, buf_view(&text)) && fsync(fd) == 0 && rename(temp, path) == 0 &&
                fsync(dirfd) == 0;
    sodium_memzero(text.p, text.n);
    return good ? OK : fault_set(f, ERR_INTERNAL, "%s: %s", temp, strerrordesc_np(errno));
}

enum err keyring_init(const char *dir, bool rotate, struct fault *f) {
    uint8_t numbers[CRYPT_GENERATIONS];
    int n;
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return fault_set(f, ERR_INTERNAL, "%s: %s", dir, strerrordesc_np(errno));
    enum err e = list_generations(dir, numbers, &n, f);
    if (e != OK || (n > 0 && !rotate))
        return e;
    if (n == CRYPT_GENERATIONS || (n > 0 && numbers[0] == 255))
        return fault_set(f, ERR_INTERNAL, "%s: remove the oldest generation first", dir);
    return write_generation(dir, (uint8_t)(n > 0 ? numbers[0] + 1 : 1), f);
}

static void hash_by(const struct generation *g, const char *what, struct str secret,
                    uint8_t out[CRYPT_HASH_LEN]) {
    crypto_generichash_state st;
    crypto_generichash_init(&st, g->pepper, CRYPT_KEY_LEN, CRYPT_HASH_LEN);
    crypto_generichash_update(&st, (const uint8_t *)what, strlen(what) + 1);
    crypto_generichash_update(&st, (const uint8_t *)secret.p, secret.n);
    crypto_generichash_final(&st, out, CRYPT_HASH_LEN);
}

unsigned crypt_hash(const struct keyring *k, const char *what, struct str secret,
                    uint8_t out[CRYPT_HASH_LEN]) {
    const struct table *t = table_of(k);
    hash_by(&t->gens[0], what, secret, out);
    return t->edition;
}

unsigned crypt_hash_all(const struct keyring *k, const char *what, struct str secret,
                        uint8_t out[CRYPT_GENERATIONS][CRYPT_HASH_LEN]) {
    const struct table *t = table_of(k);
    for (int i = 0; i < CRYPT_GENERATIONS; i++)
        hash_by(&t->gens[i < t->n ? i : 0], what, secret, out[i]);
    return t->edition;
}

void crypt_seal(const struct keyring *k, const char *what, struct str plain, struct buf *out) {
    const struct generation *g = &table_of(k)->gens[0];
    uint8_t *to = (uint8_t *)buf_room(out, plain.n + CRYPT_SEAL_OVERHEAD);
    if (!to)
        return;
    to[0] = g->number;
    randombytes_buf(to + 1, SEAL_NONCE);
    must(crypto_aead_xchacha20poly1305_ietf_encrypt(
             to + 1 + SEAL_NONCE, NULL, (const uint8_t *)plain.p, plain.n, (const uint8_t *)what,
             strlen(what), NULL, to + 1, g->seal) == 0);
    out->n += plain.n + CRYPT_SEAL_OVERHEAD;
    out->p[out->n] = '\0';
}

static const struct generation *sealed_by(const struct table *t, struct str sealed) {
    for (int i = 0; sealed.n && i < t->n; i++)
        if (t->gens[i].number == (uint8_t)sealed.p[0])
            return &t->gens[i];
    return NULL;
}

enum err crypt_unseal(const struct keyring *k, const char *what, struct str sealed,
                      struct buf *out) {
    const struct table *t = table_of(k);
    const struct generation *g = sealed_by(t, sealed);
    if (!g && sealed.n && keyring_refresh(k, t->edition)) /* another process knows a newer one */
        g = sealed_by(table_of(k), sealed);
    if (!g || sealed.n < CRYPT_SEAL_OVERHEAD)
        return ERR_INTERNAL;
    const uint8_t *from = (const uint8_t *)sealed.p;
    size_t n = sealed.n - CRYPT_SEAL_OVERHEAD;
    uint8_t *to = (uint8_t *)buf_room(out, n);
    if (!to || crypto_aead_xchacha20poly1305_ietf_decrypt(to, NULL, NULL, from + 1 + SEAL_NONCE,
                                                          n + SEAL_TAG, (const uint8_t *)what,
                                                          strlen(what), from + 1, g->seal) != 0)
        return ERR_INTERNAL;
    out->n += n;
    out->p[out->n] = '\0';
    return OK;
}

bool crypt_seal_is_old(const struct keyring *k, struct str sealed) {
    return !sealed.n || (uint8_t)sealed.p[0] != table_of(k)->gens[0].number;
}

void crypt_digest(struct str data, uint8_t out[CRYPT_HASH_LEN]) {
    crypto_generichash(out, CRYPT_HASH_LEN, (const uint8_t *)data.p, data.n, NULL, 0);
}

bool crypt_equal(const void *a, const void *b, size_t n) {
    return sodium_memcmp(a, b, n) == 0;
}

/* Small pieces, such as request ids, come from a block of the thread's own: the kernel is asked for
 * many at once. What was handed out is wiped. */
void crypt_random(void *p, size_t n) {
    static _Thread_local uint8_t block[512];
    static _Thread_local size_t left;
    if (n > sizeof block / 8) {
        randombytes_buf(p, n);
        return;
    }
    if (left < n) {
        randombytes_buf(block, sizeof block);
        left = sizeof block;
    }
    left -= n;
    memcpy(p, block + left, n);
    secret_wipe(block + left, n);
}

uint32_t crypt_random_below(uint32_t limit) {
    return randombytes_uniform(limit);
}

enum err crypt_password_hash(struct str password, char out[128]) {
    int rc = crypto_pwhash_str_alg(out, password.p ? password.p : "", password.n, PASSWORD_OPS,
                                   PASSWORD_MEMORY, crypto_pwhash_ALG_ARGON2ID13);
    return rc == 0 ? OK : ERR_OVERLOADED; /* it fails only for want of memory */
}

bool crypt_password_ok(const char *hash, struct str password) {
    return crypto_pwhash_str_verify(hash, password.p ? password.p : "", password.n) == 0;
}

#include "ctl.h"

#include "domain/catalog/catalog.h"
#include "domain/identity/caller_load.h"
#include "domain/identity/key.h"
#include "domain/identity/key_text.h"
#include "util/clock.h"

#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct scan {
    struct ctl *c;
    struct str prefixes[5];
    size_t n_prefixes;
    int64_t found, live, unread;
    bool offline; /* the database was not asked */
};

static int64_t line_of(struct str text, size_t at) {
    int64_t line = 1;
    for (size_t i = 0; i < at; i++)
        line += text.p[i] == '\n';
    return line;
}

static enum err tell_key(struct scan *s, const char *path, struct str text, size_t at,
                         struct str key) {
    char hint[KEY_HINT_CAP];
    struct secret_ids ids = {0};
    enum err e = s->offline ? ERR_DB_NO_ROW : secret_find(s->c->db, s->c->keys, key, &ids);
    if (e != OK && e != ERR_DB_NO_ROW)
        return e;
    key_text_hint(key, hint);
    s->found++;
    bool ended = e == OK && secret_ended(&ids, clock_unix_s());
    s->live += e == OK && !ended;
    ctl_row(s->c, cell_s("file", str_c(path)), cell_i("line", line_of(text, at)),
            cell_s("key", str_c(hint)),
            cell_s("state", s->offline ? STR("not asked")
                            : ended    ? STR("rotated")
                            : e == OK  ? STR("live")
                                       : STR("unknown")),
            cell_i("id", ids.key_id));
    return OK;
}

static enum err scan_text(struct scan *s, const char *path, struct str text) {
    for (size_t i = 0; i < s->n_prefixes; i++) {
        struct str key;
        size_t at = 0;
        while (key_text_find(text, s->prefixes[i], &at, &key)) {
            enum err e = tell_key(s, path, text, (size_t)(key.p - text.p), key);
            if (e != OK)
                return e;
        }
    }
    return OK;
}

static enum err scan_file(struct scan *s, const char *path) {
    int fd AUTO(base_closep) = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        s->unread++;
        return OK;
    }
    if (!S_ISREG(st.st_mode) || st.st_size == 0)
        return OK;
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) {
        s->unread++;
        return OK;
    }
    enum err e = scan_text(s, path, str_of(p, (size_t)st.st_size));
    munmap(p, (size_t)st.st_size);
    return e;
}

static void fts_closep(FTS **f) {
    if (*f)
        fts_close(*f);
}

static enum err scan_paths(struct scan *s, char **paths) {
    FTS *tree AUTO(fts_closep) = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    if (!tree)
        return fault_set(&s->c->fault, ERR_FIELD_VALUE, "the paths cannot be read");
    for (FTSENT *entry; (entry = fts_read(tree)) != NULL;) {
        enum err e = OK;
        if (entry->fts_info == FTS_F)
            e = scan_file(s, entry->fts_accpath);
        else if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_NS ||
                 entry->fts_info == FTS_ERR)
            s->unread++;
        if (e != OK)
            return e;
    }
    return OK;
}

/* Longest first, so that a test key is not taken for a live one whose text begins with "test-". */
static void add_prefix(struct scan *s, struct str prefix) {
    size_t at = s->n_prefixes;
    for (size_t i = 0; i < s->n_prefixes; i++)
        if (str_eq(s->prefixes[i], prefix))
            return;
    for (; at > 0 && s->prefixes[at - 1].n < prefix.n; at--)
        s->prefixes[at] = s->prefixes[at - 1];
    s->prefixes[at] = prefix;
    s->n_prefixes++;
}

CTL_HANDLER(ctl_key_scan) {
    struct scan s = {.c = c};
    struct catalog *catalog AUTO(catalog_unref) = NULL;
    struct str prefix = STR("");
    const struct ctl_option options[] = {{"offline", CTL_FLAG, &s.offline, false, NULL},
                                         {"prefix", CTL_STR, &prefix, false, NULL}};
    enum err e = ctl_options(c, a, options, ARRAY_LEN(options), 1, 10000);
    if (!e && !s.offline)
        e = ctl_db(c);
    if (!e && !s.offline)
        e = ctl_keys(c);
    if (!e && !s.offline)
        e = catalog_load(c->db, c->keys, &catalog, &c->fault);
    if (e)
        return e;
    add_prefix(&s, STR("sk-"));
    add_prefix(&s, STR("sk-test-"));
    if (catalog)
        add_prefix(&s, key_site_prefix(catalog, false));
    if (catalog)
        add_prefix(&s, key_site_prefix(catalog, true));
    if (key_prefix_ok(prefix))
        add_prefix(&s, prefix);
    ctl_list(c);
    e = scan_paths(&s, a->v);
    c->negative = s.live > 0 || (s.offline && s.found > 0);
    return e;
}

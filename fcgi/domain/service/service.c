#include "domain/service/service.h"

#include "domain/identity/scope.h"
#include "domain/routing/host.h"
#include "door/crypt.h"
#include "door/queries.h"
#include "util/arena.h"
#include "util/lock.h"

#include <stdatomic.h>
#include <stdlib.h>

#define SECRET_MAX 4096

struct services {
    _Atomic uint32_t refs;
    uint32_t generation; /* of the catalogue, before it was read */
    struct arena mem;
    struct service *items;
    size_t n, cap;
};

static struct lock current_lock = LOCK_INIT;
static struct services *current;

/* --- rules ------------------------------------------------------------------------------------ */

static bool method_ok(struct str m) {
    static const char *const known[] = {"GET", "POST", "PUT", "PATCH", "DELETE", "*"};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (str_eqc(m, known[i]))
            return true;
    return false;
}

static bool pattern_ok(struct str p) {
    for (size_t i = 0; i < p.n; i++)
        if (p.p[i] <= ' ' || p.p[i] > '~' || strchr("?#\\\"%", p.p[i]) ||
            (p.p[i] == '*' && (i + 1 != p.n || p.p[i - 1] != '/')))
            return false;
    return p.n > 0 && p.p[0] == '/';
}

static bool is_word(char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
           c == '_';
}

/* What an upstream could not mistake for the path's own structure. */
static bool escape_ok(struct str rest) {
    uint8_t byte;
    if (rest.n < 3 || !str_hex(str_sub(rest, 1, 2), &byte, 1))
        return false;
    return byte >= ' ' && byte != 0x7f && !is_word((char)byte) && !strchr(".~/\\%", byte);
}

/* Some servers cut a segment at ';' before they look for dots. */
static bool segment_ok(struct str segment) {
    struct str bare;
    return str_cut(&segment, ';', &bare) && bare.n && !str_eqc(bare, ".") && !str_eqc(bare, "..");
}

bool service_path_ok(struct str path) {
    for (size_t i = 0; i < path.n; i++) {
        char c = path.p[i];
        bool plain = is_word(c) || (c && strchr("/.~!$&'()*+,;=:@", c));
        if (c == '%' ? !escape_ok(str_from(path, i)) : !plain)
            return false;
    }
    struct str rest = str_from(path, 1), segment;
    if (!path.n || path.p[0] != '/')
        return false;
    while (rest.n && str_cut(&rest, '/', &segment))
        if (!segment_ok(segment))
            return false;
    return path.n == 1 || !str_ends(path, STR("/"));
}

bool service_rules_parse(struct str text, struct service_rule out[SERVICE_RULES_MAX], size_t *n) {
    struct str line, method;
    *n = 0;
    while (text.n && str_cut(&text, '\n', &line)) {
        line = str_trim(line);
        if (!line.n)
            continue;
        if (!str_cut(&line, ' ', &method) || !line.p || !method_ok(method) ||
            !pattern_ok(line = str_trim(line)) || *n == SERVICE_RULES_MAX)
            return false;
        out[(*n)++] = (struct service_rule){method, line};
    }
    return *n > 0;
}

static bool path_matches(struct str pattern, struct str path) {
    struct str want, part;
    while (str_cut(&pattern, '/', &want)) {
        if (str_eqc(want, "*"))
            return path.p != NULL;
        if (!str_cut(&path, '/', &part))
            return false;
        bool any = want.n > 1 && want.p[0] == ':' && part.n;
        if (!any && !str_eq(want, part))
            return false;
    }
    return !path.p;
}

bool service_rule_matches(const struct service_rule *r, struct str method, struct str rest) {
    return (str_eqc(r->method, "*") || str_eq(r->method, method)) && path_matches(r->path, rest);
}

static bool scope_allows(const struct service_scope *s, struct str method, struct str rest) {
    for (size_t i = 0; i < s->n_rules; i++)
        if (service_rule_matches(&s->rules[i], method, rest))
            return true;
    return false;
}

static bool is_allowed(const struct service *s, uint64_t scopes, struct str method,
                       struct str rest) {
    bool reads = str_eqc(method, "GET");
    for (size_t i = 0; i < s->n_scopes; i++) {
        uint64_t bits = SCOPE_BIT(s->scopes[i].bit);
        if (reads)
            bits |= SCOPE_BIT(s->scopes[i].bit + 1);
        if (scopes & bits && scope_allows(&s->scopes[i], method, rest))
            return true;
    }
    return false;
}

static bool method_is_known(struct str m) {
    static const char *const known[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (str_eqc(m, known[i]))
            return true;
    return false;
}

enum err service_check(const struct service *s, uint64_t scopes, struct str method, struct str rest,
                       struct fault *f) {
    if (!method_is_known(method))
        return fault_set(f, ERR_METHOD, "GET, POST, PUT, PATCH, DELETE");
    if (!service_path_ok(rest))
        return fault_set(f, ERR_URL_UNKNOWN, "%.*s of the service %.*s", STR_ARG(method),
                         STR_ARG(s->name));
    if (is_allowed(s, scopes, method, rest))
        return OK;
    return fault_set(f, ERR_SCOPE_MISSING, "of the service %.*s for %.*s %.*s", STR_ARG(s->name),
                     STR_ARG(method), (int)(rest.n < 120 ? rest.n : 120), rest.p);
}

/* --- reading ---------------------------------------------------------------------------------- */

struct reading {
    struct services *s;
    const struct keyring *keys;
};

static void *grow(struct services *s) {
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 8;
        struct service *more = arena_alloc(&s->mem, s->cap * sizeof *more);
        if (s->n)
            memcpy(more, s->items, s->n * sizeof *more);
        s->items = more;
    }
    return &s->items[s->n++];
}

static enum err take_service(void *ctx, const struct q_service_rows *row) {
    struct reading *r = ctx;
    struct arena *mem = &r->s->mem;
    struct service *v = grow(r->s);
    struct buf secret AUTO(buf_free) = BUF(SECRET_MAX);
    if (row->sealed.n && crypt_unseal(r->keys, "service_key", row->sealed, &secret) != OK)
        return ERR_INTERNAL;
    *v = (struct service){.id = row->id,
                          .name = arena_str(mem, row->name),
                          .prefix = arena_str(mem, row->prefix),
                          .header = arena_str(mem, row->header),
                          .secret = arena_str(mem, buf_view(&secret))};
    v->live = (struct channel){.name = v->name,
                               .base_url = arena_str(mem, row->base_url),
                               .enabled = true,
                               .private_ok = true};
    v->test = v->live;
    v->test.base_url = arena_str(mem, row->test_base_url);
    v->price = (struct price){.id = row->price_id, .per_call = true, .call_quota = row->call_quota};
    v->model = (struct model){.name = str_c(arena_printf(mem, "service:%.*s", STR_ARG(v->name)))};
    return OK;
}

static enum err take_scope(void *ctx, const struct q_service_scope_rows *row) {
    struct reading *r = ctx;
    struct arena *mem = &r->s->mem;
    struct service *v = NULL;
    for (size_t i = 0; i < r->s->n; i++)
        if (r->s->items[i].id == row->service_id)
            v = &r->s->items[i];
    struct service_rule rules[SERVICE_RULES_MAX];
    size_t n;
    if (!v || row->bit < SCOPE_SERVICE_FIRST || row->bit + 1 >= SCOPE__MAX ||
        !service_rules_parse(arena_str(mem, row->rules), rules, &n))
        return OK; /* fails closed: nobody has it */
    struct service_rule *kept = arena_alloc(mem, n * sizeof *kept);
    memcpy(kept, rules, n * sizeof *kept);
    struct service_scope *more = arena_alloc(mem, (v->n_scopes + 1) * sizeof *more);
    if (v->n_scopes)
        memcpy(more, v->scopes, v->n_scopes * sizeof *more);
    more[v->n_scopes++] = (struct service_scope){
        arena_str(mem, row->name), arena_str(mem, row->read_name), (int)row->bit, kept, n};
    v->scopes = more;
    return OK;
}

static enum err read_all(struct db *db, const struct keyring *keys, uint32_t generation,
                         struct services **out) {
    struct services *s AUTO(services_unref) = base_zalloc(sizeof *s);
    struct reading r = {s, keys};
    s->refs = 1;
    s->generation = generation;
    arena_init(&s->mem, 4096);
    enum err e = q_service_rows(db, take_service, &r);
    if (e == OK)
        e = q_service_scope_rows(db, take_scope, &r);
    if (e != OK)
        return e;
    for (size_t i = 0; i < s->n; i++) /* the array has its last address now */
        s->items[i].model.price = &s->items[i].price;
    *out = s;
    s = NULL;
    return OK;
}

static struct services *peek(uint32_t generation) {
    LOCKED(&current_lock);
    return current && current->generation == generation ? services_ref(current) : NULL;
}

static struct services *publish(struct services *s) {
    struct services *old AUTO(services_unref) = NULL;
    LOCKED(&current_lock);
    old = current;
    current = services_ref(s);
    return s;
}

enum err services_current(struct db *db, const struct host *host, const struct keyring *keys,
                          struct services **out) {
    uint32_t generation = host_gen(host, HOST_GEN_CATALOG, 0);
    *out = peek(generation);
    if (*out)
        return OK;
    enum err e = read_all(db, keys, generation, out);
    if (e == OK)
        publish(*out);
    return e;
}

struct services *services_ref(struct services *s) {
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void services_unref(struct services **s) {
    if (*s && atomic_fetch_sub_explicit(&(*s)->refs, 1, memory_order_acq_rel) == 1) {
        for (size_t i = 0; i < (*s)->n; i++) {
            struct str secret = (*s)->items[i].secret;
            explicit_bzero((void *)(uintptr_t)secret.p, secret.n);
        }
        arena_free(&(*s)->mem);
        free(*s);
    }
    *s = NULL;
}

/* --- asking ----------------------------------------------------------------------------------- */

const struct service *services_at(const struct services *s, size_t i) {
    return i < s->n ? &s->items[i] : NULL;
}

const struct service *services_match(const struct services *s, struct str path, struct str *rest) {
    const struct service *best = NULL;
    for (size_t i = 0; i < s->n; i++) {
        struct str prefix = s->items[i].prefix;
        bool under = str_starts(path, prefix) && (path.n == prefix.n || path.p[prefix.n] == '/');
        if (under && (!best || prefix.n > best->prefix.n))
            best = &s->items[i];
    }
    if (best)
        *rest = path.n == best->prefix.n ? STR("/") : str_from(path, best->prefix.n);
    return best;
}

uint64_t services_scope_mask(const struct services *s) {
    uint64_t mask = 0;
    for (size_t i = 0; i < s->n; i++)
        for (size_t j = 0; j < s->items[i].n_scopes; j++)
            mask |= SCOPE_BIT(s->items[i].scopes[j].bit) | SCOPE_BIT(s->items[i].scopes[j].bit + 1);
    return mask;
}

struct str services_scope_name(const struct services *s, int bit) {
    for (size_t i = 0; i < s->n; i++)
        for (size_t j = 0; j < s->items[i].n_scopes; j++) {
            const struct service_scope *c = &s->items[i].scopes[j];
            if (c->bit == bit || c->bit + 1 == bit)
                return c->bit == bit ? c->name : c->read_name;
        }
    return STR("");
}

uint64_t services_scope_find(const struct services *s, struct str name) {
    for (size_t i = 0; i < s->n; i++)
        for (size_t j = 0; j < s->items[i].n_scopes; j++) {
            const struct service_scope *c = &s->items[i].scopes[j];
            if (str_eq(c->name, name))
                return SCOPE_BIT(c->bit);
            if (str_eq(c->read_name, name))
                return SCOPE_BIT(c->bit + 1);
        }
    return 0;
}

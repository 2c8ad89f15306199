#include "domain/identity/caller_load.h"

#include "domain/identity/key.h"
#include "door/crypt.h"
#include "door/queries.h"

#include <stdlib.h>

static_assert(CRYPT_GENERATIONS == 4, "secret_find asks for four hashes");

bool secret_ended(const struct secret_ids *s, int64_t now_s) {
    return s->expires_at >= 0 && now_s >= s->expires_at;
}

static enum err find_secret(struct db *db, const struct keyring *keys, struct str key,
                            struct q_secret_find *row, uint8_t newest[CRYPT_HASH_LEN],
                            unsigned *edition) {
    uint8_t hash[CRYPT_GENERATIONS][CRYPT_HASH_LEN];
    struct str h[CRYPT_GENERATIONS];
    *edition = crypt_hash_all(keys, "api_key", key, hash);
    for (int i = 0; i < CRYPT_GENERATIONS; i++)
        h[i] = str_of(hash[i], CRYPT_HASH_LEN);
    memcpy(newest, hash[0], CRYPT_HASH_LEN);
    return q_secret_find(db, &(struct q_secret_find_in){h[0], h[1], h[2], h[3]}, row);
}

enum err secret_find(struct db *db, const struct keyring *keys, struct str key,
                     struct secret_ids *out) {
    uint8_t newest[CRYPT_HASH_LEN];
    unsigned edition;
    struct q_secret_find row;
    enum err e = find_secret(db, keys, key, &row, newest, &edition);
    if (e == ERR_DB_NO_ROW && keyring_refresh(keys, edition))
        e = find_secret(db, keys, key, &row, newest, &edition);
    if (e != OK)
        return e;
    *out = (struct secret_ids){row.secret_id, row.key_id, row.user_id, row.expires_at};
    if (row.hash.n == CRYPT_HASH_LEN && crypt_equal(row.hash.p, newest, CRYPT_HASH_LEN))
        return OK;
    /* Only a key's user knows its text, so a use is the time to move it to the new pepper. */
    return q_secret_rehash(
        db, &(struct q_secret_rehash_in){str_of(newest, sizeof newest), row.secret_id}, NULL);
}

/* Entries of a stored list. */
static size_t count_parts(struct str list, char sep) {
    size_t n = list.n ? 1 : 0;
    for (size_t i = 0; i < list.n; i++)
        n += list.p[i] == sep;
    return n;
}

/* Hands out the one allocation of a picture, largest alignment first. */
struct packer {
    char *at, *end;
};

static void *pack(struct packer *p, size_t n) {
    must((size_t)(p->end - p->at) >= n);
    void *here = p->at;
    p->at += n;
    return here;
}

static struct str pack_str(struct packer *p, struct str s) {
    char *to = pack(p, s.n);
    if (s.n)
        memcpy(to, s.p, s.n);
    return str_of(to, s.n);
}

static void cut_parts(struct str list, struct str *parts) {
    struct str part;
    while (list.n && str_cut(&list, ',', &part))
        *parts++ = part;
}

struct sizes {
    size_t models, groups, ips, budgets;
};

static size_t size_of(const struct q_caller_get *r, const struct sizes *n) {
    return sizeof(struct held) + (n->models + n->groups) * sizeof(struct str) +
           n->budgets * sizeof(struct budget_rule) + n->ips * sizeof(struct cidr) + r->name.n +
           r->user_name.n + r->user_group.n + r->language.n + r->key_group.n + r->model_limits.n +
           r->auto_groups.n;
}

static enum err fill_ips(struct str list, const struct cidr *out, size_t n) {
    struct cidr *to = (struct cidr *)(uintptr_t)out;
    struct str entry;
    for (size_t i = 0; i < n; i++)
        if (!cidr_list_next(&list, &entry) || !cidr_parse(entry, &to[i]))
            return ERR_INTERNAL; /* never "everybody": the list is not what was written */
    return OK;
}

static void fill_numbers(struct caller *c, const struct q_caller_get *r) {
    c->secret_id = r->secret_id;
    c->key_id = r->key_id;
    c->user_id = r->user_id;
    c->key_disabled = r->disabled;
    c->user_disabled = r->user_status != 1;
    c->unlimited_quota = r->unlimited;
    c->test_mode = r->test_mode;
    c->cross_group_retry = r->cross_group_retry;
    c->role = r->user_role >= ROLE_ROOT    ? ROLE_ROOT
              : r->user_role >= ROLE_ADMIN ? ROLE_ADMIN
                                           : ROLE_USER;
    c->expires_at = r->expires_at;
    c->scopes = r->scopes ? (uint64_t)r->scopes : scope_mask(SCOPE_F_DEFAULT);
    c->rpm_limit = r->rpm_limit;
    c->tpm_limit = r->tpm_limit;
    c->concurrency_limit = r->concurrency_limit;
    c->user_rpm_limit = r->user_rpm_limit;
    c->user_tpm_limit = r->user_tpm_limit;
    c->user_concurrency_limit = r->user_concurrency_limit;
}

static enum err make_picture(const struct q_caller_get *r, struct held **out) {
    struct sizes n = {count_parts(r->model_limits, ','), count_parts(r->auto_groups, ','),
                      count_parts(r->allow_ips, '\n'), (size_t)(r->budgets + r->user_budgets)};
    size_t size = size_of(r, &n);
    struct held *h AUTO(held_unref) = base_zalloc(size);
    h->refs = 1;
    struct caller *c = &h->caller;
    struct packer p = {(char *)(h + 1), (char *)h + size};
    struct str *models = pack(&p, n.models * sizeof *models);
    struct str *groups = pack(&p, n.groups * sizeof *groups);
    c->budgets = pack(&p, n.budgets * sizeof *c->budgets);
    c->allow_ips = pack(&p, n.ips * sizeof *c->allow_ips);
    fill_numbers(c, r);
    c->key_name = pack_str(&p, r->name);
    c->user_name = pack_str(&p, r->user_name);
    c->user_group = pack_str(&p, r->user_group);
    c->language = pack_str(&p, r->language);
    c->key_group = pack_str(&p, r->key_group);
    cut_parts(pack_str(&p, r->model_limits), models);
    cut_parts(pack_str(&p, r->auto_groups), groups);
    c->models = models;
    c->n_models = n.models;
    c->model_limits_enabled =
        r->model_limits_enabled && n.models; /* an empty list limits nothing */
    c->auto_groups = groups;
    c->n_auto_groups = n.groups;
    c->n_allow_ips = n.ips;
    c->n_budgets = n.budgets;
    h->secret_expires_at = r->secret_expires_at;
    enum err e = fill_ips(r->allow_ips, c->allow_ips, n.ips);
    if (e != OK)
        return e;
    *out = h;
    h = NULL;
    return OK;
}

struct budget_fill {
    struct budget_rule *to;
    size_t n, n_user, max;
};

static enum err take_budget(void *ctx, const struct q_caller_budgets *row) {
    struct budget_fill *fill = ctx;
    if (fill->n == fill->max)
        return OK;
    struct budget_rule *b = &fill->to[fill->n++];
    *b = (struct budget_rule){.id = row->id,
                              .owner = row->owner ? BUDGET_OF_USER : BUDGET_OF_KEY,
                              .window = row->time_window.p[0],
                              .amount = row->amount};
    fill->n_user += b->owner == BUDGET_OF_USER;
    return str_copy(row->timezone, b->timezone, sizeof b->timezone) ? OK : ERR_INTERNAL;
}

enum err caller_load(struct db *db, struct str hash, struct held **out) {
    struct q_caller_get row;
    struct held *h AUTO(held_unref) = NULL;
    enum err e = q_caller_get(db, &(struct q_caller_get_in){hash}, &row);
    if (e == OK)
        e = make_picture(&row, &h);
    if (e != OK)
        return e;
    struct caller *c = &h->caller;
    if (c->n_budgets) {
        struct budget_fill fill = {.to = (struct budget_rule *)(uintptr_t)c->budgets,
                                   .max = c->n_budgets};
        e = q_caller_budgets(db, &(struct q_caller_budgets_in){c->key_id, c->user_id}, take_budget,
                             &fill);
        if (e != OK)
            return e;
        c->n_budgets = fill.n - fill.n_user;
        c->user_budgets = c->budgets + c->n_budgets;
        c->n_user_budgets = fill.n_user;
    }
    *out = h;
    h = NULL;
    return OK;
}

#include "domain/identity/key_store.h"

#include "domain/billing/credit.h"
#include "domain/billing/zone.h"
#include "door/crypt.h"
#include "door/db.h"
#include "door/queries.h"
#include "util/clock.h"
#include "util/secret.h"

#define SEALED_FOR "api_key"

static void sealed_free(struct buf *b) {
    if (b->p)
        secret_wipe(b->p, b->n);
    buf_free(b);
}

static enum err add_secret(struct db *db, const struct keyring *keys, int64_t key_id,
                           struct str prefix, bool recoverable, char text[KEY_TEXT_CAP]) {
    uint8_t hash[CRYPT_HASH_LEN];
    char hint[KEY_HINT_CAP];
    struct buf sealed AUTO(sealed_free) = BUF(512);
    key_text_make(prefix, text);
    key_text_hint(str_c(text), hint);
    crypt_hash(keys, "api_key", str_c(text), hash);
    if (recoverable)
        crypt_seal(keys, SEALED_FOR, str_c(text), &sealed);
    return q_secret_insert(db,
                           &(struct q_secret_insert_in){
                               .key_id = key_id,
                               .hash = str_of(hash, sizeof hash),
                               .sealed = recoverable ? buf_view(&sealed) : STR_NONE,
                               .hint = str_c(hint),
                               .created_at = clock_unix_s(),
                           },
                           NULL);
}

static enum err put_budget(struct db *db, int64_t key_id, const struct budget_rule *b) {
    return q_budget_put(db,
                        &(struct q_budget_put_in){.key_id = key_id,
                                                  .time_window = str_of(&b->window, 1),
                                                  .amount = b->amount,
                                                  .timezone = str_c(b->timezone)},
                        NULL);
}

/* What a key is made with and what an update overwrites. */
#define EDITABLE(s)                                                                        \
    .name = (s)->name, .expires_at = (s)->expires_at, .unlimited = (s)->unlimited_quota,   \
    .model_limits_enabled = (s)->model_limits_enabled, .model_limits = (s)->model_limits,  \
    .allow_ips = (s)->allow_ips, .key_group = (s)->group, .auto_groups = (s)->auto_groups, \
    .cross_group_retry = (s)->cross_group_retry, .scopes = (int64_t)(s)->scopes,           \
    .rpm_limit = (s)->rpm_limit, .tpm_limit = (s)->tpm_limit,                              \
    .concurrency_limit = (s)->concurrency_limit

static enum err insert_row(struct db *db, const struct key_new *k, int64_t *id) {
    const struct key_settings *s = k->s;
    struct db_done done;
    enum err e = q_key_insert(db,
                              &(struct q_key_insert_in){
                                  .user_id = k->user_id,
                                  .test_mode = s->test_mode,
                                  EDITABLE(s),
                                  .created_at = clock_unix_s(),
                              },
                              &done);
    *id = e == OK ? done.insert_id : 0;
    return e;
}

enum err key_create(struct db *db, const struct keyring *keys, struct key_new *k, struct fault *f) {
    struct db_done done;
    enum err e = q_key_slot_take(db, &(struct q_key_slot_take_in){k->user_id, k->max_keys}, &done);
    if (e == OK && done.affected == 0)
        return fault_set(f, ERR_KEYS_TOO_MANY, "%lld", (long long)k->max_keys);
    if (e == OK)
        e = insert_row(db, k, &k->id);
    if (e == OK)
        e = q_key_bucket_add(db, &(struct q_key_bucket_add_in){k->user_id, k->id, 1}, NULL);
    if (e == OK)
        e = credit_key_new_in(db, k->id, k->s->remain_quota);
    for (size_t i = 0; e == OK && i < k->s->n_budgets; i++)
        e = put_budget(db, k->id, &k->s->budgets[i]);
    return e != OK ? e : add_secret(db, keys, k->id, k->prefix, k->recoverable, k->text);
}

static const struct budget_rule *same_window(const struct key_settings *s, char window) {
    for (size_t i = 0; i < s->n_budgets; i++)
        if (s->budgets[i].window == window)
            return &s->budgets[i];
    return NULL;
}

static enum err write_budgets(struct db *db, const struct key_view *before,
                              const struct key_settings *s) {
    enum err e = OK;
    for (size_t i = 0; e == OK && i < before->s.n_budgets; i++) {
        const struct budget_rule *was = &before->s.budgets[i];
        const struct budget_rule *will = same_window(s, was->window);
        if (will)
            e = budget_adjust(db, was, will->amount);
        else
            e = q_budget_delete(
                db, &(struct q_budget_delete_in){before->id, str_of(&was->window, 1)}, NULL);
    }
    for (size_t i = 0; e == OK && i < s->n_budgets; i++)
        e = put_budget(db, before->id, &s->budgets[i]);
    return e;
}

static enum err write_quota(struct db *db, int64_t key_id, struct key_quota quota) {
    if (quota.absolute)
        return credit_key_set_in(db, key_id, quota.value);
    if (!quota.value)
        return OK;
    enum err e = q_allow_grant(
        db, &(struct q_allow_grant_in){quota.value, quota.value, ALLOW_KEY, key_id, 0}, NULL);
    if (e == OK && quota.value < 0)
        e = q_allow_recall_all(db, &(struct q_allow_recall_all_in){ALLOW_KEY, key_id, 0}, NULL);
    return e;
}

enum err key_update(struct db *db, const struct key_view *before, const struct key_settings *s,
                    bool disabled, struct key_quota quota) {
    enum err e = q_key_update(db,
                              &(struct q_key_update_in){
                                  .disabled = disabled,
                                  EDITABLE(s),
                                  .id = before->id,
                              },
                              NULL);
    if (e == OK)
        e = write_quota(db, before->id, quota);
    return e != OK ? e : write_budgets(db, before, s);
}

enum err key_set_disabled(struct db *db, int64_t id, bool disabled) {
    return q_key_set_disabled(db, &(struct q_key_set_disabled_in){disabled, id}, NULL);
}

enum err key_delete(struct db *db, int64_t user_id, int64_t id) {
    struct db_done done;
    enum err e = q_key_delete(db, &(struct q_key_delete_in){clock_unix_s(), user_id, id}, &done);
    if (e == OK && done.affected == 0)
        return ERR_RECORD_NOT_FOUND;
    if (e == OK)
        e = q_key_secrets_delete(db, &(struct q_key_secrets_delete_in){id}, NULL);
    if (e == OK)
        e = q_key_bucket_add(db, &(struct q_key_bucket_add_in){user_id, id, -1}, NULL);
    if (e == OK)
        e = q_key_slot_give(db, &(struct q_key_slot_give_in){user_id}, NULL);
    return e;
}

enum err key_rotate(struct db *db, const struct keyring *keys, const struct key_view *k,
                    struct str prefix, bool recoverable, int64_t grace_s, char text[KEY_TEXT_CAP],
                    struct fault *f) {
    must(grace_s >= 0 && grace_s <= KEY_GRACE_MAX_S);
    if (k->n_secrets >= KEY_SECRETS_MAX)
        return fault_set(f, ERR_ROTATION_OPEN, NULL);
    enum err e = OK;
    for (size_t i = 0; e == OK && i < k->n_secrets; i++)
        e = q_secret_expire(
            db, &(struct q_secret_expire_in){clock_unix_s() + grace_s, k->secrets[i].id}, NULL);
    return e != OK ? e : add_secret(db, keys, k->id, prefix, recoverable, text);
}

enum err key_revoke_old(struct db *db, const struct key_view *k, struct fault *f) {
    if (k->n_secrets < KEY_SECRETS_MAX)
        return fault_set(f, ERR_ROTATION_NONE, NULL);
    return q_secret_delete(db, &(struct q_secret_delete_in){k->secrets[1].id}, NULL);
}

enum err key_reveal(const struct keyring *keys, const struct key_view *k, struct buf *out) {
    if (!k->n_secrets || !k->secrets[0].sealed.n)
        return ERR_KEY_NOT_RECOVERABLE;
    return crypt_unseal(keys, SEALED_FOR, k->secrets[0].sealed, out);
}

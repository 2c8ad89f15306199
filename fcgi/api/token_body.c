#include "api/token_body.h"

#include "api/scopes.h"
#include "door/json.h"

static const char *const known[] = {
    /* the base contract */
    "id", "user_id", "key", "status", "name", "created_time", "accessed_time", "expired_time",
    "remain_quota", "used_quota", "unlimited_quota", "model_limits_enabled", "model_limits",
    "allow_ips", "group", "cross_group_retry", "auto_groups", "DeletedAt",
    /* ours */
    "mode", "scopes", "rpm_limit", "tpm_limit", "concurrency_limit", "budgets", "quota_delta",
    "if_remain_quota",
    /* ours, shown by a read and so sent back by forms */
    "last_used_ip", "last_used_model", "key_hint", "secrets", NULL};

static enum err wrong_type(const char *field, const char *want, struct fault *f) {
    return fault_field(f, ERR_FIELD_TYPE, field, "%s must be %s", field, want);
}

/* A list that clients send as an array of strings or as one string: joined by commas. */
static enum err read_list(const struct json *o, const char *field, size_t max, bool *given,
                          struct arena *mem, struct str *out, struct fault *f) {
    const struct json *list = json_get(o, field);
    struct buf text AUTO(buf_free) = BUF(256 * 1024);
    *given = list != NULL;
    if (!list || json_type_of(list) == JSON_NULL)
        return OK;
    if (json_type_of(list) == JSON_STRING) {
        *out = arena_str(mem, json_str(list));
        return OK;
    }
    if (json_type_of(list) != JSON_ARRAY)
        return wrong_type(field, "a string or an array of strings", f);
    if (json_length(list) > max)
        return fault_field(f, ERR_FIELD_VALUE, field, "%s has more than %zu entries", field, max);
    for (size_t i = 0; i < json_length(list); i++) {
        if (json_type_of(json_at(list, i)) != JSON_STRING)
            return wrong_type(field, "a string or an array of strings", f);
        if (i)
            buf_putc(&text, ',');
        buf_str(&text, json_str(json_at(list, i)));
    }
    if (text.failed)
        return fault_field(f, ERR_FIELD_VALUE, field, "%s is too long", field);
    *out = arena_str(mem, buf_view(&text));
    return OK;
}

static enum err read_str(const struct json *o, const char *field, struct arena *mem,
                         struct str *out, struct fault *f) {
    struct str s = STR("");
    enum err e = json_want_str(o, field, &s, NULL, f);
    if (e == OK)
        *out = arena_str(mem, s);
    return e;
}

static enum err read_mode(const struct json *o, struct token_body *b, struct fault *f) {
    struct str mode = STR("live");
    enum err e = json_want_str(o, "mode", &mode, &b->has_mode, f);
    if (e != OK)
        return e;
    b->s.test_mode = str_eqc(mode, "test");
    if (!b->s.test_mode && !str_eqc(mode, "live"))
        return fault_field(f, ERR_FIELD_VALUE, "mode", "mode must be live or test");
    return OK;
}

/* An unknown one is refused in its turn, after the name and the others. */
static enum err read_scopes(struct api_request *req, const struct json *o, struct token_body *b,
                            struct fault *f) {
    const struct json *list = json_get(o, "scopes");
    b->has_scopes = list && json_type_of(list) != JSON_NULL;
    return b->has_scopes ? scopes_read(req, list, &b->s.scopes, &b->s.unknown_scope, f) : OK;
}

static enum err read_budget(const struct json *o, struct budget_rule *out, struct fault *f) {
    static const char *const members[] = {"window", "amount",    "timezone",
                                          "spent",  "resets_at", NULL};
    struct str window = STR(""), timezone = STR("UTC");
    if (json_type_of(o) != JSON_OBJECT)
        return wrong_type("budgets", "an array of objects", f);
    enum err e = json_only(o, members, f);
    if (e == OK)
        e = json_want_str(o, "window", &window, NULL, f);
    if (e == OK)
        e = json_want_int(o, "amount", &out->amount, NULL, f);
    if (e == OK)
        e = json_want_str(o, "timezone", &timezone, NULL, f);
    if (e != OK)
        return e;
    if (str_eqc(window, "day") || str_eqc(window, "week") || str_eqc(window, "month"))
        out->window = window.p[0];
    else
        return fault_field(f, ERR_FIELD_VALUE, "budgets", "window must be day, week or month");
    if (!timezone.n || !str_copy(timezone, out->timezone, sizeof out->timezone))
        return fault_field(f, ERR_FIELD_VALUE, "budgets", "timezone must have 1 to %zu characters",
                           sizeof out->timezone - 1);
    return OK;
}

static enum err read_budgets(const struct json *o, struct token_body *b, struct fault *f) {
    const struct json *list = json_get(o, "budgets");
    b->has_budgets = list && json_type_of(list) != JSON_NULL;
    if (!b->has_budgets)
        return OK;
    if (json_type_of(list) != JSON_ARRAY)
        return wrong_type("budgets", "an array of objects", f);
    if (json_length(list) > KEY_BUDGETS_MAX)
        return fault_field(f, ERR_FIELD_VALUE, "budgets", "budgets has more than %d entries",
                           KEY_BUDGETS_MAX);
    for (size_t i = 0; i < json_length(list); i++) {
        enum err e = read_budget(json_at(list, i), &b->s.budgets[i], f);
        if (e != OK)
            return e;
        b->s.n_budgets = i + 1;
    }
    return OK;
}

static enum err read_numbers(const struct json *o, struct token_body *b, struct fault *f) {
    const struct {
        const char *field;
        int64_t *to;
        bool *given;
    } rows[] = {
        {"id", &b->id, NULL},
        {"expired_time", &b->s.expires_at, NULL},
        {"remain_quota", &b->s.remain_quota, NULL},
        {"status", &b->status, &b->has_status},
        {"rpm_limit", &b->s.rpm_limit, &b->has_rpm},
        {"tpm_limit", &b->s.tpm_limit, &b->has_tpm},
        {"concurrency_limit", &b->s.concurrency_limit, &b->has_concurrency},
        {"quota_delta", &b->quota_delta, &b->has_quota_delta},
        {"if_remain_quota", &b->if_remain_quota, &b->has_if_remain_quota},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        enum err e = json_want_int(o, rows[i].field, rows[i].to, rows[i].given, f);
        if (e != OK)
            return e;
    }
    if (b->s.expires_at <= 0) /* -1 and 0 mean never; nothing expired before 1970 */
        b->s.expires_at = KEY_NEVER;
    return OK;
}

static enum err read_flags(const struct json *o, struct token_body *b, struct fault *f) {
    const struct {
        const char *field;
        bool *to;
    } rows[] = {
        {"unlimited_quota", &b->s.unlimited_quota},
        {"model_limits_enabled", &b->s.model_limits_enabled},
        {"cross_group_retry", &b->s.cross_group_retry},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        enum err e = json_want_bool(o, rows[i].field, rows[i].to, NULL, f);
        if (e != OK)
            return e;
    }
    return OK;
}

static enum err read_texts(struct api_request *req, const struct json *o, struct token_body *b,
                           struct fault *f) {
    bool given;
    enum err e = read_str(o, "name", req->mem, &b->s.name, f);
    if (e == OK)
        e = read_str(o, "allow_ips", req->mem, &b->s.allow_ips, f);
    if (e == OK)
        e = read_str(o, "group", req->mem, &b->s.group, f);
    if (e == OK)
        e = read_list(o, "model_limits", KEY_MODELS_MAX, &given, req->mem, &b->s.model_limits, f);
    if (e == OK)
        e = read_list(o, "auto_groups", KEY_AUTO_GROUPS_MAX, &b->has_auto_groups, req->mem,
                      &b->s.auto_groups, f);
    return e;
}

enum err token_body_read(struct api_request *req, struct token_body *out, struct fault *f) {
    struct json *o AUTO(json_free) = NULL;
    *out = (struct token_body){.s = {.expires_at = KEY_NEVER}};
    enum err e = api_body(req, known, &o, f);
    if (e == OK)
        e = read_numbers(o, out, f);
    if (e == OK)
        e = read_flags(o, out, f);
    if (e == OK)
        e = read_texts(req, o, out, f);
    if (e == OK)
        e = read_mode(o, out, f);
    if (e == OK)
        e = read_budgets(o, out, f);
    return e != OK ? e : read_scopes(req, o, out, f);
}

#include "domain/identity/key_audit.h"

#define MAX_TEXT 2000 /* of a setting, in each of the two pictures */
#define MAX_DETAIL 32000

struct field {
    const char *name;
    struct str was_text, is_text; /* used when text */
    int64_t was, is;
    bool text;
};

static void put_value(struct buf *out, const struct field *f, bool after) {
    if (!f->text) {
        buf_i64(out, after ? f->is : f->was);
        return;
    }
    struct str s = after ? f->is_text : f->was_text;
    if (s.n <= MAX_TEXT)
        buf_json(out, s);
    else
        buf_printf(out, "\"%zu bytes\"", s.n);
}

static bool differs(const struct field *f) {
    return f->text ? !str_eq(f->was_text, f->is_text) : f->was != f->is;
}

static bool put_side(struct buf *out, const struct field *fields, size_t n, bool after, bool all) {
    bool any = false;
    buf_putc(out, '{');
    for (size_t i = 0; i < n; i++) {
        if (!all && !differs(&fields[i]))
            continue;
        buf_printf(out, "%s\"%s\":", any ? "," : "", fields[i].name);
        put_value(out, &fields[i], after);
        any = true;
    }
    buf_putc(out, '}');
    return any;
}

static struct str budgets_text(struct buf *b, const struct key_settings *s) {
    for (size_t i = 0; i < s->n_budgets; i++)
        buf_printf(b, "%s%c %lld %s", i ? ", " : "", s->budgets[i].window,
                   (long long)s->budgets[i].amount, s->budgets[i].timezone);
    return buf_view(b);
}

#define TEXT(label, member) \
    { .name = label, .was_text = a->member, .is_text = b->member, .text = true }
#define NUMBER(label, member) \
    { .name = label, .was = (int64_t)a->member, .is = (int64_t)b->member }

/* Writes {"before":{..},"after":{..}}, or {"after":{..}} when `all`; false when nothing differs. */
static bool put_settings(struct buf *out, const struct key_settings *a, bool a_disabled,
                         const struct key_settings *b, bool b_disabled, bool all) {
    struct buf was AUTO(buf_free) = BUF(1024), is AUTO(buf_free) = BUF(1024);
    const struct field fields[] = {
        TEXT("name", name),
        {.name = "status", .was = a_disabled ? 2 : 1, .is = b_disabled ? 2 : 1},
        NUMBER("expired_time", expires_at),
        NUMBER("remain_quota", remain_quota),
        NUMBER("unlimited_quota", unlimited_quota),
        NUMBER("model_limits_enabled", model_limits_enabled),
        TEXT("model_limits", model_limits),
        TEXT("allow_ips", allow_ips),
        TEXT("group", group),
        NUMBER("cross_group_retry", cross_group_retry),
        TEXT("auto_groups", auto_groups),
        NUMBER("test_mode", test_mode),
        NUMBER("scopes", scopes),
        NUMBER("rpm_limit", rpm_limit),
        NUMBER("tpm_limit", tpm_limit),
        NUMBER("concurrency_limit", concurrency_limit),
        {.name = "budgets",
         .was_text = budgets_text(&was, a),
         .is_text = budgets_text(&is, b),
         .text = true},
    };
    buf_putc(out, '{');
    if (!all) {
        buf_puts(out, "\"before\":");
        put_side(out, fields, ARRAY_LEN(fields), false, false);
        buf_putc(out, ',');
    }
    buf_puts(out, "\"after\":");
    bool any = put_side(out, fields, ARRAY_LEN(fields), true, all);
    buf_putc(out, '}');
    return any;
}

enum err key_audit(struct db *db, const struct audit_event *who, int64_t key_id, const char *kind,
                   struct str detail) {
    struct audit_event ev = *who;
    ev.key_id = key_id;
    ev.kind = kind;
    ev.detail = detail.n ? detail : STR("{}");
    return audit_write(db, &ev);
}

enum err key_audit_created(struct db *db, const struct audit_event *who, int64_t key_id,
                           const struct key_settings *s) {
    struct buf detail AUTO(buf_free) = BUF(MAX_DETAIL);
    put_settings(&detail, s, false, s, false, true);
    return key_audit(db, who, key_id, "create", buf_view(&detail));
}

enum err key_audit_changed(struct db *db, const struct audit_event *who,
                           const struct key_view *before, const struct key_settings *s,
                           bool disabled) {
    struct buf detail AUTO(buf_free) = BUF(MAX_DETAIL);
    if (!put_settings(&detail, &before->s, before->disabled, s, disabled, false))
        return OK;
    return key_audit(db, who, before->id, "update", buf_view(&detail));
}

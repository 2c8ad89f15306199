/* tollgatectl: prices import, credit, reconcile, rerate. */
#include "ctl.h"

#include "domain/admin/account.h"
#include "domain/admin/price_import.h"
#include "domain/admin/shelf.h"
#include "domain/billing/credit.h"
#include "domain/billing/reconcile.h"
#include "domain/billing/rerate.h"
#include "util/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define PRICE_FILE_MAX ((size_t)64 << 20)

/* --- prices import -------------------------------------------------------------------------- */

static enum err read_file(struct ctl *c, const char *path, struct buf *out) {
    int fd AUTO(base_closep) = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = -1;
    while (fd >= 0) {
        char *room = buf_room(out, 65536);
        n = room ? read(fd, room, 65536) : -1;
        if (n <= 0)
            break;
        out->n += (size_t)n;
    }
    if (n < 0)
        return fault_set(&c->fault, ERR_FIELD_VALUE, "%s cannot be read%s", path,
                         out->failed ? ": too large" : "");
    return OK;
}

struct importing {
    struct ctl *c;
    int64_t counts[PRICE_IMPORT__MAX];
};

static void on_model(void *ctx, struct str model, enum price_import_result result,
                     const char *detail) {
    struct importing *i = ctx;
    i->counts[result]++;
    if (result != PRICE_IMPORT_SAME)
        ctl_row(i->c, cell_s("model", model),
                cell_s("result", str_c(price_import_result_name(result))),
                cell_s("detail", str_c(detail)));
}

CTL_HANDLER(ctl_prices_import) {
    struct importing i = {.c = c};
    struct price_import how = {.tell = on_model, .ctx = &i};
    const struct ctl_option options[] = {
        {"dry-run", CTL_FLAG, &how.dry_run, false, NULL},
        {"only-existing", CTL_FLAG, &how.only_existing, false, NULL}};
    struct buf text AUTO(buf_free) = BUF(PRICE_FILE_MAX);
    enum err e = ctl_options(c, a, options, ARRAY_LEN(options), 1, 1);
    if (!e)
        e = read_file(c, a->v[0], &text);
    if (!e)
        e = ctl_db(c);
    if (e)
        return e;
    ctl_list(c);
    e = price_import_run(c->db, ctl_host(c), buf_view(&text), &how, &c->fault);
    char sums[160];
    snprintf(sums, sizeof sums,
             "%" PRId64 " added, %" PRId64 " changed, %" PRId64 " the same, %" PRId64 " skipped",
             i.counts[0], i.counts[1], i.counts[2], i.counts[3]);
    if (!e)
        ctl_row(c, cell_s("model", STR("*")),
                cell_s("result", how.dry_run ? STR("dry run") : STR("done")),
                cell_s("detail", str_c(sums)));
    return e;
}

/* --- credit --------------------------------------------------------------------------------- */

static bool source_parse(struct str name, enum credit_source *out) {
    static const struct {
        const char *name;
        enum credit_source source;
    } sources[] = {{"topup", CREDIT_TOPUP},
                   {"adjustment", CREDIT_ADJUSTMENT},
                   {"refund", CREDIT_REFUND},
                   {"gift", CREDIT_GIFT}};
    for (size_t i = 0; i < ARRAY_LEN(sources); i++)
        if (str_eqc(name, sources[i].name)) {
            *out = sources[i].source;
            return true;
        }
    return false;
}

static enum err credit_amount(struct ctl *c, bool has_quota, bool has_usd, bool take, int64_t usd,
                              int64_t *quota) {
    if (has_quota == has_usd)
        return fault_set(&c->fault, ERR_FIELD_VALUE, "one of --quota and --usd");
    if (has_usd && !quota_from_usd(usd, quota))
        return fault_set(&c->fault, ERR_FIELD_VALUE, "--usd is no whole number of quota units");
    if (*quota <= 0 || *quota > ACCOUNT_BALANCE_MAX)
        return fault_set(&c->fault, ERR_FIELD_VALUE, "the amount must be above 0");
    if (take)
        *quota = -*quota;
    return OK;
}

CTL_HANDLER(ctl_credit) {
    int64_t quota = 0, usd = 0;
    bool has_quota = false, has_usd = false, take = false, sandbox = false;
    struct str source = STR("topup");
    struct credit credit = {.kind = ALLOW_USER, .reason = STR("")};
    const struct ctl_option options[] = {{"quota", CTL_INT, &quota, false, &has_quota},
                                         {"usd", CTL_DECIMAL, &usd, false, &has_usd},
                                         {"take", CTL_FLAG, &take, false, NULL},
                                         {"sandbox", CTL_FLAG, &sandbox, false, NULL},
                                         {"source", CTL_STR, &source, false, NULL},
                                         {"reason", CTL_STR, &credit.reason, true, NULL},
                                         {"reference", CTL_STR, &credit.reference, false, NULL}};
    enum err e = ctl_options(c, a, options, ARRAY_LEN(options), 1, 1);
    if (!e)
        e = credit_amount(c, has_quota, has_usd, take, usd, &quota);
    if (!e && !source_parse(source, &credit.source))
        e = fault_set(&c->fault, ERR_FIELD_VALUE, "--source topup, adjustment, refund or gift");
    if (!e)
        e = ctl_db(c);
    if (!e)
        e = account_find(c->db, str_c(a->v[0]), &credit.user_id, &c->fault);
    if (e)
        return e;
    credit.kind = sandbox ? ALLOW_SANDBOX : ALLOW_USER;
    credit.amount = quota;
    e = credit_give(c->db, &credit);
    if (e == ERR_DB_DUPLICATE)
        return fault_set(&c->fault, ERR_FIELD_VALUE, "this reference was credited before");
    struct allow_view v;
    if (!e)
        e = credit_view(c->db, credit.kind, credit.user_id, 0, &v);
    if (!e)
        ctl_done(c, "the account was credited", cell_i("user_id", credit.user_id),
                 cell_i("amount", quota), cell_i("balance", v.remaining));
    return e;
}

/* --- reconcile ------------------------------------------------------------------------------ */

struct reconciling {
    struct ctl *c;
    struct discrepancy *list;
    size_t n, cap;
};

static void on_discrepancy(void *ctx, const struct discrepancy *d) {
    struct reconciling *r = ctx;
    if (r->n == r->cap) {
        r->cap = r->cap ? r->cap * 2 : 16;
        r->list = base_realloc(r->list, r->cap * sizeof *r->list);
    }
    r->list[r->n++] = *d;
}

static struct str kind_name(int64_t kind) {
    switch (kind) {
    case ALLOW_USER:
        return STR("account");
    case ALLOW_SANDBOX:
        return STR("sandbox");
    case ALLOW_KEY:
        return STR("key");
    case ALLOW_OWNER_BUDGET:
        return STR("owner budget");
    default:
        return STR("budget");
    }
}

/* What was spent is repaired from the hourly sums: not while these disagree with their rows. */
static bool may_repair(const struct reconciling *r, const struct discrepancy *d) {
    for (size_t i = 0; i < r->n; i++)
        if (d->check == RECONCILE_SPENT && r->list[i].check == RECONCILE_ROWS)
            return false;
    return d->check == RECONCILE_BALANCE || d->check == RECONCILE_SPENT;
}

CTL_HANDLER(ctl_reconcile) {
    struct reconciling r = {.c = c};
    bool repair = false;
    const struct ctl_option options[] = {{"repair", CTL_FLAG, &repair, false, NULL}};
    enum err e = ctl_options(c, a, options, ARRAY_LEN(options), 0, 0);
    if (!e)
        e = ctl_db(c);
    if (e)
        return e;
    ctl_list(c);
    e = reconcile_run(c->db, on_discrepancy, &r);
    for (size_t i = 0; i < r.n && !e; i++) {
        const struct discrepancy *d = &r.list[i];
        bool can = repair && may_repair(&r, d);
        if (can)
            e = reconcile_repair(c->db, d);
        ctl_row(c, cell_s("rule", str_c(reconcile_rule(d->check))),
                cell_s("of", kind_name(d->id.kind)), cell_i("id", d->id.id),
                cell_i("period", d->id.period), cell_i("expected", d->expected),
                cell_i("found", d->found), cell_b("repaired", can && !e));
    }
    c->negative = r.n > 0;
    base_freep(&r.list);
    return e;
}

/* --- rerate --------------------------------------------------------------------------------- */

static void on_sum(void *ctx, const struct rerate_sum *s) {
    struct ctl *c = ctx;
    c->negative |= s->recomputed != s->charged;
    ctl_row(c, cell_i("user_id", s->user_id), cell_i("calls", s->calls),
            cell_i("charged", s->charged), cell_i("recomputed", s->recomputed),
            cell_i("today", s->today), cell_i("difference", s->today - s->charged));
}

CTL_HANDLER(ctl_rerate) {
    int64_t since = 0, until = clock_unix_s();
    bool dry_run = false;
    const struct ctl_option options[] = {{"since", CTL_INT, &since, true, NULL},
                                         {"until", CTL_INT, &until, false, NULL},
                                         {"dry-run", CTL_FLAG, &dry_run, false, NULL}};
    enum err e = ctl_options(c, a, options, ARRAY_LEN(options), 0, 0);
    if (!e && !dry_run)
        e = fault_set(&c->fault, ERR_FIELD_VALUE,
                      "usage is never rewritten: see with --dry-run, correct with credit");
    if (!e)
        e = ctl_db(c);
    if (e)
        return e;
    ctl_list(c);
    return rerate_run(c->db, since, until, on_sum, c);
}

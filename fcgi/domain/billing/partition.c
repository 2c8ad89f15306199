#include "domain/billing/partition.h"

#include "domain/billing/zone.h"
#include "door/queries.h"

#include "util/clock.h"
#include "util/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define AHEAD 2
#define OLD_MAX 600
#define TRIES 20
#define PAUSE_MS 10 /* longer than the transactions that write rows */

struct month {
    int64_t start, end;
    char name[16]; /* p2026_11 */
};

struct months {
    int64_t last_end;    /* of the newest named partition */
    int64_t drop_before; /* 0 = keep all */
    char old[OLD_MAX][16];
    size_t n_old;
};

static enum err see(void *ctx, const struct q_partition_list *r) {
    struct months *m = ctx;
    int64_t below;
    if (!str_i64(r->below, &below)) /* MAXVALUE */
        return OK;
    if (below > m->last_end)
        m->last_end = below;
    if (below <= m->drop_before && m->n_old < OLD_MAX &&
        str_copy(r->name, m->old[m->n_old], sizeof m->old[0]))
        m->n_old++;
    return OK;
}

static struct month month_of(const struct zone *utc, int64_t at) {
    struct month m;
    zone_window(utc, 'm', at, &m.start, &m.end);
    int year, month;
    zone_month(m.start, &year, &month);
    snprintf(m.name, sizeof m.name, "p%04d_%02d", year, month);
    return m;
}

/* A change of the table that waits for a reader makes everybody behind it wait as well, inserts
 * too. So it never waits: it finds a moment in which nobody uses the table, or is put off. */
static enum err change(struct db *db, struct str sql) {
    enum err e = ERR_DB_CONFLICT;
    for (int i = 0; i < TRIES && e == ERR_DB_CONFLICT; i++) {
        if (i)
            nanosleep(&(struct timespec){0, PAUSE_MS * 1000000}, NULL);
        e = db_script(db, sql, NULL);
    }
    return e;
}

static enum err make_ahead(struct db *db, const struct zone *utc, int64_t now_s, int64_t last_end,
                           int *changed) {
    struct buf sql AUTO(buf_free) = BUF(4096);
    int n = 0;
    buf_puts(&sql, "ALTER TABLE usage_rows NOWAIT REORGANIZE PARTITION pmax INTO (");
    struct month m = month_of(utc, now_s);
    for (int i = 0; i <= AHEAD; i++, m = month_of(utc, m.end)) {
        if (m.end <= last_end)
            continue;
        buf_printf(&sql, "PARTITION %s VALUES LESS THAN (%" PRId64 "), ", m.name, m.end);
        n++;
    }
    buf_puts(&sql, "PARTITION pmax VALUES LESS THAN MAXVALUE)");
    if (!n)
        return OK;
    *changed += n;
    return change(db, buf_view(&sql));
}

static enum err drop_old(struct db *db, const struct months *m, int *changed) {
    enum err e = OK;
    for (size_t i = 0; i < m->n_old && !e; i++) {
        char sql[96];
        int n =
            snprintf(sql, sizeof sql, "ALTER TABLE usage_rows NOWAIT DROP PARTITION %s", m->old[i]);
        must(n > 0 && (size_t)n < sizeof sql);
        int64_t begin = clock_mono_us();
        e = change(db, str_of(sql, (size_t)n));
        if (e)
            break;
        ++*changed;
        LOG(LOG_EV_MONTH_DROPPED, log_s("month", m->old[i]), log_i("us", clock_mono_us() - begin));
    }
    return e;
}

static int64_t months_ago(const struct zone *utc, int64_t now_s, int64_t n) {
    struct month m = month_of(utc, now_s);
    for (; n > 0; n--)
        m = month_of(utc, m.start - 1);
    return m.start;
}

enum err partition_keep(struct db *db, int64_t now_s, int64_t keep_months, int *changed) {
    const struct zone *utc = zone_get(STR("UTC"));
    int count = 0;
    struct months *m AUTO(base_freep) = base_zalloc(sizeof *m);
    if (keep_months > 0)
        m->drop_before = months_ago(utc, now_s, keep_months);
    enum err e = q_partition_list(db, see, m);
    if (!e)
        e = make_ahead(db, utc, now_s, m->last_end, &count);
    if (!e)
        e = drop_old(db, m, &count);
    if (changed)
        *changed = count;
    return e;
}

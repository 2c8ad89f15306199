#include "api/metrics.h"

#include "config.h"
#include "util/counter.h"

#include <stdio.h>
#include <stdlib.h>

#define PREFIX "tollgate_"

struct worker { /* a living worker's page */
    int worker;
    int64_t pid, started_s;
    int64_t *slots;
};

struct picture {
    int64_t *sums;
    struct worker *workers;
    size_t n;
};

static void picture_free(struct picture *p) {
    for (size_t i = 0; i < p->n; i++)
        free(p->workers[i].slots);
    free(p->workers);
    free(p->sums);
}

static void add_page(void *ctx, const struct counter_page *page) {
    struct picture *p = ctx;
    if (!p->sums)
        p->sums = base_zalloc(page->n_slots * sizeof *p->sums);
    for (size_t i = 0; i < page->n_slots; i++)
        p->sums[i] += page->slots[i];
    if (!page->live)
        return;
    p->workers = base_realloc(p->workers, (p->n + 1) * sizeof *p->workers);
    struct worker *w = &p->workers[p->n++];
    *w = (struct worker){page->worker, page->pid, page->started_s,
                         base_alloc(page->n_slots * sizeof *w->slots)};
    memcpy(w->slots, page->slots, page->n_slots * sizeof *w->slots);
}

static void put_head(struct buf *out, const char *name, const char *help, const char *type) {
    buf_printf(out, "# HELP " PREFIX "%s ", name);
    for (const char *c = help; *c; c++) {
        if (*c == '\\' || *c == '\n')
            buf_puts(out, *c == '\n' ? "\\n" : "\\\\");
        else
            buf_putc(out, *c);
    }
    buf_printf(out, "\n# TYPE " PREFIX "%s %s\n", name, type);
}

static void put_label(struct buf *out, char *sep, const char *label, const char *value) {
    if (!*label)
        return;
    buf_printf(out, "%c%s=\"", *sep, label);
    for (const char *c = value; *c; c++) {
        if (*c == '\\' || *c == '"' || *c == '\n')
            buf_putc(out, '\\');
        buf_putc(out, *c == '\n' ? 'n' : *c);
    }
    buf_putc(out, '"');
    *sep = ',';
}

/* One line a pair of label values; of one worker (a gauge) or of all. */
static void put_series(struct buf *out, const struct counter_row *row, const struct worker *w,
                       const int64_t *slots) {
    for (size_t a = 0; a < row->a->n; a++)
        for (size_t b = 0; b < row->b->n; b++) {
            char sep = '{', number[24];
            buf_printf(out, PREFIX "%s", row->name);
            put_label(out, &sep, row->a->label, row->a->values[a]);
            put_label(out, &sep, row->b->label, row->b->values[b]);
            if (w) {
                snprintf(number, sizeof number, "%d", w->worker);
                put_label(out, &sep, "worker", number);
                snprintf(number, sizeof number, "%lld", (long long)w->pid);
                put_label(out, &sep, "pid", number);
            }
            buf_puts(out, sep == ',' ? "} " : " ");
            buf_i64(out, slots[row->slot + a * row->b->n + b]);
            buf_putc(out, '\n');
        }
}

/* Microseconds as seconds, without needless zeros and without floating point. */
static void put_seconds(struct buf *out, int64_t us) {
    int64_t fraction = us % 1000000;
    buf_i64(out, us / 1000000);
    if (!fraction)
        return;
    int digits = 6;
    for (; fraction % 10 == 0; digits--)
        fraction /= 10;
    buf_printf(out, ".%0*lld", digits, (long long)fraction);
}

static void put_histogram(struct buf *out, const struct counter_row *row, const int64_t *sums) {
    int64_t count = 0;
    for (size_t i = 0; i <= COUNTER_BUCKETS; i++) {
        count += sums[row->slot + i];
        buf_printf(out, PREFIX "%s_bucket{le=\"", row->name);
        if (i < COUNTER_BUCKETS)
            put_seconds(out, counter_bounds_us[i]);
        else
            buf_puts(out, "+Inf");
        buf_printf(out, "\"} %lld\n", (long long)count);
    }
    buf_printf(out, PREFIX "%s_sum ", row->name);
    put_seconds(out, sums[row->slot + COUNTER_BUCKETS + 1]);
    buf_printf(out, "\n" PREFIX "%s_count %lld\n", row->name, (long long)count);
}

static void put_row(struct buf *out, const struct counter_row *row, const struct picture *p) {
    switch (row->kind) {
    case COUNTER_KIND_COUNTER:
        put_head(out, row->name, row->help, "counter");
        put_series(out, row, NULL, p->sums);
        break;
    case COUNTER_KIND_GAUGE:
        put_head(out, row->name, row->help, "gauge");
        for (size_t i = 0; i < p->n; i++)
            put_series(out, row, &p->workers[i], p->workers[i].slots);
        break;
    case COUNTER_KIND_HISTOGRAM:
        put_head(out, row->name, row->help, "histogram");
        put_histogram(out, row, p->sums);
        break;
    }
}

void metrics_text(struct buf *out) {
    struct picture p AUTO(picture_free) = {0};
    counter_each_page(add_page, &p);
    must(p.sums != NULL);
    put_head(out, "build_info", "Always 1; the version is a label.", "gauge");
    buf_puts(out, PREFIX "build_info{version=\"" PACKAGE_VERSION "\"} 1\n");
    put_head(out, "worker_start_time_seconds", "When each living worker started, in Unix time.",
             "gauge");
    for (size_t i = 0; i < p.n; i++)
        buf_printf(out, PREFIX "worker_start_time_seconds{worker=\"%d\",pid=\"%lld\"} %lld\n",
                   p.workers[i].worker, (long long)p.workers[i].pid,
                   (long long)p.workers[i].started_s);
    for (int c = 0; c < COUNTER__MAX; c++)
        put_row(out, counter_row((enum counter)c), &p);
}

#include "unit.h"

#include "api/metrics.h"
#include "util/counter.h"

#include <stdio.h>
#include <stdlib.h>

static bool is_name(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || s.p[i] == '_' ||
              (i && s.p[i] >= '0' && s.p[i] <= '9')))
            return false;
    return s.n > 0;
}

/* {a="b",c="d"} */
static bool are_labels(struct str s) {
    struct str pair, name;
    if (!s.n)
        return true;
    if (s.n < 2 || s.p[s.n - 1] != '}')
        return false;
    s = str_sub(s, 1, s.n - 2);
    while (str_cut(&s, ',', &pair))
        if (!str_cut(&pair, '=', &name) || !is_name(name) || pair.n < 2 || pair.p[0] != '"' ||
            pair.p[pair.n - 1] != '"')
            return false;
    return true;
}

static struct str family_of(struct str name) {
    static const char *const ends[] = {"_bucket", "_sum", "_count"};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        if (str_ends(name, str_c(ends[i])))
            return str_sub(name, 0, name.n - strlen(ends[i]));
    return name;
}

static void prometheus_can_read_every_line(void **state) {
    (void)state;
    struct buf b AUTO(buf_free) = BUF(1 << 20);
    metrics_text(&b);
    assert_false(b.failed);
    assert_true(str_ends(buf_view(&b), STR("\n")));
    struct str rest = str_sub(buf_view(&b), 0, b.n - 1), line, family = STR(""), word;
    size_t samples = 0;
    while (str_cut(&rest, '\n', &line)) {
        if (str_starts(line, STR("# HELP "))) {
            line = str_from(line, 7);
            assert_true(str_cut(&line, ' ', &family) && is_name(family) && line.n > 5);
            assert_true(str_starts(family, STR("tollgate_")));
            continue;
        }
        if (str_starts(line, STR("# TYPE "))) {
            line = str_from(line, 7);
            assert_true(str_cut(&line, ' ', &word) && str_eq(word, family));
            assert_int_equal(str_eqc(line, "counter"), str_ends(family, STR("_total")));
            continue;
        }
        ptrdiff_t at = str_find(line, '{'), end = str_find(line, ' ');
        assert_true(end > 0);
        struct str name = str_sub(line, 0, (size_t)(at > 0 ? at : end));
        if (!str_eq(name, family) && !str_eq(family_of(name), family))
            fail_msg("%.*s outside its family", STR_ARG(line));
        if (at > 0 && !are_labels(str_sub(line, (size_t)at, (size_t)(end - at))))
            fail_msg("labels of %.*s", STR_ARG(line));
        samples++;
    }
    assert_true(samples > 100);
}

static void a_count_shows_under_its_labels(void **state) {
    (void)state;
    counter_add_at(COUNTER_REQUESTS, COUNTER_ROUTE_CHAT, counter_status(429), 3);
    counter_add_at(COUNTER_TOKENS, COUNTER_TOKEN_COMPLETION, 0, 12345678901);
    counter_add(COUNTER_QUOTA, 7);
    counter_set(COUNTER_LEDGER_BACKLOG, 9);
    struct buf b AUTO(buf_free) = BUF(1 << 20);
    metrics_text(&b);
    static const char *const lines[] = {
        "\ntollgate_requests_total{route=\"chat\",status=\"4xx\"} 3\n",
        "\ntollgate_requests_total{route=\"api\",status=\"4xx\"} 0\n",
        "\ntollgate_tokens_total{kind=\"completion\"} 12345678901\n",
        "\ntollgate_quota_charged_total 7\n",
        "\ntollgate_ledger_backlog{worker=\"-1\",pid=\"",
        "\ntollgate_build_info{version=\"",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        if (str_find_str(buf_view(&b), str_c(lines[i])) < 0)
            fail_msg("missing %s", lines[i]);
}

static void a_histogram_cumulates_in_seconds(void **state) {
    (void)state;
    counter_observe(COUNTER_OVERHEAD, 40);
    counter_observe(COUNTER_OVERHEAD, 700);
    counter_observe(COUNTER_OVERHEAD, 90000000);
    struct buf b AUTO(buf_free) = BUF(1 << 20);
    metrics_text(&b);
    static const char *const lines[] = {
        "\ntollgate_overhead_seconds_bucket{le=\"0.00005\"} 1\n",
        "\ntollgate_overhead_seconds_bucket{le=\"0.0005\"} 1\n",
        "\ntollgate_overhead_seconds_bucket{le=\"0.001\"} 2\n",
        "\ntollgate_overhead_seconds_bucket{le=\"60\"} 2\n",
        "\ntollgate_overhead_seconds_bucket{le=\"+Inf\"} 3\n",
        "\ntollgate_overhead_seconds_sum 90.00074\n",
        "\ntollgate_overhead_seconds_count 3\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        if (str_find_str(buf_view(&b), str_c(lines[i])) < 0)
            fail_msg("missing %s", lines[i]);
}

static void the_guide_lists_every_metric(void **state) {
    (void)state;
    const char *srcdir = getenv("srcdir");
    char path[512];
    static char text[64 << 10];
    snprintf(path, sizeof path, "%s/docs/metrics.md", srcdir ? srcdir : ".");
    FILE *file = fopen(path, "re");
    if (!file)
        skip(); /* run by hand, elsewhere */
    struct str guide = str_of(text, fread(text, 1, sizeof text, file));
    fclose(file);
    for (int c = 0; c < COUNTER__MAX; c++) {
        const struct counter_row *row = counter_row((enum counter)c);
        char name[128];
        snprintf(name, sizeof name, "| `%s` | ", row->name);
        if (str_find_str(guide, str_c(name)) < 0 || str_find_str(guide, str_c(row->help)) < 0)
            fail_msg("%s", row->name);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prometheus_can_read_every_line),
        cmocka_unit_test(a_count_shows_under_its_labels),
        cmocka_unit_test(a_histogram_cumulates_in_seconds),
        cmocka_unit_test(the_guide_lists_every_metric),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "domain/billing/zone.h"
#include "unit.h"

#include <stdio.h>

#define HOUR INT64_C(3600)

static const struct zone *zone(const char *name) {
    const struct zone *z = zone_get(str_c(name));
    assert_non_null(z);
    return z;
}

static void check(const char *name, char window, int64_t at, int64_t start, int64_t end) {
    int64_t s, e;
    zone_window(zone(name), window, at, &s, &e);
    if (s != start || e != end)
        fail_msg("%s %c %ld: [%ld, %ld), wanted [%ld, %ld)", name, window, at, s, e, start, end);
}

/* 2026-11-21 12:00 UTC, a Saturday */
#define NOON INT64_C(1795262400)

static void a_day_begins_at_the_owners_midnight(void **state) {
    (void)state;
    check("UTC", 'd', NOON, NOON - 12 * HOUR, NOON + 12 * HOUR);
    check("Europe/Berlin", 'd', NOON, NOON - 13 * HOUR, NOON + 11 * HOUR);
    check("America/New_York", 'd', NOON, NOON - 7 * HOUR, NOON + 17 * HOUR);
    check("Asia/Kolkata", 'd', NOON, NOON - 12 * HOUR - 19800, NOON + 12 * HOUR - 19800);
    check("Pacific/Kiritimati", 'd', NOON, NOON - 2 * HOUR, NOON + 22 * HOUR);
    check("", 'd', NOON, NOON - 12 * HOUR, NOON + 12 * HOUR);
}

static void weeks_begin_on_monday_and_months_on_the_first(void **state) {
    (void)state;
    int64_t midnight = NOON - 12 * HOUR;
    check("UTC", 'w', NOON, midnight - 5 * 24 * HOUR, midnight + 2 * 24 * HOUR);
    check("UTC", 'm', NOON, midnight - 20 * 24 * HOUR, midnight + 10 * 24 * HOUR);
    check("UTC", 'w', midnight + 2 * 24 * HOUR, midnight + 2 * 24 * HOUR, midnight + 9 * 24 * HOUR);
    check("UTC", 'm', 951782400, 949363200, 951868800); /* February 2000 had 29 days */
}

static void days_with_a_clock_change_have_23_or_25_hours(void **state) {
    (void)state;
    int64_t s, e;
    zone_window(zone("Europe/Berlin"), 'd', 1774742400, &s, &e); /* 2026-03-29 */
    assert_int_equal(e - s, 23 * HOUR);
    zone_window(zone("Europe/Berlin"), 'd', 1792886400, &s, &e); /* 2026-10-25 */
    assert_int_equal(e - s, 25 * HOUR);
    zone_window(zone("America/New_York"), 'd', 1772971200, &s, &e); /* 2026-03-08 */
    assert_int_equal(e - s, 23 * HOUR);
    zone_window(zone("Australia/Lord_Howe"), 'd', 1775350800, &s,
                &e); /* 2026-04-05: half an hour */
    assert_int_equal(e - s, 24 * HOUR + HOUR / 2);
}

static void a_midnight_that_does_not_exist_begins_at_the_gaps_end(void **state) {
    (void)state;
    /* Beirut changes at midnight: 2026-03-29 begins at 01:00 local time */
    int64_t s, e;
    zone_window(zone("Asia/Beirut"), 'd', 1774774800, &s, &e);
    assert_int_equal(s, 1774735200);
    assert_int_equal(e - s, 23 * HOUR);
}

static void years_beyond_the_table_follow_the_rule(void **state) {
    (void)state;
    /* 2100-07-01 and 2100-12-01, noon UTC */
    assert_int_equal(zone_offset(zone("Europe/Berlin"), INT64_C(4118040000)), 2 * HOUR);
    assert_int_equal(zone_offset(zone("Europe/Berlin"), INT64_C(4131259200)), HOUR);
    assert_int_equal(zone_offset(zone("America/New_York"), INT64_C(4118040000)), -4 * HOUR);
    assert_int_equal(zone_offset(zone("Australia/Sydney"), INT64_C(4131259200)), 11 * HOUR);
    assert_int_equal(zone_offset(zone("Asia/Tokyo"), INT64_C(4131259200)), 9 * HOUR);
}

/* Each moment lies in exactly one window, whichever moment of it was asked for. */
static void windows_join_without_gap_or_overlap(void **state) {
    (void)state;
    static const char *const names[] = {
        "Europe/Berlin",     "America/Sao_Paulo", "Asia/Beirut",    "Australia/Lord_Howe",
        "Africa/Casablanca", "America/St_Johns",  "Pacific/Chatham"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        for (const char *w = "dwm"; *w; w++) {
            int64_t at = 1767225600, s, e;
            zone_window(zone(names[i]), *w, at, &s, &e);
            while (e < 1830297600) {
                int64_t s2, e2, s3, e3;
                zone_window(zone(names[i]), *w, e, &s2, &e2);
                zone_window(zone(names[i]), *w, e2 - 1, &s3, &e3);
                if (s2 != e || e2 <= s2 || s3 != s2 || e3 != e2)
                    fail_msg("%s %c at %ld", names[i], *w, e);
                e = e2;
            }
        }
}

static void names_that_are_no_zone_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"Mars/Olympus", "../../etc/passwd", "/etc/localtime",
                                      "Europe",       "zone.tab",         "Europe/../UTC"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_null(zone_get(str_c(bad[i])));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_day_begins_at_the_owners_midnight),
        cmocka_unit_test(weeks_begin_on_monday_and_months_on_the_first),
        cmocka_unit_test(days_with_a_clock_change_have_23_or_25_hours),
        cmocka_unit_test(a_midnight_that_does_not_exist_begins_at_the_gaps_end),
        cmocka_unit_test(years_beyond_the_table_follow_the_rule),
        cmocka_unit_test(windows_join_without_gap_or_overlap),
        cmocka_unit_test(names_that_are_no_zone_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

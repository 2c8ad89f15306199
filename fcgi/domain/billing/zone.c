#include "domain/billing/zone.h"

#include "util/list.h"
#include "util/lock.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NAME_MAX_LEN 64
#define FILE_MAX (64 * 1024)
#define TRANSITIONS_MAX 4000
#define DAY INT64_C(86400)

/* One end of daylight saving, as a POSIX TZ rule. */
struct change {
    char kind; /* 'M' month.week.day, 'J' day 1..365 without 29 February, 'N' day 0..365 */
    int month, week, day;
    int64_t time_s;
};

struct rule { /* what holds after the last transition */
    bool given, has_dst;
    int64_t std, dst; /* seconds east */
    struct change begin, end;
};

struct zone {
    struct list node;
    char name[NAME_MAX_LEN];
    size_t n;
    int64_t *at;
    int32_t *offset; /* from at[i] on */
    int32_t first;   /* before at[0] */
    struct rule rule;
};

/* Howard Hinnant's civil calendar algorithms (public domain). */
static int64_t days_of(int64_t y, int m, int d) {
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400, yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void civil_of(int64_t days, int64_t *year, int *month) {
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097, doe = days - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    *month = (int)(mp < 10 ? mp + 3 : mp - 9);
    *year = yoe + era * 400 + (*month <= 2);
}

static int64_t floor_div(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}

static int64_t change_day(const struct change *c, int64_t year) {
    int64_t jan1 = days_of(year, 1, 1);
    if (c->kind == 'N')
        return jan1 + c->day;
    if (c->kind == 'J') {
        bool leap = days_of(year, 3, 1) - days_of(year, 2, 28) == 2;
        return jan1 + c->day - 1 + (leap && c->day >= 60);
    }
    int64_t first = days_of(year, c->month, 1);
    int64_t next = c->month == 12 ? days_of(year + 1, 1, 1) : days_of(year, c->month + 1, 1);
    int64_t weekday = ((first + 4) % 7 + 7) % 7; /* 1970-01-01 was a Thursday, Sunday is 0 */
    int64_t day = first + (c->day - weekday + 7) % 7 + (c->week - 1) * 7;
    return day >= next ? day - 7 : day;
}

static int64_t rule_offset(const struct rule *r, int64_t at) {
    if (!r->has_dst)
        return r->std;
    int64_t year;
    int month;
    civil_of(floor_div(at + r->std, DAY), &year, &month);
    int64_t begin = change_day(&r->begin, year) * DAY + r->begin.time_s - r->std;
    int64_t end = change_day(&r->end, year) * DAY + r->end.time_s - r->dst;
    bool dst = begin < end ? at >= begin && at < end : at >= begin || at < end;
    return dst ? r->dst : r->std;
}

int64_t zone_offset(const struct zone *z, int64_t at) {
    if (!z->n || at < z->at[0])
        return z->n || !z->rule.given ? z->first : rule_offset(&z->rule, at);
    if (at >= z->at[z->n - 1] && z->rule.given)
        return rule_offset(&z->rule, at);
    size_t lo = 0, hi = z->n; /* at[lo] <= at < at[hi] */
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (z->at[mid] <= at) {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    return z->offset[lo];
}

static int64_t local_day(const struct zone *z, int64_t at) {
    return floor_div(at + zone_offset(z, at), DAY);
}

/* The first second of a local day. Searched, because midnight may not exist, and over a range that
 * depends on the day alone, because the answer names a budget's period. */
static int64_t day_start(const struct zone *z, int64_t day) {
    int64_t lo = day * DAY - 16 * 3600, hi = day * DAY + 16 * 3600;
    while (hi - lo > 1) {
        int64_t mid = lo + (hi - lo) / 2;
        if (local_day(z, mid) >= day) {
            hi = mid;
        } else {
            lo = mid;
        }
    }
    return hi;
}

void zone_window(const struct zone *z, char window, int64_t at, int64_t *start, int64_t *end) {
    int64_t day = local_day(z, at), next = day + 1;
    if (window == 'w') {
        day -= ((day + 3) % 7 + 7) % 7;
        next = day + 7;
    } else if (window == 'm') {
        int64_t year;
        int month;
        civil_of(day, &year, &month);
        day = days_of(year, month, 1);
        next = month == 12 ? days_of(year + 1, 1, 1) : days_of(year, month + 1, 1);
    }
    *start = day_start(z, day);
    *end = day_start(z, next);
}

void zone_month(int64_t at, int *year, int *month) {
    int64_t y;
    civil_of(floor_div(at, DAY), &y, month);
    *year = (int)y;
}

static bool take_char(struct str *s, char c) {
    if (!s->n || s->p[0] != c)
        return false;
    *s = str_from(*s, 1);
    return true;
}

static bool take_int(struct str *s, int max, int *out) {
    size_t i = 0;
    int v = 0;
    for (; i < s->n && i < 4 && s->p[i] >= '0' && s->p[i] <= '9'; i++)
        v = v * 10 + (s->p[i] - '0');
    *s = str_from(*s, i);
    *out = v;
    return i && v <= max;
}

static bool take_name(struct str *s) {
    size_t i = 0;
    bool quoted = take_char(s, '<');
    while (i < s->n && (quoted ? s->p[i] != '>' : (s->p[i] | 32) >= 'a' && (s->p[i] | 32) <= 'z'))
        i++;
    *s = str_from(*s, i);
    return i && (!quoted || take_char(s, '>'));
}

/* [+-]h[h[h]][:mm[:ss]] */
static bool take_time(struct str *s, int64_t *out) {
    int h, m = 0, sec = 0;
    bool minus = take_char(s, '-');
    if (!minus)
        (void)take_char(s, '+');
    if (!take_int(s, 167, &h))
        return false;
    if (take_char(s, ':') && !take_int(s, 59, &m))
        return false;
    if (take_char(s, ':') && !take_int(s, 59, &sec))
        return false;
    int64_t v = h * 3600 + m * 60 + sec;
    *out = minus ? -v : v;
    return true;
}

static bool take_change(struct str *s, struct change *c) {
    if (!take_char(s, ','))
        return false;
    c->kind = 'N';
    bool ok;
    if (take_char(s, 'M')) {
        c->kind = 'M';
        ok = take_int(s, 12, &c->month) && c->month && take_char(s, '.') &&
             take_int(s, 5, &c->week) && c->week && take_char(s, '.') && take_int(s, 6, &c->day);
    } else {
        if (take_char(s, 'J'))
            c->kind = 'J';
        ok = take_int(s, 365, &c->day);
    }
    c->time_s = 2 * 3600;
    return ok && (!take_char(s, '/') || take_time(s, &c->time_s));
}

static bool parse_rule(struct str s, struct rule *r) {
    if (!take_name(&s) || !take_time(&s, &r->std))
        return false;
    r->std = -r->std; /* POSIX counts west */
    if (!s.n)
        return r->given = true;
    if (!take_name(&s))
        return false;
    r->dst = r->std + 3600;
    if (s.n && s.p[0] != ',') {
        if (!take_time(&s, &r->dst))
            return false;
        r->dst = -r->dst;
    }
    r->has_dst = r->given = take_change(&s, &r->begin) && take_change(&s, &r->end) && !s.n;
    return r->given;
}

static int64_t big_endian(const char *p, size_t n) {
    uint64_t v = (signed char)p[0] < 0 ? UINT64_MAX : 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | (unsigned char)p[i];
    return (int64_t)v;
}

struct counts {
    size_t isut, isstd, leap, time, type, chars;
};

static bool read_counts(struct str file, struct counts *c) {
    if (file.n < 44 || !str_starts(file, STR("TZif")))
        return false;
    size_t *to[] = {&c->isut, &c->isstd, &c->leap, &c->time, &c->type, &c->chars};
    for (size_t i = 0; i < ARRAY_LEN(to); i++) {
        int64_t v = big_endian(file.p + 20 + 4 * i, 4);
        if (v < 0 || v > TRANSITIONS_MAX)
            return false;
        *to[i] = (size_t)v;
    }
    return c->type > 0;
}

static size_t block_size(const struct counts *c, size_t time_size) {
    return c->time * (time_size + 1) + c->type * 6 + c->chars + c->leap * (time_size + 4) +
           c->isstd + c->isut;
}

static bool read_block(struct zone *z, struct str block, const struct counts *c) {
    const char *index = block.p + c->time * 8, *types = index + c->time;
    z->first = (int32_t)big_endian(types, 4);
    z->n = c->time;
    z->at = base_alloc((c->time + 1) * sizeof *z->at);
    z->offset = base_alloc((c->time + 1) * sizeof *z->offset);
    for (size_t i = 0; i < c->time; i++) {
        size_t type = (unsigned char)index[i];
        if (type >= c->type)
            return false;
        z->at[i] = big_endian(block.p + 8 * i, 8);
        z->offset[i] = (int32_t)big_endian(types + 6 * type, 4);
    }
    return true;
}

/* Only the 64-bit part and its footer count (RFC 8536); files of version 1 alone are long gone. */
static bool parse_file(struct zone *z, struct str file) {
    struct counts c;
    if (!read_counts(file, &c) || file.p[4] < '2')
        return false;
    file = str_from(file, 44 + block_size(&c, 4));
    if (!read_counts(file, &c) || file.n < 44 + block_size(&c, 8))
        return false;
    if (!read_block(z, str_from(file, 44), &c))
        return false;
    struct str footer = str_trim(str_from(file, 44 + block_size(&c, 8)));
    return !footer.n || parse_rule(footer, &z->rule);
}

static bool name_ok(struct str name) {
    if (!name.n || name.n >= NAME_MAX_LEN || name.p[0] == '/' || name.p[0] == '.')
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i], low = (char)(c | 32);
        bool ok = (low >= 'a' && low <= 'z') || (c >= '0' && c <= '9') || c == '/' || c == '_' ||
                  c == '-' || c == '+';
        if (!ok)
            return false;
    }
    return true;
}

static void free_zone(struct zone **zp) {
    if (!*zp)
        return;
    free((*zp)->at);
    free((*zp)->offset);
    free(*zp);
    *zp = NULL;
}

static struct zone *load(struct str name) {
    const char *dir = getenv("TZDIR");
    char path[512];
    int n =
        snprintf(path, sizeof path, "%s/%.*s", dir ? dir : "/usr/share/zoneinfo", STR_ARG(name));
    if (n < 0 || (size_t)n >= sizeof path)
        return NULL;
    int fd AUTO(base_closep) = open(path, O_RDONLY | O_CLOEXEC);
    char *bytes AUTO(base_freep) = base_alloc(FILE_MAX);
    ssize_t got = fd < 0 ? -1 : read(fd, bytes, FILE_MAX);
    if (got <= 0)
        return NULL;
    struct zone *z AUTO(free_zone) = base_zalloc(sizeof *z);
    must(str_copy(name, z->name, sizeof z->name));
    if (!parse_file(z, str_of(bytes, (size_t)got)))
        return NULL;
    struct zone *loaded = z;
    z = NULL;
    return loaded;
}

/* Known without any file: what everything falls back to. */
static const struct zone utc = {.name = "UTC"};

const struct zone *zone_get(struct str name) {
    static struct lock lock = LOCK_INIT;
    static struct list zones = {&zones, &zones};
    if (!name.n || str_eqc(name, utc.name))
        return &utc;
    if (!name_ok(name))
        return NULL;
    LOCKED(&lock);
    LIST_EACH (n, &zones) {
        const struct zone *z = CONTAINER_OF(n, struct zone, node);
        if (str_eqc(name, z->name))
            return z;
    }
    struct zone *z = load(name);
    if (z)
        list_push(&zones, &z->node);
    return z;
}

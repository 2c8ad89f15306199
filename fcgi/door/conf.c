#include "door/conf.h"

#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX ((size_t)256 * 1024)
#define LINE_MAX_BYTES 1024

enum type { TYPE_STR, TYPE_LEVEL, TYPE_INT, TYPE_MS, TYPE_SIZE, TYPE_BOOL };

struct key {
    struct str name;
    enum type type;
    size_t at, size; /* the member in struct conf */
    const char *def;
    int64_t min, max;
    unsigned flags;
    const char *text;
};

static const struct key keys[] = {
#define CONF(key, member, type, def, min, max, flags, text) \
    {STR_INIT(key),                                         \
     TYPE_##type,                                           \
     offsetof(struct conf, member),                         \
     sizeof(((struct conf *)0)->member),                    \
     def,                                                   \
     min,                                                   \
     max,                                                   \
     flags,                                                 \
     text},
#include "door/conf.def"
#undef CONF
};

struct unit {
    const char *name;
    int64_t factor;
};
/* Largest first: the dump takes the first that divides. */
static const struct unit durations[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
static const struct unit sizes[] = {{"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}, {"", 1}};

static const char *const booleans[][2] = {{"off", "on"}, {"false", "true"}, {"no", "yes"}};

struct units {
    const struct unit *list;
    size_t n;
};

static struct units units_of(enum type t) {
    if (t == TYPE_MS)
        return (struct units){durations, ARRAY_LEN(durations)};
    if (t == TYPE_SIZE)
        return (struct units){sizes, ARRAY_LEN(sizes)};
    static const struct unit plain = {"", 1};
    return (struct units){&plain, 1};
}

static void *member(struct conf *c, const struct key *k) {
    return (char *)c + k->at;
}

static const void *member_const(const struct conf *c, const struct key *k) {
    return (const char *)c + k->at;
}

static bool is_text(const struct key *k) {
    return k->type == TYPE_STR || k->type == TYPE_LEVEL;
}

static const struct key *find(struct str name) {
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (str_eq(keys[i].name, name))
            return &keys[i];
    return NULL;
}

/* A number as the file and the manual write it: the largest unit that divides it. */
static void put_number(struct buf *out, enum type t, int64_t v) {
    struct units u = units_of(t);
    size_t i = 0;
    while (i < u.n - 1 && (v == 0 || v % u.list[i].factor != 0))
        i++;
    buf_i64(out, v / u.list[i].factor);
    if (v)
        buf_puts(out, u.list[i].name);
}

static bool parse_number(enum type t, struct str text, int64_t *out) {
    size_t digits = 0;
    while (digits < text.n &&
           ((text.p[digits] >= '0' && text.p[digits] <= '9') || (digits == 0 && text.p[0] == '-')))
        digits++;
    struct str suffix = str_from(text, digits);
    int64_t v;
    if (!str_i64(str_sub(text, 0, digits), &v))
        return false;
    struct units u = units_of(t);
    for (size_t i = 0; i < u.n; i++)
        if (str_eqc(suffix, u.list[i].name))
            return !__builtin_mul_overflow(v, u.list[i].factor, out);
    *out = 0;
    return v == 0 && suffix.n == 0; /* 0 needs no unit */
}

static bool parse_bool(struct str text, bool *out) {
    for (size_t i = 0; i < ARRAY_LEN(booleans); i++)
        for (size_t v = 0; v < 2; v++)
            if (str_eqc(text, booleans[i][v])) {
                *out = v != 0;
                return true;
            }
    return false;
}

static void describe_range(struct buf *out, const struct key *k) {
    put_number(out, k->type, k->min);
    buf_puts(out, " to ");
    put_number(out, k->type, k->max);
}

static bool set_number(struct conf *c, const struct key *k, struct str text, struct buf *why) {
    static const char *const wanted[] = {[TYPE_INT] = "a whole number",
                                         [TYPE_MS] = "a number with the unit ms, s, m or h",
                                         [TYPE_SIZE] =
                                             "a number of bytes, or with the unit K, M or G"};
    int64_t v;
    if (!parse_number(k->type, text, &v)) {
        buf_printf(why, "%s must be %s", k->name.p, wanted[k->type]);
        return false;
    }
    if (v < k->min || v > k->max) {
        buf_printf(why, "%s must be ", k->name.p);
        describe_range(why, k);
        return false;
    }
    memcpy(member(c, k), &v, sizeof v);
    return true;
}

static bool set_text(struct conf *c, const struct key *k, struct str text, struct buf *why) {
    enum log_level level;
    if (k->type == TYPE_LEVEL && !log_level_parse(text, &level)) {
        buf_printf(why, "%s must be debug, info, warn or error", k->name.p);
        return false;
    }
    if (!str_copy(text, member(c, k), k->size)) {
        buf_printf(why, "%s is longer than %zu bytes", k->name.p, k->size - 1);
        return false;
    }
    return true;
}

/* False with the reason in `why`, which never repeats the value: it may be a secret. */
static bool set(struct conf *c, const struct key *k, struct str text, struct buf *why) {
    if (is_text(k))
        return set_text(c, k, text, why);
    if (k->type != TYPE_BOOL)
        return set_number(c, k, text, why);
    if (parse_bool(text, member(c, k)))
        return true;
    buf_printf(why, "%s must be on or off", k->name.p);
    return false;
}

void conf_defaults(struct conf *c) {
    memset(c, 0, sizeof *c);
    struct buf why AUTO(buf_free) = BUF(256);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        must(set(c, &keys[i], str_c(keys[i].def), &why));
}

struct reader {
    struct conf *c;
    unsigned line;
    unsigned seen[ARRAY_LEN(keys)]; /* line of each key, 0 = not given */
    struct buf why;
};

static struct str without_comment(struct str line) {
    for (size_t i = 0; i < line.n; i++)
        if (line.p[i] == '#' && (i == 0 || line.p[i - 1] == ' ' || line.p[i - 1] == '\t'))
            return str_sub(line, 0, i);
    return line;
}

static bool clean(struct str line) {
    for (size_t i = 0; i < line.n; i++)
        if (((unsigned char)line.p[i] < 0x20 && line.p[i] != '\t') || line.p[i] == 0x7f)
            return false;
    return str_utf8_ok(line);
}

static bool refuse(struct reader *r, const char *why) {
    buf_puts(&r->why, why);
    return false;
}

static bool read_line(struct reader *r, struct str line) {
    if (line.n > LINE_MAX_BYTES)
        return refuse(r, "the line is longer than 1024 bytes");
    line = str_trim(without_comment(line));
    if (!clean(line))
        return refuse(r, "control characters or ill-formed UTF-8");
    if (!line.n)
        return true;
    ptrdiff_t eq = str_find(line, '=');
    if (eq < 0)
        return refuse(r, "expected 'key = value'");
    struct str name = str_trim(str_sub(line, 0, (size_t)eq));
    const struct key *k = find(name);
    if (!k) {
        name = str_sub(name, 0, 60);
        buf_printf(&r->why, "unknown key '%.*s'", STR_ARG(name));
        return false;
    }
    unsigned *seen = &r->seen[k - keys];
    if (*seen) {
        buf_printf(&r->why, "%s was given in line %u already", k->name.p, *seen);
        return false;
    }
    *seen = r->line;
    return set(r->c, k, str_trim(str_from(line, (size_t)eq + 1)), &r->why);
}

static bool read_text(struct reader *r, struct str text) {
    struct str line;
    while (str_cut(&text, '\n', &line)) {
        r->line++;
        if (!read_line(r, line))
            return false;
    }
    return true;
}

static bool secrets_guarded(struct reader *r, mode_t mode) {
    if (!(mode & S_IROTH))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (r->seen[i] && keys[i].flags & CONF_SECRET &&
            ((const char *)member_const(r->c, &keys[i]))[0]) {
            r->line = r->seen[i];
            buf_printf(&r->why, "%s is secret but everybody may read this file (chmod o-r)",
                       keys[i].name.p);
            return false;
        }
    return true;
}

/* A long path keeps its end, so that the reason fits the fault. */
static const char *path_end(const char *path) {
    size_t n = strlen(path);
    return n > 120 ? path + n - 120 : path;
}

static enum err unreadable(const char *path, int why, struct fault *f) {
    char text[80];
    return fault_set(f, ERR_CONFIG, "%s: %s", path_end(path), strerror_r(why, text, sizeof text));
}

static bool slurp(int fd, struct buf *out) {
    for (;;) {
        char *room = buf_room(out, 4096);
        if (!room) {
            errno = EFBIG;
            return false;
        }
        ssize_t n = read(fd, room, 4096);
        if (n <= 0)
            return n == 0;
        out->n += (size_t)n;
    }
}

enum err conf_load(const char *path, struct conf *c, struct fault *f) {
    conf_defaults(c);
    int fd AUTO(base_closep) = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        return unreadable(path, errno, f);
    struct buf text AUTO(buf_free) = BUF(FILE_MAX);
    if (!slurp(fd, &text))
        return unreadable(path, errno, f);
    struct reader r = {.c = c, .why = BUF(200)};
    enum err e = OK;
    if (!read_text(&r, buf_view(&text)) || !secrets_guarded(&r, st.st_mode))
        e = fault_set(f, ERR_CONFIG, "%s:%u: %s", path_end(path), r.line, r.why.p);
    buf_free(&r.why);
    return e;
}

static bool same(const struct conf *a, const struct conf *b, const struct key *k) {
    const void *x = member_const(a, k), *y = member_const(b, k);
    return is_text(k) ? strcmp(x, y) == 0 : memcmp(x, y, k->size) == 0;
}

enum err conf_reload(const char *path, const struct conf *old, struct conf *c, struct buf *kept,
                     struct fault *f) {
    enum err e = conf_load(path, c, f);
    if (e)
        return e;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const struct key *k = &keys[i];
        if (k->flags & CONF_RELOAD || same(old, c, k))
            continue;
        memcpy(member(c, k), member_const(old, k), k->size);
        if (kept->n)
            buf_puts(kept, ", ");
        buf_str(kept, k->name);
    }
    return OK;
}

static void put_value(struct buf *out, const struct conf *c, const struct key *k) {
    const void *m = member_const(c, k);
    if (is_text(k)) {
        const char *text = m;
        buf_puts(out, k->flags & CONF_SECRET && text[0] ? "****" : text);
    } else if (k->type == TYPE_BOOL) {
        buf_puts(out, booleans[0][*(const bool *)m]);
    } else {
        int64_t v;
        memcpy(&v, m, sizeof v);
        put_number(out, k->type, v);
    }
}

void conf_dump(const struct conf *c, struct buf *out) {
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        buf_printf(out, "%s# %s\n%s =", i ? "\n" : "", keys[i].text, keys[i].name.p);
        struct buf value AUTO(buf_free) = BUF(CONF_STR_MAX);
        put_value(&value, c, &keys[i]);
        if (value.n && value.p[0] != '#') /* behind a blank it would be a comment */
            buf_putc(out, ' ');
        buf_str(out, buf_view(&value));
        buf_putc(out, '\n');
    }
}

/* roff: a backslash is an escape, a hyphen may become a dash, and a control line starts with a dot
 * or an apostrophe. */
static void put_roff(struct buf *out, const char *s) {
    if (*s == '.' || *s == '\'')
        buf_puts(out, "\\&");
    for (; *s; s++) {
        if (*s == '\\')
            buf_puts(out, "\\e");
        else if (*s == '-')
            buf_puts(out, "\\-");
        else
            buf_putc(out, *s);
    }
}

static void man_key(struct buf *out, const struct key *k) {
    static const char *const type_names[] = {
        [TYPE_STR] = "text",    [TYPE_LEVEL] = "text", [TYPE_INT] = "number",
        [TYPE_MS] = "duration", [TYPE_SIZE] = "size",  [TYPE_BOOL] = "on or off"};
    buf_puts(out, ".TP\n.B ");
    put_roff(out, k->name.p);
    buf_putc(out, '\n');
    put_roff(out, k->text);
    buf_puts(out, "\n.br\n");
    struct buf line AUTO(buf_free) = BUF(256);
    buf_puts(&line, type_names[k->type]);
    if (!is_text(k) && k->type != TYPE_BOOL) {
        buf_puts(&line, " from ");
        describe_range(&line, k);
    }
    buf_printf(&line, "; default %s", k->def[0] ? k->def : "empty");
    if (k->flags & CONF_RELOAD)
        buf_puts(&line, "; reloadable");
    if (k->flags & CONF_SECRET)
        buf_puts(&line, "; secret");
    buf_puts(&line, ".");
    put_roff(out, line.p);
    buf_putc(out, '\n');
}

void conf_man(struct buf *out) {
    buf_puts(out, ".\\\" made from fcgi/door/conf.def by \"tollgatectl config man\"; do not edit\n"
                  ".TH TOLLGATE.CONF 5 \"\" Tollgate \"File formats\"\n"
                  ".SH NAME\n"
                  "tollgate.conf \\- configuration of the Tollgate worker and of tollgatectl\n"
                  ".SH DESCRIPTION\n"
                  "A line holds\n"
                  ".IR key \" = \" value .\n"
                  "A # at the start of a line or after a blank starts a comment. Blanks around the "
                  "key and the value are dropped;\n"
                  "nothing is quoted. An unknown key, a key given twice or a value out of range is "
                  "refused with its line number.\n"
                  ".PP\n"
                  "A duration takes the unit ms, s, m or h; a size is in bytes or takes K, M or G "
                  "(powers of 1024).\n"
                  "Keys marked reloadable follow the file on SIGHUP; the others need a restart.\n"
                  "A file that sets a secret must not be readable by everybody.\n"
                  ".SH KEYS\n");
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        man_key(out, &keys[i]);
    buf_puts(out, ".SH SEE ALSO\n.BR tollgatectl (1)\n");
}

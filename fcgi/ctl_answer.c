#include "ctl.h"

#include <stdio.h>
#include <stdlib.h>

#define COLUMNS_MAX 32

static void put_json(struct buf *out, const struct ctl_cell *cells, size_t n) {
    buf_putc(out, '{');
    for (size_t i = 0; i < n; i++) {
        const struct ctl_cell *k = &cells[i];
        if (i)
            buf_putc(out, ',');
        buf_json(out, str_c(k->name));
        buf_putc(out, ':');
        if (k->type == CELL_STR)
            buf_json(out, k->s);
        else if (k->type == CELL_INT)
            buf_i64(out, k->i);
        else if (k->type == CELL_BOOL)
            buf_puts(out, k->i ? "true" : "false");
        else
            buf_str(out, k->s.n ? k->s : STR("null"));
    }
    buf_putc(out, '}');
}

/* Control characters of a name would break the table or reach the terminal. */
static void put_plain(struct buf *out, struct str s) {
    for (size_t i = 0; i < s.n; i++)
        buf_putc(out, (unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f ? '?' : s.p[i]);
}

static void put_line(struct buf *out, const struct ctl_cell *cells, size_t n, bool names) {
    for (size_t i = 0; i < n; i++) {
        const struct ctl_cell *k = &cells[i];
        if (i)
            buf_putc(out, '\t');
        if (names)
            buf_puts(out, k->name);
        else if (k->type == CELL_INT)
            buf_i64(out, k->i);
        else if (k->type == CELL_BOOL)
            buf_puts(out, k->i ? "yes" : "no");
        else
            put_plain(out, k->s);
    }
    buf_putc(out, '\n');
}

void ctl_text(struct ctl *c, struct str text) {
    c->answer = CTL_TEXT;
    buf_str(&c->out, text);
}

void ctl_said(struct ctl *c, const char *said, const struct ctl_cell *cells, size_t n) {
    c->answer = CTL_DONE;
    if (c->json) {
        put_json(&c->out, cells, n);
        return;
    }
    put_plain(&c->out, str_c(said));
    buf_putc(&c->out, '\n');
}

void ctl_list(struct ctl *c) {
    c->answer = CTL_ROWS;
}

void ctl_cells(struct ctl *c, const struct ctl_cell *cells, size_t n) {
    must(n <= COLUMNS_MAX);
    ctl_list(c);
    if (!c->json && !c->out.n)
        put_line(&c->out, cells, n, true);
    if (!c->json)
        put_line(&c->out, cells, n, false);
    else {
        if (c->out.n)
            buf_putc(&c->out, ',');
        put_json(&c->out, cells, n);
    }
}

static void print_table(struct str lines) {
    size_t width[COLUMNS_MAX] = {0};
    struct str rest = lines, line, part;
    while (str_cut(&rest, '\n', &line))
        for (size_t i = 0; i < COLUMNS_MAX && str_cut(&line, '\t', &part); i++)
            if (str_utf8_count(part) > width[i])
                width[i] = str_utf8_count(part);
    rest = lines;
    while (str_cut(&rest, '\n', &line)) {
        if (!rest.p && !line.n)
            break;
        for (size_t i = 0; i < COLUMNS_MAX && str_cut(&line, '\t', &part); i++) {
            printf("%.*s", STR_ARG(part));
            if (line.p)
                printf("%*s", (int)(width[i] + 2 - str_utf8_count(part)), "");
        }
        putchar('\n');
    }
}

static void print_answer(const struct ctl *c) {
    struct str out = buf_view(&c->out);
    if (c->json && c->answer == CTL_TEXT) {
        struct buf text AUTO(buf_free) = BUF((size_t)512 << 20);
        buf_json(&text, out);
        printf("{\"success\":true,\"data\":%s}\n", text.p);
    } else if (c->json && c->answer == CTL_ROWS) {
        printf("{\"success\":%s,\"data\":[%.*s]}\n", c->negative ? "false" : "true", STR_ARG(out));
    } else if (c->json) {
        printf("{\"success\":%s,\"data\":%.*s}\n", c->negative ? "false" : "true",
               STR_ARG(out.n ? out : STR("null")));
    } else if (c->answer == CTL_ROWS) {
        print_table(out);
    } else {
        fwrite(out.p, 1, out.n, stdout);
    }
}

static enum ctl_exit exit_of(enum err e) {
    switch ((int)e) { /* the table of errors is open-ended */
    case OK:
        return CTL_OK;
    case ERR_FIELD_TYPE:
    case ERR_FIELD_VALUE:
    case ERR_FIELD_UNKNOWN:
    case ERR_FIELD_MISSING:
        return CTL_USAGE;
    case ERR_CONFIG:
    case ERR_SCHEMA_OLD:
    case ERR_SCHEMA_NEW:
        return CTL_CONFIG;
    case ERR_DB_AWAY:
        return CTL_AWAY;
    default:
        return CTL_FAILED;
    }
}

static void print_fault(struct ctl *c, enum err e) {
    struct buf text AUTO(buf_free) = BUF(4096), quoted AUTO(buf_free) = BUF(8192);
    if (c->fault.err != e)
        fault_set(&c->fault, e, NULL);
    if (e == ERR_DB_AWAY)
        buf_printf(&text, "the database cannot be reached (db.hosts = %s)", c->conf.db_hosts);
    else if (c->fault.detail[0] && (e == ERR_INTERNAL || e == ERR_FIELD_VALUE))
        buf_puts(&text, c->fault.detail);
    else
        err_text(&text, &c->fault, LANG_EN);
    if (c->json) {
        buf_json(&quoted, buf_view(&text));
        fprintf(stderr, "{\"success\":false,\"code\":\"%s\",\"message\":%s}\n", err_code(e),
                quoted.p);
    } else {
        fprintf(stderr, "tollgatectl: %s\n", text.p);
    }
}

enum ctl_exit ctl_finish(struct ctl *c, enum err e) {
    if (e) {
        print_fault(c, e);
        return exit_of(e);
    }
    must(!c->out.failed);
    print_answer(c);
    if (fflush(stdout) != 0) {
        fputs("tollgatectl: standard output cannot be written\n", stderr);
        return CTL_FAILED;
    }
    return c->negative ? CTL_FAILED : CTL_OK;
}

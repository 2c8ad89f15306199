#include "ctl.h"

#include "domain/billing/price.h"
#include "domain/schema/migrate.h"
#include "util/secret.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#define SECRET_MAX 8192
#define CTRL_C 3
#define STDIN_MAX ((size_t)1 << 20)

/* --- options -------------------------------------------------------------------------------- */

static enum err wrong(struct ctl *c, const struct ctl_option *o, const char *what) {
    return fault_field(&c->fault, ERR_FIELD_VALUE, o->name, "--%s %s", o->name, what);
}

/* Accepted behind the command too. */
static const struct ctl_option *global_option(struct ctl *c, struct str name,
                                              struct ctl_option *room) {
    if (str_eqc(name, "json"))
        *room = (struct ctl_option){"json", CTL_FLAG, &c->json, false, NULL};
    else if (str_eqc(name, "config"))
        *room = (struct ctl_option){"config", CTL_STR, &c->config, false, NULL};
    else
        return NULL;
    return room;
}

static enum err store(struct ctl *c, const struct ctl_option *o, struct str value) {
    switch (o->type) {
    case CTL_STR:
        *(struct str *)o->to = value;
        return OK;
    case CTL_INT:
        return str_i64(value, o->to) ? OK : wrong(c, o, "wants a whole number");
    case CTL_DECIMAL:
        return price_ratio_parse(value.p, value.n, o->to) ? OK : wrong(c, o, "wants a decimal");
    case CTL_YESNO:
        if (!str_eqc(value, "yes") && !str_eqc(value, "no"))
            return wrong(c, o, "wants yes or no");
        *(bool *)o->to = str_eqc(value, "yes");
        return OK;
    case CTL_FLAG:
        break;
    }
    return wrong(c, o, "takes no value");
}

static const struct ctl_option *option_named(const struct ctl_option *o, size_t n,
                                             struct str name) {
    for (size_t i = 0; i < n; i++)
        if (str_eqc(name, o[i].name))
            return &o[i];
    return NULL;
}

/* Reads the option in a->v[*at], and the word after it when that is its value. */
static enum err read_option(struct ctl *c, const struct ctl_args *a, int *at,
                            const struct ctl_option *options, size_t n, uint64_t *seen) {
    struct str value = str_from(str_c(a->v[*at]), 2), name;
    str_cut(&value, '=', &name);
    struct ctl_option room;
    const struct ctl_option *own = option_named(options, n, name);
    const struct ctl_option *o = own ? own : global_option(c, name, &room);
    if (!o)
        return fault_set(&c->fault, ERR_FIELD_VALUE, "there is no option --%.*s", STR_ARG(name));
    uint64_t bit = own ? UINT64_C(1) << (own - options) : 0;
    if (*seen & bit)
        return wrong(c, o, "is given twice");
    *seen |= bit;
    if (o->given)
        *o->given = true;
    if (o->type == CTL_FLAG && !value.p) {
        *(bool *)o->to = true;
        return OK;
    }
    if (!value.p && *at + 1 == a->n)
        return wrong(c, o, "wants a value");
    return store(c, o, value.p ? value : str_c(a->v[++*at]));
}

enum err ctl_options(struct ctl *c, struct ctl_args *a, const struct ctl_option *options, size_t n,
                     int min, int max) {
    int words = 0;
    bool plain = false;
    uint64_t seen = 0;
    must(n <= 64);
    for (int i = 0; i < a->n; i++) {
        if (!plain && strcmp(a->v[i], "--") == 0) {
            plain = true;
        } else if (plain || strncmp(a->v[i], "--", 2) != 0) {
            a->v[words++] = a->v[i];
        } else {
            enum err e = read_option(c, a, &i, options, n, &seen);
            if (e)
                return e;
        }
    }
    a->n = words;
    a->v[words] = NULL; /* as main's own ends */
    for (size_t i = 0; i < n; i++)
        if (options[i].required && !(seen & UINT64_C(1) << i))
            return wrong(c, &options[i], "is missing");
    if (words < min || words > max)
        return fault_set(&c->fault, ERR_FIELD_VALUE, "usage: tollgatectl %s %s %s",
                         c->command->family, c->command->verb, c->command->synopsis);
    return OK;
}

enum err ctl_plain(struct ctl *c, struct ctl_args *a) {
    enum err e = ctl_options(c, a, NULL, 0, 0, 0);
    return e ? e : ctl_db(c);
}

/* --- what a handler asks for ------------------------------------------------------------------ */

enum err ctl_conf(struct ctl *c) {
    if (c->conf_read)
        return OK;
    enum err e = conf_load(c->config.p, &c->conf, &c->fault);
    c->conf_read = !e;
    return e;
}

enum err ctl_db_unchecked(struct ctl *c) {
    enum err e = ctl_conf(c);
    if (e || c->db)
        return e;
    const struct conf *k = &c->conf;
    c->db =
        db_new(&(struct db_conf){.hosts = k->db_hosts,
                                 .user = k->db_user,
                                 .password = k->db_password,
                                 .name = k->db_name,
                                 .connect_timeout_s = (int)((k->db_connect_timeout + 999) / 1000),
                                 .io_timeout_s = (int)((k->db_io_timeout + 999) / 1000)});
    return OK;
}

enum err ctl_db(struct ctl *c) {
    if (c->db)
        return OK;
    enum err e = ctl_db_unchecked(c);
    return e ? e : schema_check(c->db, &c->fault);
}

enum err ctl_keys(struct ctl *c) {
    struct fault f = {0};
    enum err e = ctl_conf(c);
    if (e || c->keys || keyring_load(c->conf.secrets_dir, &c->keys, &f) == OK)
        return e;
    return fault_set(&c->fault, ERR_CONFIG, "%s (made by: tollgatectl secrets init)", f.detail);
}

/* A file made here by another user than the workers' would lock them out, so none is made. */
struct host *ctl_host(struct ctl *c) {
    char path[CONF_STR_MAX + 8];
    struct stat st;
    if (c->host_tried || ctl_conf(c))
        return c->host;
    c->host_tried = true;
    snprintf(path, sizeof path, "%s/shared", c->conf.run_dir);
    if (stat(path, &st) == 0 && st.st_uid == geteuid() &&
        host_open(c->conf.run_dir, &c->host, NULL) != OK)
        c->host = NULL;
    return c->host;
}

/* Without echo, and ^C is a byte like any other: it must not leave the terminal mute. */
static bool silence(struct termios *before) {
    if (tcgetattr(STDIN_FILENO, before) != 0)
        return false;
    struct termios t = *before;
    t.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
    t.c_cc[VEOL] = CTRL_C; /* it ends the line, or it would wait for the line's end */
    return tcsetattr(STDIN_FILENO, TCSAFLUSH, &t) == 0;
}

static bool read_byte(char *out) {
    ssize_t n;
    do
        n = read(STDIN_FILENO, out, 1);
    while (n < 0 && errno == EINTR);
    return n == 1;
}

void ctl_wipe(struct buf *b) {
    if (b->p)
        secret_wipe(b->p, b->cap);
    buf_free(b);
}

enum err ctl_secret_line(struct ctl *c, const char *prompt, struct buf *out) {
    struct termios before;
    bool mute = false;
    buf_init(out, SECRET_MAX + 2);
    must(buf_room(out, SECRET_MAX + 2) != NULL); /* growing would leave copies behind */
    if (isatty(STDIN_FILENO) == 1) {
        fprintf(stderr, "%s: ", prompt);
        mute = silence(&before);
    }
    char byte = 0;
    while (out->n <= SECRET_MAX && read_byte(&byte) && byte != '\n' && !(mute && byte == CTRL_C))
        buf_putc(out, byte);
    if (mute) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
        fputc('\n', stderr);
    }
    if (mute && byte == CTRL_C)
        return fault_set(&c->fault, ERR_FIELD_VALUE, "interrupted");
    if (out->n && out->p[out->n - 1] == '\r')
        out->p[--out->n] = 0;
    if (!out->n || out->n > SECRET_MAX || out->failed)
        return fault_set(&c->fault, ERR_FIELD_VALUE, "standard input should have a line: %s",
                         prompt);
    return OK;
}

enum err ctl_stdin(struct ctl *c, struct buf *out) {
    for (;;) {
        char *room = buf_room(out, 4096);
        if (!room || out->n > STDIN_MAX)
            return fault_set(&c->fault, ERR_FIELD_VALUE, "standard input is too long");
        ssize_t n = read(STDIN_FILENO, room, 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fault_set(&c->fault, ERR_FIELD_VALUE, "standard input cannot be read");
        if (n == 0)
            return OK;
        out->n += (size_t)n;
    }
}

/* ctl.h - the frame of tollgatectl: a command is a row of the table in ctl.c and a handler.
 *
 * A handler reads its options with ctl_options, asks for what it needs (ctl_db, ctl_keys, ctl_host)
 * and answers with ctl_done or rows (ctl_row); what it returns decides the exit code: OK 0,
 * ERR_FIELD_* 2, ERR_CONFIG and ERR_SCHEMA_* 3, ERR_DB_AWAY 4, others 1. c->negative makes a
 * successful run exit with 1: the question was answered with no. Secrets come from standard input
 * only. One thread.
 */
#pragma once

#include "domain/routing/host.h"
#include "door/conf.h"
#include "door/crypt.h"
#include "door/db.h"

enum ctl_exit { CTL_OK, CTL_FAILED, CTL_USAGE, CTL_CONFIG, CTL_AWAY };

struct ctl_command;

struct ctl {
    struct str config; /* path, NUL-terminated */
    bool json, negative;
    const struct ctl_command *command;
    struct fault fault;
    /* opened when first asked for */
    bool conf_read, host_tried;
    struct conf conf;
    struct db *db;
    struct keyring *keys;
    struct host *host;
    /* the answer, printed when the handler returned OK */
    struct buf out;
    enum { CTL_NOTHING, CTL_TEXT, CTL_DONE, CTL_ROWS } answer;
};

struct ctl_args { /* what follows "family verb" */
    int n;
    char **v; /* n words and NULL */
};

struct ctl_command {
    const char *family, *verb; /* verb "" when the family is the command */
    enum err (*run)(struct ctl *c, struct ctl_args *a);
    const char *synopsis, *help;
};

/* --- options ------------------------------------------------------------------------------------
 * STR struct str, INT int64_t, DECIMAL int64_t (nine places, not negative), YESNO bool (yes or no),
 * FLAG bool (takes no value). `given` is set when the option is there. */
enum ctl_type { CTL_STR, CTL_INT, CTL_DECIMAL, CTL_YESNO, CTL_FLAG };
struct ctl_option {
    const char *name; /* without -- */
    enum ctl_type type;
    void *to;
    bool required;
    bool *given; /* may be NULL */
};
/* --json and --config are understood everywhere. Leaves the plain words in *a; between min and max
 * of them. ERR_FIELD_VALUE. */
must_use enum err ctl_options(struct ctl *c, struct ctl_args *a, const struct ctl_option *options,
                              size_t n, int min, int max);

/* For a command without words and options: a session. */
must_use enum err ctl_plain(struct ctl *c, struct ctl_args *a);

/* --- what a handler asks for --------------------------------------------------------------------
 */
must_use enum err ctl_conf(struct ctl *c);
/* A session on a database of this program's schema, which is checked unless told otherwise. */
must_use enum err ctl_db(struct ctl *c);
must_use enum err ctl_db_unchecked(struct ctl *c);
must_use enum err ctl_keys(struct ctl *c);
/* What the workers of this host share, or NULL when there is none (or it is another user's): then
 * they learn of a change from the log. */
struct host *ctl_host(struct ctl *c);
/* One line of standard input without its end, into an empty buffer whose maximum is set here; on a
 * terminal `prompt` is shown and nothing echoed. Release with ctl_wipe.
 * ERR_FIELD_VALUE when there is none. */
must_use enum err ctl_secret_line(struct ctl *c, const char *prompt, struct buf *out);
/* For AUTO: overwrites and frees what held a secret. */
void ctl_wipe(struct buf *b);
/* All of standard input. */
must_use enum err ctl_stdin(struct ctl *c, struct buf *out);

/* --- answers ------------------------------------------------------------------------------------
 */
struct ctl_cell {
    const char *name;
    enum { CELL_STR, CELL_INT, CELL_BOOL, CELL_JSON } type;
    struct str s;
    int64_t i;
};
static inline struct ctl_cell cell_s(const char *name, struct str s) {
    return (struct ctl_cell){name, CELL_STR, s, 0};
}
static inline struct ctl_cell cell_i(const char *name, int64_t i) {
    return (struct ctl_cell){name, CELL_INT, STR_NONE, i};
}
static inline struct ctl_cell cell_b(const char *name, bool b) {
    return (struct ctl_cell){name, CELL_BOOL, STR_NONE, b};
}
/* s is JSON text: data with --json, shown as it is without. */
static inline struct ctl_cell cell_json(const char *name, struct str s) {
    return (struct ctl_cell){name, CELL_JSON, s, 0};
}
/* Text that has no other form (a dump, a manual page). */
void ctl_text(struct ctl *c, struct str text);
/* The result of a change: `said` is the sentence for people, the cells are data of --json. */
void ctl_said(struct ctl *c, const char *said, const struct ctl_cell *cells, size_t n);
/* A row of a list; all rows have the same cells. */
void ctl_cells(struct ctl *c, const struct ctl_cell *cells, size_t n);
/* A list that may have no row. */
void ctl_list(struct ctl *c);
#define CTL_CELLS(...)                \
    (struct ctl_cell[]){__VA_ARGS__}, \
        sizeof((struct ctl_cell[]){__VA_ARGS__}) / sizeof(struct ctl_cell)
#define ctl_done(c, said, ...) ctl_said(c, said, CTL_CELLS(__VA_ARGS__))
#define ctl_row(c, ...) ctl_cells(c, CTL_CELLS(__VA_ARGS__))

/* Prints the answer, or what went wrong, and gives the exit code. */
enum ctl_exit ctl_finish(struct ctl *c, enum err e);

/* --- handlers ------------------------------------------------------------------------------------
 */
#define CTL_HANDLER(name) enum err name(struct ctl *c, struct ctl_args *a)
CTL_HANDLER(ctl_migrate);
CTL_HANDLER(ctl_config_check);
CTL_HANDLER(ctl_config_dump);
CTL_HANDLER(ctl_config_man);
CTL_HANDLER(ctl_secrets_init);
CTL_HANDLER(ctl_secrets_rotate);
CTL_HANDLER(ctl_user_add);
CTL_HANDLER(ctl_user_limits);
CTL_HANDLER(ctl_user_list);
CTL_HANDLER(ctl_user_passwd);
CTL_HANDLER(ctl_user_enable);
CTL_HANDLER(ctl_user_disable);
CTL_HANDLER(ctl_key_add);
CTL_HANDLER(ctl_key_list);
CTL_HANDLER(ctl_key_revoke);
CTL_HANDLER(ctl_access_token_add);
CTL_HANDLER(ctl_group_add);
CTL_HANDLER(ctl_group_set);
CTL_HANDLER(ctl_group_list);
CTL_HANDLER(ctl_model_add);
CTL_HANDLER(ctl_model_set);
CTL_HANDLER(ctl_model_list);
CTL_HANDLER(ctl_channel_add);
CTL_HANDLER(ctl_channel_list);
CTL_HANDLER(ctl_channel_enable);
CTL_HANDLER(ctl_channel_disable);
CTL_HANDLER(ctl_channel_delete);
CTL_HANDLER(ctl_channel_test);
CTL_HANDLER(ctl_option_list);
CTL_HANDLER(ctl_option_set);
CTL_HANDLER(ctl_option_unset);
CTL_HANDLER(ctl_key_scan);
CTL_HANDLER(ctl_audit_verify);
CTL_HANDLER(ctl_service_add);
CTL_HANDLER(ctl_service_scope);
CTL_HANDLER(ctl_service_delete);
CTL_HANDLER(ctl_service_list);
CTL_HANDLER(ctl_secrets_reseal);
CTL_HANDLER(ctl_prices_import);
CTL_HANDLER(ctl_credit);
CTL_HANDLER(ctl_reconcile);
CTL_HANDLER(ctl_rerate);

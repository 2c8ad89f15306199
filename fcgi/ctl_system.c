#include "ctl.h"

#include "domain/schema/migrate.h"

#include <stdio.h>

static enum err no_options(struct ctl *c, struct ctl_args *a) {
    return ctl_options(c, a, NULL, 0, 0, 0);
}

/* The steps that are missing, before or after they were made. */
static void tell_steps(struct ctl *c, int version) {
    ctl_list(c);
    for (const struct schema_step *s = schema_steps; s->version; s++)
        if (s->version > version)
            ctl_row(c, cell_i("version", s->version), cell_s("name", str_c(s->name)));
}

CTL_HANDLER(ctl_migrate) {
    bool check = false, dry = false;
    int version;
    const struct ctl_option options[] = {{"check", CTL_FLAG, &check, false, NULL},
                                         {"dry-run", CTL_FLAG, &dry, false, NULL}};
    enum err e = ctl_options(c, a, options, ARRAY_LEN(options), 0, 0);
    if (!e)
        e = ctl_db_unchecked(c);
    if (!e)
        e = schema_version(c->db, &version, &c->fault);
    if (e)
        return e;
    if (check) {
        c->negative = version < schema_newest;
    } else if (!dry) {
        e = schema_migrate(c->db, NULL, &c->fault);
        if (e)
            return e;
    }
    tell_steps(c, version);
    return OK;
}

CTL_HANDLER(ctl_config_check) {
    enum err e = no_options(c, a);
    if (!e)
        e = ctl_conf(c);
    if (!e)
        ctl_done(c, "the configuration is good", cell_s("file", c->config));
    return e;
}

CTL_HANDLER(ctl_config_dump) {
    struct buf text AUTO(buf_free) = BUF((size_t)1 << 20);
    enum err e = no_options(c, a);
    if (!e)
        e = ctl_conf(c);
    if (e)
        return e;
    conf_dump(&c->conf, &text);
    ctl_text(c, buf_view(&text));
    return OK;
}

CTL_HANDLER(ctl_config_man) {
    struct buf text AUTO(buf_free) = BUF((size_t)1 << 20);
    enum err e = no_options(c, a);
    if (e)
        return e;
    conf_man(&text);
    ctl_text(c, buf_view(&text));
    return OK;
}

static enum err make_secrets(struct ctl *c, struct ctl_args *a, bool rotate, const char *said) {
    enum err e = no_options(c, a);
    if (!e)
        e = ctl_conf(c);
    if (!e)
        e = keyring_init(c->conf.secrets_dir, rotate, &c->fault);
    if (!e)
        e = ctl_keys(c);
    if (!e)
        ctl_done(c, said, cell_i("generations", keyring_generations(c->keys)));
    return e;
}

CTL_HANDLER(ctl_secrets_init) {
    return make_secrets(c, a, false, "the secrets are there");
}

CTL_HANDLER(ctl_secrets_rotate) {
    return make_secrets(
        c, a, true,
        "a newer generation was added; the workers of this host take it up by themselves");
}

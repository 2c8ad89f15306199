#include "ctl.h"

#include "domain/admin/shelf.h"
#include "door/queries.h"

static enum err on_option(void *ctx, const struct q_catalog_options *r) {
    ctl_row(ctx, cell_s("name", r->name), cell_s("value", r->value));
    return OK;
}

CTL_HANDLER(ctl_option_list) {
    enum err e = ctl_plain(c, a);
    ctl_list(c);
    return e ? e : q_catalog_options(c->db, on_option, c);
}

CTL_HANDLER(ctl_option_set) {
    enum err e = ctl_options(c, a, NULL, 0, 2, 2);
    if (!e)
        e = ctl_db(c);
    if (!e)
        e = option_save(c->db, ctl_host(c), str_c(a->v[0]), str_c(a->v[1]), &c->fault);
    if (!e)
        ctl_done(c, "the option is set", cell_s("name", str_c(a->v[0])));
    return e;
}

CTL_HANDLER(ctl_option_unset) {
    enum err e = ctl_options(c, a, NULL, 0, 1, 1);
    if (!e)
        e = ctl_db(c);
    if (!e)
        e = option_save(c->db, ctl_host(c), str_c(a->v[0]), STR_NONE, &c->fault);
    if (!e)
        ctl_done(c, "the option has its default", cell_s("name", str_c(a->v[0])));
    return e;
}

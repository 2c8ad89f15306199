#include "ctl.h"

#include "domain/audit/audit.h"
#include "domain/identity/reseal.h"

#include <stdio.h>

CTL_HANDLER(ctl_audit_verify) {
    struct audit_report r;
    char said[96];
    enum err e = ctl_plain(c, a);
    if (!e)
        e = audit_verify(c->db, &r, &c->fault);
    if (e)
        return e;
    snprintf(said, sizeof said, "%lld rows of %lld accounts are what was written",
             (long long)r.rows, (long long)r.accounts);
    ctl_done(c, said, cell_i("rows", r.rows), cell_i("accounts", r.accounts));
    return OK;
}

CTL_HANDLER(ctl_secrets_reseal) {
    struct reseal_report r;
    char said[160];
    enum err e = ctl_plain(c, a);
    if (!e)
        e = ctl_keys(c);
    if (!e)
        e = reseal_all(c->db, c->keys, &r);
    if (e)
        return e;
    snprintf(said, sizeof said,
             "%lld of %lld were moved to the newest generation; %lld have no copy and move at "
             "their next use; %lld "
             "cannot be opened",
             (long long)r.moved, (long long)r.seen, (long long)r.waiting, (long long)r.lost);
    c->negative = r.lost > 0;
    ctl_done(c, said, cell_i("seen", r.seen), cell_i("moved", r.moved),
             cell_i("waiting", r.waiting), cell_i("lost", r.lost));
    return OK;
}

#include "app/app.h"

#include "domain/identity/client_ip.h"
#include "door/conf.h"
#include "door/db.h"
#include "util/log.h"

#include <stdlib.h>

struct settings {
    struct conf conf;
    struct cidr *trusted;
    size_t n_trusted;
    struct settings *older;
};

static struct settings *current; /* atomic */

static struct settings *get(void) {
    return __atomic_load_n(&current, __ATOMIC_ACQUIRE);
}

const struct conf *app_conf(void) {
    return &get()->conf;
}

static void drop(struct settings *s) {
    free(s->trusted);
    free(s);
}

static enum err apply(struct settings *s, struct fault *f) {
    enum log_level level;
    if (!log_level_parse(str_c(s->conf.log_level), &level))
        return fault_set(f, ERR_FIELD_VALUE, "log.level: %s is none of debug, info, warn, error",
                         s->conf.log_level);
    enum err e = cidr_list_parse(str_c(s->conf.trusted_proxies), "trusted_proxies",
                                 CLIENT_IP_MAX_PROXIES, &s->trusted, &s->n_trusted, f);
    if (e)
        return e;
    if (!log_setup(level, s->conf.log_file))
        return fault_set(f, ERR_FIELD_VALUE, "log.file: cannot open %s", s->conf.log_file);
    return OK;
}

enum err settings_load(const char *path, struct fault *f) {
    struct settings *s = base_zalloc(sizeof *s), *old = get();
    struct buf kept AUTO(buf_free) = BUF(4096);
    enum err e =
        old ? conf_reload(path, &old->conf, &s->conf, &kept, f) : conf_load(path, &s->conf, f);
    if (!e)
        e = apply(s, f);
    if (e) {
        drop(s);
        return e;
    }
    s->older = old;
    __atomic_store_n(&current, s, __ATOMIC_RELEASE);
    if (old)
        LOG(LOG_EV_RELOADED, log_str("needs_restart", buf_view(&kept)));
    return OK;
}

void settings_free(void) {
    while (current) {
        struct settings *s = current;
        current = s->older;
        drop(s);
    }
}

struct str settings_client_ip(struct str remote, struct str forwarded, struct arena *mem) {
    struct settings *s = get();
    char *text = arena_alloc(mem, ADDR_TEXT_CAP);
    return client_ip(s->trusted, s->n_trusted, remote, forwarded, text);
}

struct db *app_db_new(void) {
    const struct conf *c = app_conf();
    return db_new(
        &(struct db_conf){.hosts = c->db_hosts,
                          .user = c->db_user,
                          .password = c->db_password,
                          .name = c->db_name,
                          .connect_timeout_s = (int)((c->db_connect_timeout + 999) / 1000),
                          .io_timeout_s = (int)((c->db_io_timeout + 999) / 1000)});
}

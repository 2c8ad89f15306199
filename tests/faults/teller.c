/* teller - one worker process of the money tests: many threads that hold and settle calls against a
 * real database, without a web server around. tests/faults/money starts and kills several.
 *
 *   teller SOCKET DB migrate
 *   teller SOCKET DB setup USER BALANCE KEYS QUOTA    (keys USER*100000+0.. with QUOTA each, -1 =
 *                                                      unlimited)
 *   teller SOCKET DB work RUNDIR name=value...
 *   teller SOCKET DB reconcile [repair]               exit 1 and a list when something is broken
 *
 * work: threads=8 keys=1 user=1 price=7 hold=0 seconds=0 (0 = until refused) pause=0 (us) fail=0
 * (%) unlimited=0 clamp=0 budget=0 rpm=0 tpm=0 concurrency=0 calls=0 (so many answers and no more)
 * user_rpm=0 user_budget=0 group_budget=0 (of all keys, of all accounts) over=0 (what a call costs
 * above its hold) ttl=300 idle=30 log=FILE (request ids answered) times=FILE (begin and end of each
 * call, us) sync=0 (journal.sync). Prints "ok N quota N rate N away N other N synced N".
 */
#include "domain/billing/billing.h"
#include "domain/billing/credit.h"
#include "domain/billing/reconcile.h"
#include "domain/identity/caller.h"
#include "domain/schema/migrate.h"
#include "door/conf.h"
#include "door/crypt.h"
#include "door/db.h"
#include "util/clock.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define UNTIL_REFUSED_S 120 /* who is never refused is stopped */

static const char *db_socket, *db_name;
static char db_user[64];

static struct {
    int64_t threads, keys, user, price, hold, seconds, pause, fail, unlimited, budget, rpm, tpm,
        concurrency, user_rpm, user_budget, group_budget, calls, ttl, idle, journal_max, clamp, odd,
        sync, over;
    const char *log, *times;
} opt = {.threads = 8, .keys = 1, .user = 1, .price = 7, .ttl = 300, .idle = 30};

static struct billing *billing;
static _Atomic bool stop;
static _Atomic int64_t n_begun, n_ok, n_quota, n_rate, n_away, n_other, n_synced;
static int log_fd = -1, times_fd = -1;

/* The C library's, counted: what a power cut would do can not be tried here. */
int fdatasync(int fd) {
    n_synced++;
    return fsync(fd);
}

static struct db *session(void) {
    return db_new(&(struct db_conf){db_socket, db_user, "", db_name, 3, 10});
}

static int64_t number(const char *text) {
    int64_t v = 0;
    must(str_i64(str_c(text), &v));
    return v;
}

static void check(enum err e) {
    if (e) {
        fprintf(stderr, "teller: %s\n", err_code(e));
        exit(2);
    }
}

/* --- setup ---------------------------------------------------------------------------------- */

struct setting {
    int64_t user, balance, keys, quota;
};

static enum err run_setup(struct db *db, void *ctx) {
    const struct setting *s = ctx;
    enum err e = credit_give_in(db, &(struct credit){.kind = ALLOW_USER,
                                                     .user_id = s->user,
                                                     .amount = s->balance,
                                                     .source = CREDIT_TOPUP,
                                                     .reason = STR("test")});
    for (int64_t i = 0; i < s->keys && !e && s->quota >= 0; i++)
        e = credit_key_new_in(db, s->user * 100000 + i, s->quota);
    return e;
}

static int setup(char **a) {
    struct db *db AUTO(db_free) = session();
    struct setting s = {number(a[0]), number(a[1]), number(a[2]), number(a[3])};
    check(db_transaction(db, false, run_setup, &s));
    return 0;
}

static int migrate(void) {
    struct fault f = {0};
    struct db *db AUTO(db_free) = session();
    check(schema_migrate(db, NULL, &f));
    return 0;
}

/* --- reconcile ------------------------------------------------------------------------------ */

struct told {
    struct discrepancy list[100];
    size_t n;
};

static void tell(void *ctx, const struct discrepancy *d) {
    struct told *t = ctx;
    printf("%s: kind %" PRId64 " id %" PRId64 " period %" PRId64 ": expected %" PRId64
           ", found %" PRId64 "\n",
           reconcile_rule(d->check), d->id.kind, d->id.id, d->id.period, d->expected, d->found);
    if (t->n < ARRAY_LEN(t->list))
        t->list[t->n++] = *d;
}

static int reconcile(bool repair) {
    struct db *db AUTO(db_free) = session();
    struct told t = {.n = 0};
    check(reconcile_run(db, tell, &t));
    for (size_t i = 0; repair && i < t.n; i++)
        check(reconcile_repair(db, &t.list[i]));
    return t.n ? 1 : 0;
}

/* --- work ----------------------------------------------------------------------------------- */

static void note_answered(struct str id) {
    char line[64];
    int n = snprintf(line, sizeof line, "%.*s\n", STR_ARG(id));
    must(log_fd < 0 || write(log_fd, line, (size_t)n) == n);
}

static void note_times(int64_t began_us) {
    char line[64];
    int n = snprintf(line, sizeof line, "%" PRId64 " %" PRId64 "\n", began_us, clock_mono_us());
    must(times_fd < 0 || write(times_fd, line, (size_t)n) == n);
}

static void count(enum err e) {
    if (e == OK)
        n_ok++;
    else if (e == ERR_KEY_QUOTA || e == ERR_USER_QUOTA || e == ERR_BUDGET)
        n_quota++;
    else if (e == ERR_RATE_LIMIT)
        n_rate++;
    else if (e == ERR_DB_AWAY || e == ERR_JOURNAL_FULL) {
        if (!n_away++)
            fprintf(stderr, "teller: %s\n", err_code(e));
    } else {
        fprintf(stderr, "teller: %s\n", err_code(e));
        n_other++;
    }
}

static enum err one_call(struct db *db, unsigned *seed, struct str id) {
    *seed = *seed * 1103515245 + 12345;
    unsigned roll = *seed >> 8;
    const struct price price = {
        .id = 1, .model = RATIO_ONE, .completion = RATIO_ONE, .search_quota = 0};
    struct budget_rule rule = {.id = opt.user, .window = 'd', .amount = opt.budget};
    must(str_copy(STR("Europe/Berlin"), rule.timezone, sizeof rule.timezone));
    const struct budget_rule of_user = {.id = 1 + opt.user,
                                        .owner = BUDGET_OF_USER,
                                        .window = 'm',
                                        .amount = opt.user_budget},
                             of_group = {.id = 1,
                                         .owner = BUDGET_OF_GROUP,
                                         .window = 't',
                                         .amount = opt.group_budget};
    const struct group group = {
        .id = 1, .budgets = &of_group, .n_budgets = opt.group_budget ? 1 : 0};
    const struct caller caller = {.key_id = opt.user * 100000 + (int64_t)roll % opt.keys,
                                  .user_id = opt.user,
                                  .unlimited_quota = opt.unlimited,
                                  .rpm_limit = opt.rpm,
                                  .tpm_limit = opt.tpm,
                                  .concurrency_limit = opt.concurrency,
                                  .budgets = &rule,
                                  .n_budgets = opt.budget ? 1 : 0,
                                  .user_rpm_limit = opt.user_rpm,
                                  .user_budgets = &of_user,
                                  .n_user_budgets = opt.user_budget ? 1 : 0};
    struct model model = {.name = STR("test-model")};
    int64_t started = clock_unix_us(), hold_amount = opt.hold ? opt.hold : opt.price;
    struct hold *h = NULL;
    int64_t most = opt.price - 1;
    enum err e = billing_hold(billing, db,
                              &(struct hold_ask){.caller = &caller,
                                                 .model = &model,
                                                 .price = &price,
                                                 .group = &group,
                                                 .group_ratio = RATIO_ONE,
                                                 .prompt_tokens = 1,
                                                 .max_completion = hold_amount - 1,
                                                 .request_id = id,
                                                 .clamp_to = opt.clamp ? &most : NULL},
                              &h, NULL);
    if (e)
        return e;
    int64_t began_us = clock_mono_us();
    if (opt.pause)
        usleep((useconds_t)(roll % (unsigned)opt.pause));
    bool fails = (int64_t)(roll / 7 % 100) < opt.fail;
    struct outcome o = {.end = fails ? END_UPSTREAM : END_OK,
                        .status = fails ? 502 : 200,
                        .usage = {.prompt = 1, .completion = most + opt.over, .reported = true},
                        .billable = !fails,
                        .group_ratio = RATIO_ONE,
                        .price = &price,
                        .request_id = id,
                        .model = model.name,
                        .started_us = started,
                        .user_id = opt.user,
                        .key_id = caller.key_id};
    note_times(began_us);
    billing_settle(billing, &h, &o);
    must(o.cost == (fails ? 0 : most + 1 + opt.over));
    if (!fails)
        note_answered(id);
    return OK;
}

static void *work_thread(void *arg) {
    struct db *db AUTO(db_free) = session();
    unsigned seed = (unsigned)(uintptr_t)arg * 7919 + (unsigned)getpid();
    for (int64_t i = 0; !stop; i++) {
        char id[64];
        int n = snprintf(id, sizeof id, "%d-%d-%" PRId64, getpid(), (int)(uintptr_t)arg, i);
        if (opt.odd && i % opt.odd == 0)
            n = snprintf(id, sizeof id, "\xc3\xa9");
        if (opt.calls && atomic_fetch_add(&n_begun, 1) >= opt.calls) {
            usleep(10000);
            continue;
        }
        enum err e = one_call(db, &seed, str_of(id, (size_t)n));
        count(e);
        if (!opt.seconds && e && e != ERR_DB_AWAY && e != ERR_JOURNAL_FULL)
            break;
        if (e)
            usleep(2000);
    }
    return NULL;
}

static void *ledger_thread(void *arg) {
    struct db *db AUTO(db_free) = session();
    ledger_run(arg, db);
    return NULL;
}

static void parse(char **a) {
    static const struct {
        const char *name;
        int64_t *to;
    } names[] = {{"threads", &opt.threads},
                 {"keys", &opt.keys},
                 {"user", &opt.user},
                 {"price", &opt.price},
                 {"hold", &opt.hold},
                 {"seconds", &opt.seconds},
                 {"pause", &opt.pause},
                 {"fail", &opt.fail},
                 {"unlimited", &opt.unlimited},
                 {"budget", &opt.budget},
                 {"rpm", &opt.rpm},
                 {"concurrency", &opt.concurrency},
                 {"ttl", &opt.ttl},
                 {"idle", &opt.idle},
                 {"journal_max", &opt.journal_max},
                 {"clamp", &opt.clamp},
                 {"odd", &opt.odd},
                 {"tpm", &opt.tpm},
                 {"calls", &opt.calls},
                 {"sync", &opt.sync},
                 {"over", &opt.over},
                 {"user_rpm", &opt.user_rpm},
                 {"user_budget", &opt.user_budget},
                 {"group_budget", &opt.group_budget}};
    for (; *a; a++) {
        struct str rest = str_c(*a), name;
        must(str_cut(&rest, '=', &name));
        if (str_eqc(name, "log"))
            opt.log = rest.p;
        if (str_eqc(name, "times"))
            opt.times = rest.p;
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
            if (str_eqc(name, names[i].name))
                must(str_i64(rest, names[i].to));
    }
}

static void on_term(int sig) {
    (void)sig;
    stop = true;
}

static struct conf conf;

static const struct conf *in_force(void) {
    return &conf;
}

static int work(const char *run_dir, char **a) {
    parse(a);
    conf_defaults(&conf);
    must(str_copy(str_c(run_dir), conf.run_dir, sizeof conf.run_dir));
    conf.lease_ttl = opt.ttl * 1000;
    conf.lease_idle = opt.idle * 1000;
    conf.ledger_flush_interval = 20;
    conf.journal_sync = opt.sync != 0;
    if (opt.journal_max)
        conf.journal_max = opt.journal_max;
    if (opt.log)
        log_fd = open(opt.log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (opt.times)
        times_fd = open(opt.times, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    signal(SIGTERM, on_term);
    if (!opt.seconds)
        alarm(UNTIL_REFUSED_S);
    billing = billing_new(in_force);
    pthread_t ledger, threads[256];
    must(opt.threads <= (int64_t)ARRAY_LEN(threads));
    must(pthread_create(&ledger, NULL, ledger_thread, billing) == 0);
    for (int64_t i = 0; i < opt.threads; i++)
        must(pthread_create(&threads[i], NULL, work_thread, (void *)(uintptr_t)i) == 0);
    for (int64_t until = clock_mono_ms() + opt.seconds * 1000;
         opt.seconds && !stop && clock_mono_ms() < until;)
        usleep(10000);
    stop |= opt.seconds > 0;
    for (int64_t i = 0; i < opt.threads; i++)
        pthread_join(threads[i], NULL);
    billing_stop(billing, 20000);
    pthread_join(ledger, NULL);
    billing_free(&billing);
    printf("ok %" PRId64 " quota %" PRId64 " rate %" PRId64 " away %" PRId64 " other %" PRId64
           " synced %" PRId64 "\n",
           n_ok, n_quota, n_rate, n_away, n_other, n_synced);
    return 0;
}

int main(int argc, char **argv) {
    must(argc >= 4);
    db_socket = argv[1];
    db_name = argv[2];
    const struct passwd *me = getpwuid(getuid());
    must(me && str_copy(str_c(me->pw_name), db_user, sizeof db_user));
    db_library_init();
    crypt_init();
    struct str what = str_c(argv[3]);
    if (str_eqc(what, "migrate"))
        return migrate();
    if (str_eqc(what, "setup") && argc == 8)
        return setup(argv + 4);
    if (str_eqc(what, "reconcile"))
        return reconcile(argc == 5);
    must(str_eqc(what, "work") && argc >= 5);
    return work(argv[4], argv + 5);
}

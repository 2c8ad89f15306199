#include "app/app.h"

#include "api/api.h"
#include "domain/routing/sync.h"
#include "domain/schema/migrate.h"
#include "door/conf.h"
#include "door/crypt.h"
#include "door/db.h"
#include "util/clock.h"
#include "util/counter.h"
#include "util/log.h"
#include "util/memory.h"
#include "util/spare.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define DRAIN_LOOK_US 20000
#define MAX_FRONTS 257
#define LOOK_MS 50 /* for a moment without calls, while there is memory to be given back */

struct threads {
    pthread_t fronts[MAX_FRONTS], ledger;
    size_t n_fronts;
};

struct ledger_arg {
    struct billing *billing;
};

static void *ledger_main(void *arg) {
    struct app *a = arg;
    memory_thread_init();
    struct db *db AUTO(db_free) = app_db_new();
    ledger_run(a->billing, db);
    return NULL;
}

/* The main thread takes all signals by sigtimedwait. Blocked before the libraries start: libfcgi
 * sets a handler that would swallow a SIGTERM. */
static sigset_t take_signals(void) {
    sigset_t mine;
    sigemptyset(&mine);
    sigaddset(&mine, SIGTERM);
    sigaddset(&mine, SIGINT);
    sigaddset(&mine, SIGHUP);
    must(pthread_sigmask(SIG_BLOCK, &mine, NULL) == 0);
    return mine;
}

/* Waits ms for a signal; 0 when none came. */
static int wait_signal(const sigset_t *mine, int64_t ms) {
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    int sig = sigtimedwait(mine, NULL, &t);
    return sig > 0 ? sig : 0;
}

static int refuse(const struct fault *f) {
    struct buf text AUTO(buf_free) = BUF(4096);
    err_text(&text, f, LANG_EN);
    LOG(f->err == ERR_SCHEMA_OLD ? LOG_EV_SCHEMA_OLD : LOG_EV_CONFIG_BAD,
        log_s("detail", f->detail), log_str("text", buf_view(&text)));
    return 1;
}

static bool open_listener(struct app *a, const char *socket, struct fault *f) {
    if (fcgi_inherited()) {
        a->listen_fd = 0;
        fcgi_take_over(a->listen_fd, (int)app_conf()->listen_backlog);
        return true;
    }
    const char *address = socket ? socket : app_conf()->listen_socket;
    if (!address[0]) {
        fault_set(f, ERR_FIELD_VALUE,
                  "file descriptor 0 is no listening socket and listen.socket is empty");
        return false;
    }
    a->listen_fd = fcgi_listen(address, (int)app_conf()->listen_backlog, f);
    return a->listen_fd >= 0;
}

/* The database may come up after us: wait for it, unless told to stop. A SIGHUP stays pending: it
 * is obeyed when the worker runs. */
static enum err wait_for_schema(struct db *db, const sigset_t *mine, struct fault *f) {
    sigset_t stop = *mine;
    sigdelset(&stop, SIGHUP);
    for (;;) {
        enum err e = schema_check(db, f);
        if (e != ERR_DB_AWAY)
            return e;
        if (wait_signal(&stop, 500))
            return fault_set(f, ERR_STOPPING, NULL);
    }
}

static enum err load(struct app *a, struct db *db, struct sync **sync, const sigset_t *mine,
                     struct fault *f) {
    const struct conf *c = app_conf();
    enum err e = keyring_load(c->secrets_dir, &a->keys, f);
    if (!e)
        e = counter_open(c->run_dir, f);
    if (!e)
        e = host_open(c->run_dir, &a->host, f);
    if (!e)
        e = wait_for_schema(db, mine, f);
    if (!e)
        e = sync_new(a->host, a->keys, db, sync, f);
    if (e)
        return e;
    a->auth = auth_new(a->host, a->keys, app_conf);
    a->billing = billing_new(app_conf);
    a->relay.host = a->host;
    a->relay.billing = a->billing;
    a->relay.conf = app_conf;
    return OK;
}

static void thread_start(pthread_t *t, const char *name, void *(*fn)(void *arg), struct app *a) {
    must(pthread_create(t, NULL, fn, a) == 0);
    must(pthread_setname_np(*t, name) == 0);
}

static void start(struct app *a, struct threads *t) {
    loop_open(a);
    must(sem_init(&a->lead, 0, 1) == 0);
    thread_start(&t->ledger, "ledger", ledger_main, a);
    t->n_fronts = (size_t)app_conf()->worker_threads + 1; /* who leads when all others wait */
    __atomic_store_n(&a->n_fronts, t->n_fronts, __ATOMIC_RELEASE);
    for (size_t i = 0; i < t->n_fronts; i++)
        thread_start(&t->fronts[i], "front", front_main, a);
}

static size_t n_open(struct app *a) {
    return __atomic_load_n(&a->relay.n_open, __ATOMIC_RELAXED);
}

static size_t n_fronts(struct app *a) {
    return __atomic_load_n(&a->n_fronts, __ATOMIC_ACQUIRE);
}

/* Open requests finish; after drain_timeout they are cut. */
static void drain(struct app *a, struct threads *t) {
    LOG(LOG_EV_WORKER_STOPPING, log_i("open", (int64_t)n_open(a)));
    int64_t until = clock_mono_ms() + app_conf()->worker_drain_timeout;
    __atomic_store_n(&a->stopping, true, __ATOMIC_RELEASE);
    queue_wake(&a->to_loop);
    while (n_fronts(a) && clock_mono_ms() < until)
        usleep(DRAIN_LOOK_US);
    if (n_open(a))
        LOG(LOG_EV_DRAIN_TIMEOUT, log_i("open", (int64_t)n_open(a)));
    __atomic_store_n(&a->cut, true, __ATOMIC_RELEASE);
    queue_wake(&a->to_loop);
    for (size_t i = 0; i < t->n_fronts; i++)
        must(pthread_join(t->fronts[i], NULL) == 0);
    loop_close(a);
    billing_stop(a->billing, 30000);
    must(pthread_join(t->ledger, NULL) == 0);
}

static bool busy(struct app *a) {
    return n_open(a) || billing_backlog(a->billing);
}

/* Waits for a signal until the next tick is due. */
static int wait_tick(struct app *a, const sigset_t *mine) {
    int64_t until = clock_mono_ms() + app_conf()->sync_interval, left;
    int sig = 0;
    while (!sig && (left = until - clock_mono_ms()) > 0) {
        sig = wait_signal(mine, memory_due(false) && left > LOOK_MS ? LOOK_MS : left);
        bool calls = busy(a);
        if (memory_due(calls))
            memory_give_back(calls);
    }
    return sig;
}

static void housekeep(struct app *a, struct db *db, struct sync *sync, const char *config_path,
                      const sigset_t *mine) {
    int64_t tidied_ms = clock_mono_ms();
    for (;;) {
        int sig = wait_tick(a, mine);
        struct fault f = {0};
        if (sig == SIGTERM || sig == SIGINT)
            return;
        if (sig == SIGHUP) {
            if (settings_load(config_path, &f) != OK)
                refuse(&f);
            sync_reload(sync);
            queue_wake(&a->to_loop); /* it may sleep, and has settings of its own */
        }
        sync_tick(sync, db);
        counter_set(COUNTER_LEDGER_BACKLOG, (int64_t)billing_backlog(a->billing));
        if (auth_flush(a->auth, db, false) != OK)
            continue; /* tried again with the next tick */
        if (clock_mono_ms() - tidied_ms > 60000 && api_housekeep(db) == OK)
            tidied_ms = clock_mono_ms();
    }
}

static void free_all(struct app *a, struct sync **sync, struct db *db) {
    sync_free(sync, db);
    billing_free(&a->billing);
    auth_free(&a->auth);
    catalog_publish(NULL);
    host_close(&a->host);
    counter_close();
    keyring_free(&a->keys);
    relay_free(&a->relay);
    queue_free(&a->to_loop);
    spare_free_all();
}

static int run(struct app *a, const char *config_path, const char *socket, const sigset_t *mine) {
    struct fault f = {0};
    struct threads t = {0};
    struct sync *sync = NULL;
    struct db *db AUTO(db_free) = app_db_new();
    if (!open_listener(a, socket, &f) || load(a, db, &sync, mine, &f) != OK) {
        int status = f.err == ERR_STOPPING ? 0 : refuse(&f);
        free_all(a, &sync, db);
        return status;
    }
    start(a, &t);
    LOG(LOG_EV_WORKER_STARTED, log_i("pid", getpid()),
        log_i("threads", app_conf()->worker_threads));
    housekeep(a, db, sync, config_path, mine);
    drain(a, &t);
    bool told = auth_flush(a->auth, db, true) == OK;
    (void)told; /* nobody is left to try again */
    free_all(a, &sync, db);
    LOG(LOG_EV_WORKER_STOPPED, log_i("pid", getpid()));
    return 0;
}

/* A thread of ours that wakes up does not push the web server off its processor, which is about to
 * send the rest of what woke it: on busy processors a call takes a seventh less of their time. */
static void set_scheduling(void) {
    int rc = sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){.sched_priority = 0});
    (void)rc; /* where it is not allowed, all works as well */
}

int app_run(const char *config_path, const char *socket) {
    struct fault f = {0};
    struct app a = {.listen_fd = -1, .started_s = clock_unix_s()};
    sigset_t mine = take_signals();
    memory_init();
    set_scheduling();
    if (settings_load(config_path, &f) != OK)
        return refuse(&f);
    fcgi_library_init();
    http_library_init();
    db_library_init();
    crypt_init();
    queue_init(&a.to_loop);
    relay_init(&a.relay);
    int status = run(&a, config_path, socket, &mine);
    settings_free();
    return status;
}

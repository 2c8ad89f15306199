/* app.h - one worker process: what its threads share.
 *
 *   front threads (front.c)   one leads: it runs the loop (loop.c), which is exchanges with
 * providers and the wait for calls, and serves calls itself; before it has to wait for anything
 * else another one leads ledger thread (billing)   usage rows main thread   (lifecycle) signals,
 * heartbeat, changes made elsewhere
 */
#pragma once

#include "relay/relay.h"
#include "util/queue.h"

#include <semaphore.h>

struct app {
    int listen_fd;
    struct watch door; /* of listen_fd */
    bool knocked;      /* a call waits there, or did */
    bool called;       /* one was accepted since the last round */
    unsigned n_calls;
    struct host *host;
    struct keyring *keys;
    struct auth *auth;
    struct billing *billing;
    sem_t lead;            /* the right to run the loop; see front.c */
    size_t n_fronts;       /* atomic: threads */
    size_t n_followers;    /* atomic: of them, who wait for the lead */
    struct queue to_loop;  /* exchanges, while the loop is at work */
    struct watch arrivals; /* there */
    struct poller poller;  /* its turn comes with the right to use the relay */
    struct relay relay;
    const struct conf *loop_conf; /* that the relay has */
    int64_t started_s;
    bool stopping; /* atomic: no more calls are accepted */
    bool cut;      /* atomic: the drain timeout has passed */
};

/* settings.c: the configuration in force; a reload publishes a new one, the old ones stay until
 * the process ends (they are small and reloads are rare). Any thread. */
const struct conf *app_conf(void);
/* Reads the file; fails without a change. The first call sets everything, later ones only what
 * may be reloaded. Main thread. */
must_use enum err settings_load(const char *path, struct fault *f);
void settings_free(void);
/* The client's address: the peer's, or what a trusted proxy says. */
struct str settings_client_ip(struct str remote, struct str forwarded, struct arena *mem);
struct db *app_db_new(void);

/* lifecycle.c: the whole life of the worker; returns the exit status. socket overrides
 * listen.socket (NULL = do not). */
int app_run(const char *config_path, const char *socket);

/* loop.c. Main thread, before the fronts start, and after they have ended. */
void loop_open(struct app *a);
void loop_close(struct app *a);
/* Waits for something to do, at most a second, and does it; with `accept` also for calls. True when
 * one may be there. Who leads. */
must_use bool loop_round(struct app *a, bool accept);
/* False when the worker stops and nothing is left to be done. Who leads. */
must_use bool loop_goes_on(struct app *a);
/* Starts the exchange, at once and here when nobody runs the loop, or who does sleeps; else leaves
 * it to him. It belongs to the loop then, and may be over already. Any front. */
void loop_hand_over(struct app *a, struct exchange *x);

/* Thread body. */
void *front_main(void *app);

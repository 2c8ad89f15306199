/* app.h - one worker process: what its threads share.
 *
 *   front threads (front.c)   one accepts; authenticate, answer management requests, hand over
 *   loop thread   (loop.c)    exchanges with providers; a front may begin one while it sleeps
 *   ledger thread (billing)   usage rows
 *   main thread   (lifecycle) signals, heartbeat, changes made elsewhere
 */
#pragma once

#include "relay/relay.h"
#include "util/queue.h"

#include <semaphore.h>

struct app {
    int listen_fd;
    int idle_fd; /* watches listen_fd: there an idle worker waits, before those that are busy */
    struct host *host;
    struct keyring *keys;
    struct auth *auth;
    struct billing *billing;
    sem_t accepting;       /* the right to wait for the next request; see front.c */
    struct queue to_loop;  /* exchanges, while the loop is at work */
    struct watch arrivals; /* there */
    struct poller poller;  /* its turn comes with the right to use the relay */
    struct relay relay;
    int64_t started_s;
    bool cut; /* atomic: the drain timeout has passed */
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

/* loop.c. Main thread, before the loop and the fronts start: they need not wait for each other. */
void loop_open(struct app *a);
/* Starts the exchange, at once and here when the loop sleeps (one wake-up less on the way to the
 * provider); else leaves it to the loop. It belongs to the loop then, and may be over already.
 * False when the loop takes none any more. Any thread. */
must_use bool loop_hand_over(struct app *a, struct exchange *x);

/* Thread bodies. */
void *front_main(void *app);
void *loop_main(void *app);

/* exchange.h - one proxied request, from the moment it is read to the moment it is settled.
 *
 * The members stand in the order in which the steps fill them; a step reads only what is above.
 * A front thread fills the first half and hands the exchange to the loop (loop_hand_over);
 * from then on only the loop touches it, until exchange_free.
 */
#pragma once

#include "domain/billing/billing.h"
#include "domain/identity/caller.h"
#include "domain/routing/plan.h"
#include "domain/service/service.h"
#include "door/fcgi.h"
#include "door/http.h"
#include "relay/dialect.h"
#include "relay/peek.h"
#include "relay/scan.h"
#include "relay/sse.h"
#include "util/arena.h"

struct conf;

struct request { /* what the web server sent; views into exchange.mem */
    struct str method, path, query, content_type, content_encoding, remote_ip, forwarded_for;
    struct str authorization, x_api_key, api_key, x_goog_api_key, anthropic_version, anthropic_beta,
        openai_beta, user_agent, accept_language, cookie, origin, sec_fetch_site, idempotency_key,
        new_api_user, github_key, github_signature, accept, if_match, if_none_match,
        if_modified_since, range, request_headers /* Access-Control-Request-Headers */, id;
    int64_t content_length; /* -1 = not sent */
    size_t header_bytes;
};

/* What stands behind "Bearer ", or the whole header without it. */
struct str request_bearer(const struct request *rq);

enum answer_mode {
    ANSWER_NONE,   /* no answer byte from the provider yet */
    ANSWER_ERROR,  /* collecting a provider's error body */
    ANSWER_WHOLE,  /* collecting a JSON answer, to know its cost before the head is sent */
    ANSWER_EVENTS, /* server-sent events, passed on event by event */
    ANSWER_BYTES,  /* anything else, passed on as it comes */
};

struct exchange {
    struct list node; /* the queue, then the loop's list of open exchanges */
    struct relay *relay;
    struct arena mem;
    struct fcgi_conn conn;
    struct request rq;
    int64_t started_us, started_mono_us;

    /* route */
    enum dialect dialect;
    struct str endpoint; /* the route's path, for the usage row */
    unsigned family;     /* COUNTER_ROUTE_..., for /metrics */
    bool free_of_charge; /* token counting */
    bool stream_usage;   /* the endpoint knows stream_options.include_usage */
    bool multipart;

    /* caller */
    const struct caller *caller;
    struct catalog *catalog;
    struct str ip;

    /* service: then there is no model, dialect or usage, only what a call costs */
    struct services *services; /* keeps the service */
    const struct service *service;
    struct str service_path;   /* behind its prefix */
    struct str service_fields; /* header lines of its answer */

    /* body */
    char *body;
    size_t body_n;
    struct peek peek;
    int64_t images; /* that an image call asks for; else 0 */

    /* hold and plan */
    const struct model *model;
    struct hold *hold;
    struct limit_report limits;
    int64_t clamp_max_tokens; /* > 0: the balance pays no more */
    struct plan plan;

    /* attempt (with the poller's turn from here on) */
    size_t next_step;             /* in plan */
    const struct plan_step *step; /* the running or last attempt's */
    int attempts;
    struct str key;    /* the channel's key in use */
    size_t keys_tried; /* of the running step's channel */
    struct http_call *call;
    struct buf sent; /* edited body, when the client's could not be sent as it is */
    int64_t first_attempt_mono_us, attempt_mono_us, head_mono_us, activity_mono_us, wrote_mono_us,
        first_byte_mono_us;
    struct fault fault;  /* why the last attempt failed */
    int upstream_status; /* the last provider's status, 0 = none */
    struct str upstream_id;
    int64_t retry_after_ms; /* the provider's wish */

    /* answer */
    enum answer_mode mode;
    bool hard_stopped; /* the hold was used up in a group that stops then */
    bool told_error;   /* an event of the stream was an error */
    bool committed;    /* the head went out */
    bool client_gone;
    bool prompt_read; /* it left when the provider had the whole request */
    bool draining;    /* the client left, the answer is read to its end for the bill */
    bool complete;    /* the provider has sent all of the answer */
    bool paused;      /* the transfer waits until the client takes more */
    bool feeding;     /* inside a callback of the transfer */
    bool finished;    /* settled; only its last bytes are left to be written */
    bool closed;      /* released; memory stays until the poller's round ends */
    struct str content_type;
    struct buf held; /* an error body or a whole JSON answer */
    struct sse sse;
    struct scan scan;

    struct watch peer;
    struct timer timer;
    struct soon flush; /* of what one read of the provider's connection brought */
    size_t gathered;   /* 1 + where in relay.gathered it stands, 0 = not there */
    struct outcome outcome;
};

struct exchange *exchange_new(void);
/* Releases everything x holds, but not x itself (the poller buries it); its hold must have been
 * settled and its call ended before. */
void exchange_free(struct exchange **x);
/* Frees the request body: nothing will be sent again. */
void exchange_drop_body(struct exchange *x);
/* The body for x->step: the client's own bytes, or an edited copy in x->sent. */
must_use enum err exchange_edit_body(struct exchange *x, struct str *body);

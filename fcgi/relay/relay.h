/* relay.h - the loop's half of the gateway: exchanges with providers. All of it is for the thread
 * that has the turn of relay.poller (poller.h): the loop's, or for a moment a front's. */
#pragma once

#include "relay/exchange.h"
#include "relay/pace.h"

struct conf;

struct relay { /* one per process */
    struct poller *poller;
    struct http *http;
    struct host *host;
    struct billing *billing;
    const struct conf *(*conf)(void); /* the configuration in force */
    struct list open;                 /* exchanges */
    size_t n_open;                    /* read by other threads with relaxed atomics */
    struct pace pace;                 /* of writing to the web server */
    struct exchange
        *gathered[RING_MAX]; /* what they have is written together; NULL: not any more */
    size_t n_gathered;
    struct soon write;
    struct ring *ring;
    struct buf batch; /* scratch: what one read of a stream gives to the client */
};

void relay_init(struct relay *r);
void relay_free(struct relay *r);
/* Takes the exchange over; everything else happens in callbacks of the poller. */
void relay_start(struct relay *r, struct exchange *x);
/* Ends every open exchange now (drain_timeout passed). */
void relay_cut_all(struct relay *r);

/* --- between attempt.c, answer.c and settle.c --- */

/* attempt.c: tries the next candidate, or ends the exchange with the last failure. */
void attempt_next(struct exchange *x);
/* attempt.c: sets the timer to the next deadline; call it when one may have come nearer. */
void attempt_arm(struct exchange *x);
/* attempt.c: the client closed. */
void attempt_client_gone(struct exchange *x);

/* answer.c: what a provider sends, and how an exchange ends. */
void answer_head(struct exchange *x, const struct http_head *head);
enum http_flow answer_data(struct exchange *x, struct str p);
/* The provider's answer is complete. False: it was none, an event stream without an event. */
must_use bool answer_complete(struct exchange *x);
/* It broke off after a byte went out. */
void answer_broken(struct exchange *x, enum end_reason end);
/* An error of ours, in the dialect's shape, as the whole answer. */
void answer_fault(struct exchange *x, enum end_reason end);
/* The provider's own error, collected in x->held. */
void answer_provider_error(struct exchange *x);
/* A ": ping" comment; commits the head when it is still held. */
void answer_ping(struct exchange *x);
/* Settles and closes; x is gone afterwards (or lives on until its last bytes are written). */
void answer_end(struct exchange *x, enum end_reason end);
/* Writes what was gathered for the client (x->flush), with what the others have for theirs. */
void answer_flush(struct soon *s);
void answer_write_all(struct soon *s);
/* Nothing gathered is written any more, or not by these. */
void answer_ungather(struct exchange *x);
/* The socket took more: goes on writing or resumes the transfer. */
void answer_writable(struct exchange *x);

/* settle.c: the status of an answer that is good: a service's own, else 200. */
int settle_good_status(const struct exchange *x);
/* Answers that are text, whose streams have a last word. */
bool settle_is_text(const struct exchange *x);
/* What was held back (x->held) is read once more, for its text this time. */
void settle_count_text(struct exchange *x);
/* Groups with hard_stop: what was delivered so far has used the hold up. */
bool settle_hold_is_used_up(const struct exchange *x);
/* Says what became of the call (x->outcome), bills it and counts it. Once an exchange, before its
 * last byte is written. status: what the client was told, 0 = nothing. */
void settle(struct exchange *x, enum end_reason end, int status);

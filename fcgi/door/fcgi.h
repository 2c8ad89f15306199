/* fcgi.h - libfcgi: accepting requests of the web server, and answering them without blocking.
 *
 * fcgi_accept and the reading functions are for a front thread and may block. Once the body is
 * read, fcgi_release gives back everything libfcgi holds; from then on the connection is one
 * descriptor and a few words, and answers are framed here and written with MSG_DONTWAIT, because
 * libfcgi can only write blocking. The same functions serve a front thread (with fcgi_wait).
 */
#pragma once

#include "door/ring.h"
#include "util/buf.h"
#include "util/err.h"

struct fcgi_conn {
    int fd;
    uint16_t id;
    struct buf
        tail;      /* framed bytes that wait for the next write, or that the socket did not take */
    size_t record; /* 1 + where in tail the record begins that fcgi_queue may lengthen, 0 = none */
    struct buf last;  /* of fcgi_send_end_taking: it follows the tail */
    size_t last_sent; /* bytes of it, framed and with the end record, that are written */
    bool blocked;     /* the socket takes no more */
    bool ended;       /* the end record is sent, in tail, or behind last */
    struct fcgi_ahead {
        uint16_t body, left; /* bytes of the body's first record: in what libfcgi reads first, and
                                behind */
        uint8_t padding;     /* after those; all zero: not known */
    } ahead;
    int status;    /* HTTP status of the answer, for who counts; the writer sets it */
    void *request; /* FCGX_Request until fcgi_release */
};

/* Once in main before threads; leaves SIGPIPE and SIGUSR1 ignored. */
void fcgi_library_init(void);
/* True when fd 0 is a listening socket that a parent handed over. */
bool fcgi_inherited(void);
/* Listens on a unix socket path (made 0660, a stale one is replaced) or on a loopback
 * "127.0.0.1:9000" / "[::1]:9000". Accepting does not wait. Returns the descriptor, or -1 with the
 * fault filled in. */
int fcgi_listen(const char *address, int backlog, struct fault *f);
/* Makes of a socket that a parent made what fcgi_listen makes: so many connections wait to be
 * accepted, and accepting does not. */
void fcgi_take_over(int listen_fd, int backlog);

/* The next connection with its request's parameters; wait_begins() when these do not come at once.
 * False: none is there (listen_fd does not block), or one that made no sense and is closed again.
 * *c is the caller's: fcgi_close it. */
must_use bool fcgi_accept(int listen_fd, struct fcgi_conn *c);

/* "NAME=value", i from 0; NULL at the end. Valid until fcgi_release. */
const char *fcgi_param(const struct fcgi_conn *c, size_t i);

struct fcgi_body_rule {
    int64_t max;         /* bytes */
    int64_t deadline_ms; /* for the whole body */
    int64_t min_rate;    /* bytes/s, judged after 10 s; 0 = none */
};
/* Reads the body to its end into *body (malloc'ed and NUL-terminated, NULL when empty; the caller
 * frees). declared = CONTENT_LENGTH or -1. ERR_BODY_TOO_LARGE (the rest is read and dropped, so
 * that the answer reaches the client), ERR_BODY_SLOW, ERR_BODY_SHORT, ERR_CLIENT_GONE;
 * ERR_OVERLOADED when nothing of it came: lighttpd, met by a full backlog, tries again without the
 * body, which the client still has. */
must_use enum err fcgi_read_body(struct fcgi_conn *c, int64_t declared,
                                 const struct fcgi_body_rule *rule, char **body, size_t *n);
/* Frees what libfcgi holds; parameters and unread body are gone. */
void fcgi_release(struct fcgi_conn *c);

/* Frames p as output that leaves with the next write. Returns what waits in tail. */
size_t fcgi_queue(struct fcgi_conn *c, struct str p);
/* Frames p as output and writes what the socket takes; the rest waits in tail. False when the web
 * server has closed. Send more only when fcgi_pending() is 0 (that is the back-pressure). */
must_use bool fcgi_send(struct fcgi_conn *c, struct str p);
/* p, then the end of the request, in one write where possible. */
must_use bool fcgi_send_end(struct fcgi_conn *c, struct str p);
/* The same for much: takes the bytes over instead of copying what the socket does not take, and
 * gives them to spare.h in the end. */
must_use bool fcgi_send_end_taking(struct fcgi_conn *c, struct buf *p);
/* Writes more of what waits. False when the web server has closed. */
must_use bool fcgi_flush(struct fcgi_conn *c);
/* The same in two steps, for ring_write: what is to be written, and what came of it (bytes or
 * -errno; false when the web server has closed). Nothing may be queued or sent between them. */
struct ring_op fcgi_to_write(const struct fcgi_conn *c);
must_use bool fcgi_wrote(struct fcgi_conn *c, ssize_t n);
/* What the socket did not take; 0 when it is ready for more, whatever is queued. */
size_t fcgi_pending(const struct fcgi_conn *c);
/* True when the web server has not yet read all that was written to fd; false when that cannot be
 * told, or fd is somebody else's by now. */
bool fcgi_untaken(int fd);
/* Blocks until what waits is written, at most timeout_ms. Front threads only. */
must_use bool fcgi_wait(struct fcgi_conn *c, int timeout_ms);
/* Plain close (also of a connection that was not answered: the web server then makes a 5xx or cuts
 * the client off). */
void fcgi_close(struct fcgi_conn *c);

#include "relay/sse.h"

#include "relay/plain.h"

typedef enum err (*sink)(void *ctx, const struct sse_event *ev);

#define BOM STR("\xEF\xBB\xBF")
#define KEEP (64u << 10) /* a stream that had one image does not keep its room */

void sse_init(struct sse *s, size_t max_event) {
    *s = (struct sse){.pending = BUF(max_event), .joined = BUF(max_event)};
}

void sse_free(struct sse *s) {
    buf_free(&s->pending);
    buf_free(&s->joined);
}

/* The first CR or LF of p at or behind `from`, or p.n. */
static size_t find_line_end(struct str p, size_t from) {
    const unsigned char *begin = (const unsigned char *)p.p;
    return (size_t)(plain_until(begin + from, begin + p.n, '\n', '\r') - begin);
}

/* How many bytes of p complete the event, or -1 when p does not end it. */
static ptrdiff_t find_event_end(struct sse *s, struct str p) {
    size_t i = 0;
    if (s->after_cr && p.n) {
        s->after_cr = false;
        i = p.p[0] == '\n';
        if (s->cr_was_blank)
            return (ptrdiff_t)i;
    }
    while (i < p.n) {
        size_t e = find_line_end(p, i);
        bool blank = !s->in_line && e == i;
        s->in_line = e == p.n;
        if (s->in_line)
            return -1;
        if (p.p[e] == '\r' && e + 1 == p.n) {
            s->after_cr = true;
            s->cr_was_blank = blank;
            return -1;
        }
        i = e + (p.p[e] == '\r' && p.p[e + 1] == '\n' ? 2 : 1);
        if (blank)
            return (ptrdiff_t)i;
    }
    return -1;
}

/* Takes a line without its end off *text. */
static struct str cut_line(struct str *text) {
    size_t e = find_line_end(*text, 0);
    struct str line = str_sub(*text, 0, e);
    bool crlf = str_starts(str_from(*text, e), STR("\r\n"));
    *text = str_from(*text, e + (crlf ? 2 : 1));
    return line;
}

static void add_data(struct sse *s, struct sse_event *ev, struct str value, size_t lines) {
    if (lines == 0) {
        ev->data = value;
        return;
    }
    if (lines == 1)
        buf_str(&s->joined, ev->data);
    buf_putc(&s->joined, '\n');
    buf_str(&s->joined, value);
    ev->data = buf_view(&s->joined);
}

static enum err hand_over(struct sse *s, struct str raw, sink on_event, void *ctx) {
    struct sse_event ev = {.raw = raw};
    struct str rest = raw;
    size_t lines = 0;
    if (raw.n > s->pending.max)
        return ERR_UPSTREAM_INVALID;
    if (!s->started && str_starts(rest, BOM))
        rest = str_from(rest, BOM.n);
    s->started = true;
    buf_clear(&s->joined);
    while (rest.n) {
        struct str value = cut_line(&rest), name;
        if (!str_cut(&value, ':', &name))
            continue;
        if (!value.p)
            value = STR("");
        if (value.n && value.p[0] == ' ')
            value = str_from(value, 1);
        if (str_eq(name, STR("data")))
            add_data(s, &ev, value, lines++);
        else if (str_eq(name, STR("event")))
            ev.event = value;
    }
    return on_event(ctx, &ev);
}

/* The event that began in earlier pieces; *p loses what belonged to it. */
static enum err finish_pending(struct sse *s, struct str *p, sink on_event, void *ctx) {
    ptrdiff_t end = find_event_end(s, *p);
    size_t n = end < 0 ? p->n : (size_t)end;
    buf_put(&s->pending, p->p, n);
    if (s->pending.failed)
        return ERR_UPSTREAM_INVALID;
    *p = str_from(*p, n);
    if (end < 0)
        return OK;
    enum err e = hand_over(s, buf_view(&s->pending), on_event, ctx);
    if (s->pending.cap > KEEP)
        buf_free(&s->pending);
    else
        buf_clear(&s->pending);
    return e;
}

enum err sse_feed(struct sse *s, struct str p, sink on_event, void *ctx) {
    if (s->pending.n) {
        enum err e = finish_pending(s, &p, on_event, ctx);
        if (e)
            return e;
    }
    while (p.n) {
        ptrdiff_t end = find_event_end(s, p);
        if (end < 0) {
            buf_str(&s->pending, p);
            return s->pending.failed ? ERR_UPSTREAM_INVALID : OK;
        }
        enum err e = hand_over(s, str_sub(p, 0, (size_t)end), on_event, ctx);
        if (e)
            return e;
        p = str_from(p, (size_t)end);
    }
    return OK;
}

/* Whether the text holds a data line that is surely whole. */
static bool has_whole_data(struct str text, bool started) {
    if (!started && str_starts(text, BOM))
        text = str_from(text, BOM.n);
    while (text.n) {
        size_t before = text.n;
        struct str line = cut_line(&text);
        bool ended = line.n < before;
        if (!str_starts(line, STR("data")))
            continue;
        struct str value = str_from(line, 4);
        bool done = str_eq(str_trim(str_from(value, 1)), STR("[DONE]"));
        if ((value.n == 0 || value.p[0] == ':') && (ended || done))
            return true;
    }
    return false;
}

enum err sse_end(struct sse *s, sink on_event, void *ctx) {
    struct str rest = buf_view(&s->pending);
    bool whole = s->after_cr && s->cr_was_blank;
    if (!whole && !has_whole_data(rest, s->started))
        return OK;
    s->pending.max += 2; /* the line ends are ours, not the provider's */
    if (!whole)
        buf_puts(&s->pending, s->in_line ? "\n\n" : "\n");
    enum err e = hand_over(s, buf_view(&s->pending), on_event, ctx);
    s->pending.max -= 2;
    buf_clear(&s->pending);
    return e;
}

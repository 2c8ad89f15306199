#include "relay/scan.h"

#include "relay/dialect.h"
#include "relay/plain.h"
#include "relay/scan_parts.h"

enum mode {
    MODE_VALUE, /* a value comes, or the end of an empty array */
    MODE_NAME,
    MODE_COLON,
    MODE_AFTER, /* a value was read */
    MODE_IN_NAME,
    MODE_IN_STRING,
    MODE_IN_SCALAR,
    MODE_SKIP, /* inside of something that nobody asked for */
    MODE_SKIP_STRING,
    MODE_OVER, /* the end, or malformed */
};

enum modality { MODALITY_OTHER, MODALITY_IMAGE, MODALITY_AUDIO };

#define IN_ARRAY 0x80

struct machine {
    uint8_t mode;
    uint8_t depth;
    uint8_t escape;   /* 1: after a backslash; 2..5: one to four digits of \uXXXX still to come */
    uint8_t target;   /* of the value that comes */
    uint8_t modality; /* of this object, with its count in raw[FIELD_MODALITY] */
    uint8_t word_n;
    bool word_bad; /* too long, or escaped: equal to nothing we know */
    bool fraction; /* behind the point of a number */
    bool no_number;
    bool choices, choices_full; /* the document has them; they are not empty */
    bool usage_here;
    bool audio; /* this document's delta is no text */
    uint32_t skip_depth;
    uint32_t code; /* of \uXXXX */
    int64_t number;
    int64_t searches;
    int64_t raw[FIELD__MAX];
    uint8_t stack[SCAN_MAX_DEPTH]; /* enum place, or'ed with IN_ARRAY */
    char word[96];
};
static_assert(sizeof(struct machine) <= sizeof((struct scan *)0)->state, "state holds it");
static_assert(offsetof(struct scan, state) % _Alignof(struct machine) == 0, "state is aligned");

static struct machine *machine_of(struct scan *s) {
    return (struct machine *)(void *)s->state;
}

/* usage */

static void usage_begins(struct scan *s, struct machine *m) {
    m->usage_here = true;
    if (!dialect_ops(s->dialect)->usage_merges)
        memset(m->raw, 0, sizeof m->raw);
}

static void usage_ends(struct scan *s, const struct machine *m) {
    struct usage u = scan_normalise(s->dialect, m->raw);
    if (u.reported)
        s->usage = u;
}

/* "modality" and "tokenCount" may come in either order: they meet when their object ends. */
static void modality_ends(struct machine *m, enum place place) {
    int64_t n = m->raw[FIELD_MODALITY];
    if (m->modality == MODALITY_AUDIO)
        m->raw[place == PLACE_USAGE_IN ? FIELD_AUDIO_IN : FIELD_AUDIO_OUT] = n;
    else if (m->modality == MODALITY_IMAGE && place == PLACE_USAGE_IN)
        m->raw[FIELD_IMAGE_IN] = n;
}

/* members */

static enum place here(const struct machine *m) {
    return m->depth ? m->stack[m->depth - 1] & ~IN_ARRAY : PLACE_ROOT;
}

static bool in_array(const struct machine *m) {
    return m->depth && m->stack[m->depth - 1] & IN_ARRAY;
}

static void take_type(struct scan *s, struct machine *m) {
    struct str type = {m->word, m->word_n};
    for (const struct str *last = dialect_ops(s->dialect)->last_types; last && last->n; last++)
        s->terminal |= str_eq(type, *last);
    if (str_eq(type, STR("error")))
        s->saw_error = true;
    m->audio = str_ends(type, STR("audio.delta"));
}

static void take_word(struct scan *s, struct machine *m) {
    struct str word = {m->word, m->word_n};
    if (m->target == SEE_ERROR)
        s->saw_error = true;
    else if (m->target == SEE_FINISH)
        s->terminal = true;
    else if (m->target == SEE_REASON)
        s->finished |= m->word_n > 0;
    else if (m->word_bad)
        return;
    else if (m->target == TAKE_TYPE)
        take_type(s, m);
    else if (m->target == TAKE_CALL)
        m->searches += str_eq(word, STR("web_search_call"));
    else if (m->target == TAKE_MODALITY)
        m->modality = str_eq(word, STR("AUDIO"))   ? MODALITY_AUDIO
                      : str_eq(word, STR("IMAGE")) ? MODALITY_IMAGE
                                                   : MODALITY_OTHER;
    else if (m->target == TAKE_ID && !s->id[0] && !str_copy(word, s->id, sizeof s->id))
        s->id[0] = '\0';
}

/* strings */

static void add_text(struct scan *s, struct str text) {
    if (s->textless)
        return;
    s->text_bytes += (int64_t)text.n;
    estimate_feed(&s->text, text);
}

static void add_word(struct machine *m, struct str part) {
    if (part.n > sizeof m->word - m->word_n) {
        m->word_bad = true;
        return;
    }
    if (part.n)
        memcpy(m->word + m->word_n, part.p, part.n);
    m->word_n = (uint8_t)(m->word_n + part.n);
}

static bool is_text(const struct machine *m) {
    if (m->mode == MODE_IN_NAME)
        return here(m) == PLACE_INPUT;
    return m->target == GO_INPUT ||
           (m->target == TAKE_TEXT && !(m->audio && here(m) == PLACE_ROOT));
}

/* A part of a name or a string value, escapes resolved. */
static void add_part(struct scan *s, struct machine *m, struct str part) {
    if (is_text(m))
        add_text(s, part);
    else if (m->mode == MODE_IN_NAME || m->target > TAKE_TEXT)
        add_word(m, part);
}

/* One byte of an escape. Nothing that we look for is written with escapes, except text. */
static void step_escape(struct scan *s, struct machine *m, unsigned char c) {
    static const char plain[128] = {['"'] = '"', ['\\'] = '\\', ['/'] = '/',  ['b'] = ' ',
                                    ['f'] = ' ', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t'};
    char out[4];
    size_t n = 1;
    m->word_bad = true;
    if (m->escape == 1 && c == 'u') {
        m->escape = 5;
        m->code = 0;
        return;
    }
    if (m->escape == 1) {
        out[0] = c < 128 ? plain[c] : '\0';
        if (!out[0])
            m->mode = MODE_OVER;
    } else {
        int digit = c >= '0' && c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
        if (digit < 0 || digit > 15 || (digit > 9 && c < 'A'))
            m->mode = MODE_OVER;
        m->code = m->code << 4 | ((uint32_t)digit & 15);
        if (--m->escape > 1)
            return;
        /* a pair of surrogates is one character: its first half stands for both */
        bool high = (m->code & 0xFC00) == 0xD800, low = (m->code & 0xFC00) == 0xDC00;
        n = low ? 0 : plain_put_utf8(high ? 0x1F600 : m->code, out);
    }
    m->escape = 0;
    if (m->mode != MODE_OVER)
        add_part(s, m, str_of(out, n));
}

static void string_begins(struct machine *m, enum mode mode) {
    m->mode = (uint8_t)mode;
    m->escape = 0;
    m->word_n = 0;
    m->word_bad = false;
}

static int target_of_name(const struct scan *s, const struct machine *m) {
    enum place place = here(m);
    if (place == PLACE_INPUT)
        return GO_INPUT;
    return m->word_bad ? TAKE_NOTHING
                       : scan_find(s->dialect, place, (struct str){m->word, m->word_n});
}

static void string_ends(struct scan *s, struct machine *m) {
    if (m->mode == MODE_IN_NAME) {
        m->target = (uint8_t)target_of_name(s, m);
        m->mode = MODE_COLON;
        return;
    }
    if (m->target > TAKE_TEXT)
        take_word(s, m);
    m->mode = MODE_AFTER;
}

static const unsigned char *step_string(struct scan *s, struct machine *m, const unsigned char *p,
                                        const unsigned char *end) {
    while (m->escape && p < end && m->mode != MODE_OVER)
        step_escape(s, m, *p++);
    const unsigned char *to = plain_until(p, end, '"', '\\');
    if (m->mode == MODE_OVER)
        return end;
    add_part(s, m, str_of(p, (size_t)(to - p)));
    if (to == end)
        return end;
    if (*to == '\\')
        m->escape = 1;
    else
        string_ends(s, m);
    return to + 1;
}

/* values */

/* The place of the array or object that begins, or -1: nobody asked for it. */
static int place_of_value(struct scan *s, const struct machine *m) {
    if (!m->depth || in_array(m))
        return (int)here(m);
    if (m->target >= GO_ROOT && m->target < GO__MAX)
        return m->target - GO_ROOT;
    if (m->target == TAKE_TEXT && here(m) == PLACE_DELTA)
        return PLACE_DELTA; /* content as a list of parts */
    if (m->target == SEE_ERROR)
        s->saw_error = true;
    return -1;
}

static void container_begins(struct scan *s, struct machine *m, bool array) {
    int place = place_of_value(s, m);
    if (place < 0) {
        m->mode = MODE_SKIP;
        m->skip_depth = 1;
        return;
    }
    if (m->depth == SCAN_MAX_DEPTH) {
        m->mode = MODE_OVER;
        return;
    }
    m->stack[m->depth++] = (uint8_t)(place | (array ? IN_ARRAY : 0));
    m->target = place == PLACE_INPUT ? GO_INPUT : TAKE_NOTHING;
    m->mode = array ? MODE_VALUE : MODE_NAME;
    if (place == PLACE_CHOICE)
        m->choices = true;
    if (!array && place == PLACE_USAGE)
        usage_begins(s, m);
    m->modality = MODALITY_OTHER;
}

static void container_ends(struct scan *s, struct machine *m, bool array) {
    enum place place = here(m);
    if (!m->depth || in_array(m) != array) {
        m->mode = MODE_OVER;
        return;
    }
    m->depth--;
    m->mode = m->depth ? MODE_AFTER : MODE_OVER;
    if (!array && place == PLACE_USAGE)
        usage_ends(s, m);
    if (!array && (place == PLACE_USAGE_IN || place == PLACE_USAGE_OUT))
        modality_ends(m, place);
}

static void scalar_begins(struct machine *m) {
    m->mode = MODE_IN_SCALAR;
    m->number = 0;
    m->fraction = m->no_number = false;
}

static void scalar_ends(struct machine *m) {
    /* a zero says nothing: some servers repeat a usage with half of its fields emptied */
    if (m->target < FIELD__MAX && !m->no_number && m->number)
        m->raw[m->target] = m->number;
    m->mode = MODE_AFTER;
}

static const unsigned char *step_scalar(struct machine *m, const unsigned char *p,
                                        const unsigned char *end) {
    const int64_t most = INT64_C(1000000000); /* no call has as many: not a number to bill by */
    for (; p < end; p++) {
        unsigned char c = *p;
        if (c >= '0' && c <= '9') {
            if (!m->fraction)
                m->number = m->number < most ? m->number * 10 + (c - '0') : most;
            m->no_number |= m->number >= most;
        } else if (c == '.') {
            m->fraction = true;
        } else if (c == '-' || c == '+' || (c >= 'a' && c <= 'z') || c == 'E') {
            m->no_number = true;
        } else {
            scalar_ends(m);
            return p;
        }
    }
    return p;
}

static void value_begins(struct scan *s, struct machine *m, unsigned char c) {
    if (c == ']') {
        container_ends(s, m, true);
        return;
    }
    if (in_array(m) && here(m) == PLACE_CHOICE)
        m->choices_full = true;
    if (c == '{' || c == '[')
        container_begins(s, m, c == '[');
    else if (c == '"')
        string_begins(m, MODE_IN_STRING);
    else if (c == '-' || (c >= '0' && c <= '9') || c == 't' || c == 'f' || c == 'n')
        scalar_begins(m);
    else
        m->mode = MODE_OVER;
}

/* One byte of the grammar between names and values. */
static const unsigned char *step_grammar(struct scan *s, struct machine *m,
                                         const unsigned char *p) {
    unsigned char c = *p;
    if (c == ' ' || c == '\n' || c == '\r' || c == '\t')
        return p + 1;
    if (m->mode == MODE_VALUE) {
        value_begins(s, m, c);
        return p + (m->mode != MODE_IN_SCALAR); /* its first byte counts too */
    }
    if (m->mode == MODE_NAME && c == '"')
        string_begins(m, MODE_IN_NAME);
    else if (m->mode == MODE_COLON && c == ':')
        m->mode = MODE_VALUE;
    else if (m->mode == MODE_AFTER && c == ',')
        m->mode = in_array(m) ? MODE_VALUE : MODE_NAME;
    else if ((m->mode == MODE_NAME || m->mode == MODE_AFTER) && c == '}')
        container_ends(s, m, false);
    else if (m->mode == MODE_AFTER && c == ']')
        container_ends(s, m, true);
    else
        m->mode = MODE_OVER;
    return p + 1;
}

/* Passes what nobody asked for: only nesting and strings matter. */
static const unsigned char *step_skip(struct machine *m, const unsigned char *p,
                                      const unsigned char *end) {
    static const bool stops[256] = {
        ['"'] = true, ['{'] = true, ['['] = true, ['}'] = true, [']'] = true};
    while (p < end) {
        unsigned char c = *p++;
        if (!stops[c])
            continue;
        if (c == '"') {
            m->mode = MODE_SKIP_STRING;
            return p;
        }
        if (c == '{' || c == '[')
            m->skip_depth++;
        else
            m->skip_depth--;
        if (m->skip_depth == 0) {
            m->mode = MODE_AFTER;
            return p;
        }
    }
    return p;
}

static const unsigned char *step_skip_string(struct machine *m, const unsigned char *p,
                                             const unsigned char *end) {
    if (m->escape) {
        m->escape = 0;
        return p + 1;
    }
    p = plain_until(p, end, '"', '\\');
    if (p == end)
        return p;
    if (*p == '\\')
        m->escape = 1;
    else
        m->mode = MODE_SKIP;
    return p + 1;
}

void scan_init(struct scan *s, enum dialect d) {
    *s = (struct scan){.dialect = d};
    scan_begin(s);
}

void scan_begin(struct scan *s) {
    struct machine *m = machine_of(s);
    s->saw_usage_only = s->saw_error = false;
    m->mode = MODE_VALUE;
    m->depth = 0;
    m->escape = 0;
    m->choices = m->choices_full = m->usage_here = m->audio = false;
    m->searches = 0;
}

void scan_feed(struct scan *s, struct str text) {
    struct machine *m = machine_of(s);
    const unsigned char *p = (const unsigned char *)text.p, *end = p + text.n;
    while (p < end) {
        switch ((enum mode)m->mode) {
        case MODE_VALUE:
        case MODE_NAME:
        case MODE_COLON:
        case MODE_AFTER:
            p = step_grammar(s, m, p);
            break;
        case MODE_IN_NAME:
        case MODE_IN_STRING:
            p = step_string(s, m, p, end);
            break;
        case MODE_IN_SCALAR:
            p = step_scalar(m, p, end);
            break;
        case MODE_SKIP:
            p = step_skip(m, p, end);
            break;
        case MODE_SKIP_STRING:
            p = step_skip_string(m, p, end);
            break;
        case MODE_OVER:
            return;
        }
    }
}

void scan_finish(struct scan *s) {
    struct machine *m = machine_of(s);
    s->saw_usage_only = m->usage_here && m->choices && !m->choices_full;
    if (m->usage_here && m->searches)
        s->usage.tool_searches = m->searches;
}

void scan_event(struct scan *s, struct str data) {
    scan_begin(s);
    if (str_eq(str_trim(data), STR("[DONE]")))
        s->terminal = true;
    else
        scan_feed(s, data);
    scan_finish(s);
}

int64_t scan_text_tokens(const struct scan *s) {
    return estimate_total(&s->text);
}

#include "domain/billing/estimate.h"
#include "relay/sandbox_parts.h"

#define MAX_SCHEMA_DEPTH 12
#define MAX_PIECE 64
#define VECTOR_ONE 100000000

int64_t sandbox_tokens(struct str text) {
    int64_t n = estimate_tokens(text);
    return n ? n : 1;
}

bool sandbox_is(const struct json *o, const char *name, const char *value) {
    const struct json *m = json_get(o, name);
    return json_type_of(m) == JSON_STRING && str_ieq(json_str(m), str_c(value));
}

int64_t sandbox_int(const struct json *o, const char *name, int64_t min, int64_t max,
                    int64_t absent) {
    const struct json *m = json_get(o, name);
    if (json_type_of(m) != JSON_INT || json_int(m) < min || json_int(m) > max)
        return absent;
    return json_int(m);
}

void sandbox_text(struct buf *out, const struct json *content) {
    if (json_type_of(content) == JSON_STRING)
        buf_str(out, json_str(content));
    for (size_t i = 0; i < json_length(content); i++) {
        const struct json *part = json_at(content, i), *text = json_get(part, "text");
        if (json_type_of(part) == JSON_STRING)
            text = part;
        if (json_type_of(text) != JSON_STRING)
            continue;
        if (out->n)
            buf_putc(out, '\n');
        buf_str(out, json_str(text));
    }
}

bool sandbox_piece(struct str *text, struct str *piece) {
    size_t n = 0;
    while (n < text->n && text->p[n] == ' ')
        n++;
    while (n < text->n && text->p[n] != ' ' && n < MAX_PIECE)
        n++;
    while (n < text->n && ((unsigned char)text->p[n] & 0xC0) == 0x80)
        n++;
    *piece = str_sub(*text, 0, n);
    *text = str_from(*text, n);
    return n > 0;
}

void sandbox_base64(struct buf *out, const void *p, size_t n) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *b = p;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)b[i] << 16;
        v |= i + 1 < n ? (uint32_t)b[i + 1] << 8 : 0;
        v |= i + 2 < n ? b[i + 2] : 0;
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63],
                        i + 1 < n ? digits[v >> 6 & 63] : '=', i + 2 < n ? digits[v & 63] : '='};
        buf_put(out, four, sizeof four);
    }
}

struct fitting {
    struct buf *out;
    const struct json *root;
    int depth;
};

static void fit(const struct fitting *f, const struct json *schema);

/* "#/$defs/Name" */
static const struct json *resolve(const struct json *root, struct str ref) {
    struct str part;
    if (!str_cut(&ref, '/', &part) || !str_eq(part, STR("#")))
        return NULL;
    const struct json *at = root;
    while (at && str_cut(&ref, '/', &part)) {
        char *name AUTO(base_freep) = str_dup(part);
        at = json_get(at, name);
    }
    return at;
}

static struct str type_of(const struct json *schema) {
    const struct json *type = json_get(schema, "type");
    if (json_length(type))
        type = json_at(type, 0);
    if (json_type_of(type) == JSON_STRING)
        return json_str(type);
    return json_get(schema, "properties") ? STR("object") : STR("string");
}

static void fit_object(const struct fitting *f, const struct json *schema) {
    const struct json *required = json_get(schema, "required");
    bool more = false;
    buf_putc(f->out, '{');
    for (size_t i = 0; i < json_length(required); i++) {
        const struct json *name = json_at(required, i);
        if (json_type_of(name) != JSON_STRING || f->out->failed)
            continue;
        char *key AUTO(base_freep) = str_dup(json_str(name));
        if (more)
            buf_putc(f->out, ',');
        more = true;
        buf_json(f->out, json_str(name));
        buf_putc(f->out, ':');
        fit(f, json_get(json_get(schema, "properties"), key));
    }
    buf_putc(f->out, '}');
}

static void fit_type(const struct fitting *f, const struct json *schema) {
    struct str type = type_of(schema);
    if (str_ieq(type, STR("object"))) {
        fit_object(f, schema);
    } else if (str_ieq(type, STR("array"))) {
        buf_putc(f->out, '[');
        fit(f, json_get(schema, "items"));
        buf_putc(f->out, ']');
    } else if (str_ieq(type, STR("integer")) || str_ieq(type, STR("number"))) {
        const struct json *min = json_get(schema, "minimum");
        if (json_type_of(min) == JSON_INT || json_type_of(min) == JSON_DOUBLE)
            json_write(f->out, min);
        else
            buf_putc(f->out, '1');
    } else if (str_ieq(type, STR("boolean"))) {
        buf_puts(f->out, "true");
    } else if (str_ieq(type, STR("null"))) {
        buf_puts(f->out, "null");
    } else {
        buf_puts(f->out, "\"sandbox\"");
    }
}

/* A client's schema may refer to itself; the depth ends it. */
static void fit(const struct fitting *f, const struct json *schema) {
    static const char *const choices[] = {"enum", "anyOf", "oneOf", "allOf"};
    struct fitting deeper = {f->out, f->root, f->depth + 1};
    const struct json *fixed = json_get(schema, "const"), *ref = json_get(schema, "$ref");
    if (f->out->failed) /* the size ends a schema that multiplies */
        return;
    if (f->depth >= MAX_SCHEMA_DEPTH || !schema) {
        buf_puts(f->out, "null");
        return;
    }
    if (fixed) {
        json_write(f->out, fixed);
        return;
    }
    if (json_type_of(ref) == JSON_STRING) {
        fit(&deeper, resolve(f->root, json_str(ref)));
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(choices); i++) {
        const struct json *list = json_get(schema, choices[i]);
        if (!json_length(list))
            continue;
        if (i == 0)
            json_write(f->out, json_at(list, 0));
        else
            fit(&deeper, json_at(list, 0));
        return;
    }
    fit_type(&deeper, schema);
}

void sandbox_fit_schema(struct buf *out, const struct json *schema) {
    fit(&(struct fitting){out, schema, 0}, schema);
}

static uint64_t fnv(uint64_t h, const void *p, size_t n) {
    const uint8_t *b = p;
    for (size_t i = 0; i < n; i++)
        h = (h ^ b[i]) * UINT64_C(0x100000001B3);
    return h;
}

static uint64_t root_of(uint64_t v) {
    uint64_t r = 0;
    for (uint64_t bit = UINT64_C(1) << 31; bit; bit >>= 1)
        if ((r | bit) * (r | bit) <= v)
            r |= bit;
    return r;
}

void sandbox_vector(struct str text, int32_t *out, size_t n) {
    uint64_t h = fnv(UINT64_C(0xCBF29CE484222325), text.p, text.n), sum = 0;
    for (size_t i = 0; i < n; i++) {
        h = fnv(h, &(uint32_t){(uint32_t)i}, sizeof(uint32_t));
        out[i] = (int32_t)(h >> 33 & 0xFFFF) - 0x8000;
        sum += (uint64_t)((int64_t)out[i] * out[i]);
    }
    int64_t length = (int64_t)root_of(sum);
    if (!length)
        length = 1;
    for (size_t i = 0; i < n; i++)
        out[i] = (int32_t)((int64_t)out[i] * VECTOR_ONE / length);
}

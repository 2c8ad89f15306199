#include "api/api.h"

#include "door/json.h"

#include <stdarg.h>
#include <stdio.h>

#define MAX_REPLY ((size_t)16 * 1024 * 1024)
#define MAX_HEADERS 4096

void api_reply_init(struct api_reply *reply) {
    *reply = (struct api_reply){
        .status = 200, .content_type = "application/json", .body = BUF(MAX_REPLY)};
    reply->headers = BUF(MAX_HEADERS);
}

void api_reply_free(struct api_reply *reply) {
    buf_free(&reply->body);
    buf_free(&reply->headers);
}

void api_ok(struct api_reply *reply) {
    buf_puts(&reply->body, "{\"success\":true,\"message\":\"\"}");
}

struct buf *api_data(struct api_reply *reply) {
    buf_puts(&reply->body, "{\"success\":true,\"message\":\"\",\"data\":");
    return &reply->body;
}

void api_data_end(struct api_reply *reply) {
    buf_putc(&reply->body, '}');
}

void api_header(struct api_reply *reply, const char *name, const char *fmt, ...) {
    char value[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(value, sizeof value, fmt, ap);
    va_end(ap);
    must(n >= 0 && (size_t)n < sizeof value && !strpbrk(value, "\r\n"));
    buf_printf(&reply->headers, "%s: %s\r\n", name, value);
}

static bool is_json(struct str content_type) {
    struct str type;
    return !content_type.n ||
           (str_cut(&content_type, ';', &type) && str_ieq(str_trim(type), STR("application/json")));
}

enum err api_body(struct api_request *req, const char *const *known, struct json **out,
                  struct fault *f) {
    *out = NULL;
    if (!is_json(req->content_type))
        return fault_set(f, ERR_BODY_TYPE, "%.*s",
                         (int)(req->content_type.n < 100 ? req->content_type.n : 100),
                         req->content_type.p);
    struct json *tree AUTO(json_free) = NULL;
    enum err e = json_parse(req->body, &tree, f);
    if (e != OK)
        return e;
    if (json_type_of(tree) != JSON_OBJECT)
        return fault_set(f, ERR_FIELD_TYPE, "the body must be an object");
    if (known)
        e = json_only(tree, known, f);
    if (e != OK)
        return e;
    *out = tree;
    tree = NULL;
    return OK;
}

enum err api_query(struct api_request *req, const char *name, struct str *out, struct fault *f) {
    struct str raw;
    *out = STR("");
    if (!str_query_get(req->query, str_c(name), &raw) || !raw.n)
        return OK;
    char *text = arena_alloc(req->mem, raw.n + 1);
    ptrdiff_t n = str_url_decode(raw, text, raw.n);
    *out = str_of(text, n > 0 ? (size_t)n : 0);
    if (n < 0 || !str_utf8_ok(*out) || memchr(text, '\0', (size_t)n))
        return fault_field(f, ERR_FIELD_VALUE, name, "%s", name);
    return OK;
}

static int64_t query_int(const struct api_request *req, const char *const names[], size_t n,
                         int64_t absent) {
    for (size_t i = 0; i < n; i++) {
        struct str raw;
        int64_t v;
        if (str_query_get(req->query, str_c(names[i]), &raw) && str_i64(raw, &v) && v != 0)
            return v;
    }
    return absent;
}

#define MAX_PAGE INT64_C(1000000000)
#define MAX_PAGE_SIZE 100
#define PAGE_SIZE 10

struct api_page api_page(const struct api_request *req) {
    static const char *const page[] = {"p"}, *const size[] = {"page_size", "ps", "size"};
    struct api_page p = {query_int(req, page, ARRAY_LEN(page), 1),
                         query_int(req, size, ARRAY_LEN(size), PAGE_SIZE), 0};
    p.page = p.page < 1 ? 1 : p.page > MAX_PAGE ? MAX_PAGE : p.page;
    p.size = p.size < 1 ? PAGE_SIZE : p.size > MAX_PAGE_SIZE ? MAX_PAGE_SIZE : p.size;
    p.offset = (p.page - 1) * p.size;
    return p;
}

void api_page_begin(struct buf *out, const struct api_page *p, int64_t total) {
    buf_printf(out,
               "{\"page\":%lld,\"page_size\":%lld,\"total\":%lld,\"items\":", (long long)p->page,
               (long long)p->size, (long long)total);
}

#include "api/handlers.h"

#include "api/token_json.h"
#include "domain/routing/choose.h"

static enum err put_page(struct api_request *req, struct api_reply *reply, const struct api_page *p,
                         const struct key_list *list) {
    struct buf *out = api_data(reply);
    api_page_begin(out, p, list->total);
    buf_putc(out, '[');
    for (size_t i = 0; i < list->n; i++) {
        if (i)
            buf_putc(out, ',');
        enum err e = token_json(req, &list->items[i], out);
        if (e != OK)
            return e;
    }
    buf_puts(out, "]}");
    api_data_end(reply);
    return OK;
}

enum err token_list(struct api_request *req, struct api_reply *reply, struct fault *f) {
    (void)f;
    struct api_page p = api_page(req);
    struct key_list list;
    enum err e = key_page(req->db, req->user_id, p.offset, p.size, req->mem, &list);
    return e != OK ? e : put_page(req, reply, &p, &list);
}

enum err token_search(struct api_request *req, struct api_reply *reply, struct fault *f) {
    struct api_page p = api_page(req);
    struct key_list list;
    struct str keyword, token;
    enum err e = api_query(req, "keyword", &keyword, f);
    if (e == OK)
        e = api_query(req, "token", &token, f);
    if (e == OK)
        e = key_search(req->db, req->keys, req->user_id, keyword, token, p.offset, p.size, req->mem,
                       &list);
    return e != OK ? e : put_page(req, reply, &p, &list);
}

enum err token_get(struct api_request *req, struct api_reply *reply, struct fault *f) {
    (void)f;
    struct key_view k;
    enum err e = key_get(req->db, req->user_id, req->id[0], req->mem, &k);
    if (e == OK)
        e = token_json(req, &k, api_data(reply));
    api_data_end(reply);
    return e;
}

/* The site's order of "auto", as far as the account may use it: what a key's own list is made from.
 */
enum err token_auto_groups(struct api_request *req, struct api_reply *reply, struct fault *f) {
    (void)f;
    const struct group *const *groups;
    size_t n = catalog_auto_groups(req->catalog, &groups);
    struct buf *out = api_data(reply);
    bool any = false;
    buf_puts(out, "{\"groups\":[");
    for (size_t i = 0; i < n; i++) {
        if (!choose_may_use(req->catalog, req->user_group, groups[i]->name))
            continue;
        if (any)
            buf_putc(out, ',');
        any = true;
        buf_json(out, groups[i]->name);
    }
    buf_printf(out, "],\"max_count\":%d}", KEY_AUTO_GROUPS_MAX);
    api_data_end(reply);
    return OK;
}

/* Nothing in a client's path or query leads out of the provider's base URL. */
#include "fuzz.h"

#include "relay/dialect.h"

static const char *const bases[] = {"https://h.example", "https://h.example/v1",
                                    "http://127.0.0.1:8080/api/paas/v4"};

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    if (!n)
        return 0;
    struct str base = str_c(bases[p[0] / DIALECT__MAX % ARRAY_LEN(bases)]);
    struct str rest = str_of(p + 1, n - 1), path, query, model;
    if (!str_cut(&rest, '\0', &path) || !str_cut(&rest, '\0', &query))
        return 0;
    if (!str_cut(&rest, '\0', &model))
        model = STR("m");
    struct buf out AUTO(buf_free) = BUF(8192);
    if (dialect_url(&out, (enum dialect)(p[0] % DIALECT__MAX), base, path, query, model) != OK)
        return 0;
    struct str url = buf_view(&out), own = str_from(url, base.n), part;
    must(str_starts(url, base) && own.n && own.p[0] == '/');
    for (size_t i = 0; i < url.n; i++)
        must(url.p[i] > ' ' && url.p[i] <= '~' && url.p[i] != '#' && url.p[i] != '\\');
    must(str_cut(&own, '?', &part));
    must(str_find(part, '@') < 0 && str_find_str(part, STR("//")) < 0);
    must(str_find_str(part, STR("/../")) < 0 && !str_ends(part, STR("/..")));
    return 0;
}

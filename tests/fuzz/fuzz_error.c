/* Whatever a provider sends as its error, the client gets an error body of its dialect: JSON, valid
 * UTF-8, capped; and a key in it stays hidden wherever it stands. */
#include "fuzz.h"

#include "door/json.h"
#include "relay/dialect.h"
#include "util/secret.h"

static const char key[] = "sk-proj-Zq0w9E8r7T6y5U4i3O2p";

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    if (!n)
        return 0;
    enum dialect d = (enum dialect)(p[0] % DIALECT__MAX);
    struct buf out AUTO(buf_free) = BUF(2 * DIALECT_ERROR_MAX);
    struct json *tree AUTO(json_free) = NULL;
    dialect_provider_error(&out, d, 400 + p[0], str_of(p + 1, n - 1), STR("req-1"));
    must(!out.failed && out.n <= DIALECT_ERROR_MAX);
    must(json_parse(buf_view(&out), &tree, NULL) == OK);
    must(dialect_ops(d)->own_error(tree) != NULL);

    struct buf text AUTO(buf_free) = BUF(1 << 20), clean AUTO(buf_free) = BUF(1 << 22);
    if (str_find_str(str_of(p, n), str_sub(str_c(key), 0, 12)) >= 0)
        return 0; /* glued to other letters it is another word */
    buf_put(&text, p, n / 2);
    buf_putc(&text, ' ');
    buf_puts(&text, key);
    buf_putc(&text, ' ');
    buf_put(&text, p + n / 2, n - n / 2);
    secret_scrub_foreign(&clean, buf_view(&text));
    must(!clean.failed && str_find_str(buf_view(&clean), str_c(key)) < 0);
    return 0;
}

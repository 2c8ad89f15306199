/* However an answer is cut, the same is found; what is found makes sense. */
#include "fuzz.h"

#include "relay/scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    if (n < 2)
        return 0;
    struct pieces cut = {str_of(p + 2, n - 2), p[1]};
    struct scan whole, parts;
    struct str piece;
    scan_init(&whole, (enum dialect)(p[0] % DIALECT__MAX));
    parts = whole;
    scan_feed(&whole, cut.rest);
    scan_finish(&whole);
    while (next_piece(&cut, &piece))
        scan_feed(&parts, piece);
    scan_finish(&parts);
    must(memcmp(&whole.usage, &parts.usage, offsetof(struct usage, reported)) == 0);
    must(whole.usage.reported == parts.usage.reported);
    must(whole.text_bytes == parts.text_bytes);
    must(scan_text_tokens(&whole) == scan_text_tokens(&parts));
    must(whole.saw_error == parts.saw_error && whole.terminal == parts.terminal);
    must(whole.saw_usage_only == parts.saw_usage_only && strcmp(whole.id, parts.id) == 0);
    must(whole.usage.prompt >= 0 && whole.usage.completion >= 0 && whole.usage.cached >= 0);
    must(whole.usage.cache_write_5m >= 0 && whole.usage.cache_write_1h >= 0);
    must(whole.usage.reported == (whole.usage.prompt > 0 || whole.usage.completion > 0));
    scan_event(&parts, str_of(p + 2, n - 2));
    return 0;
}

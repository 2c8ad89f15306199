#include "relay/dialect.h"
#include "relay/scan_parts.h"

struct usage scan_normalise(enum dialect d, const int64_t *raw) {
    struct usage u = dialect_ops(d)->usage(raw);
    u.reported = u.prompt || u.completion;
    return u;
}

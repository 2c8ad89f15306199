#include "relay/scan_parts.h"

struct at {
    struct str member;
    int target;
};

#define PLACE(dialect, place) static const struct at dialect##_##place[] = {
#define AT(name, what) {STR_INIT(name), what},
#define END(dialect, place) \
    }                       \
    ;
#include "relay/scan.def"
#undef PLACE
#undef AT
#undef END

static const struct {
    const struct at *rows;
    size_t n;
} places[DIALECT__MAX][PLACE__MAX] = {
#define PLACE(dialect, place)
#define AT(name, what)
#define END(dialect, place) \
    [DIALECT_##dialect][PLACE_##place] = {dialect##_##place, ARRAY_LEN(dialect##_##place)},
#include "relay/scan.def"
#undef PLACE
#undef AT
#undef END
};

/* Asked for every member of every event: lengths and first bytes tell nearly all apart. */
int scan_find(enum dialect d, enum place place, struct str member) {
    const struct at *row = places[d][place].rows, *end = row + places[d][place].n;
    for (; row < end && member.n; row++)
        if (row->member.n == member.n && row->member.p[0] == member.p[0] &&
            memcmp(row->member.p, member.p, member.n) == 0)
            return row->target;
    return TAKE_NOTHING;
}

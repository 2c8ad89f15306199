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

int scan_find(enum dialect d, enum place place, struct str member) {
    for (size_t i = 0; i < places[d][place].n; i++)
        if (str_eq(places[d][place].rows[i].member, member))
            return places[d][place].rows[i].target;
    return TAKE_NOTHING;
}

#include "domain/billing/estimate.h"

/* What the byte before was. */
enum after {
    AFTER_START,
    AFTER_SPACE,
    AFTER_BREAK, /* end of line */
    AFTER_LOWER,
    AFTER_UPPER,
    AFTER_DIGIT,
    AFTER_PUNCT,
    AFTER_OTHER, /* a character beyond ASCII */
    AFTER__MAX
};

/* What a byte is: ASCII by kind, lead bytes of UTF-8 by the scripts they begin. */
enum kind {
    KIND_SPACE,
    KIND_BREAK,
    KIND_LOWER,
    KIND_UPPER,
    KIND_DIGIT,
    KIND_PUNCT,
    KIND_CONT,   /* 80-BF: paid for by the lead byte */
    KIND_SIGN,   /* C2: Latin-1 signs; E2: dashes, quotes, arrows; EF: full-width forms */
    KIND_LATIN,  /* C3-CD: letters with diacritics, */
    KIND_EAST,   /* but C5: those of Poland, Turkey, Bohemia */
    KIND_GREEK,  /* CE, CF */
    KIND_SLAV,   /* D0-D4: Cyrillic */
    KIND_ARAB,   /* D5-DF: Armenian, Hebrew, Arabic */
    KIND_INDIC,  /* E0: Devanagari, Tamil, Thai... */
    KIND_VIET,   /* E1: Vietnamese letters, also Georgian, Khmer */
    KIND_KANA,   /* E3: kana and CJK punctuation */
    KIND_HAN,    /* E4-E9 */
    KIND_HANGUL, /* EA-ED */
    KIND_ASTRAL, /* F0-F4: emoji, rare Han */
    KIND__MAX
};

/* A class is both in one byte: the row it selects for the next byte, the column of its own. */
#define CLASS(after, kind) (uint8_t)((after) << 5 | (kind))
static_assert(AFTER__MAX <= 8 && KIND__MAX <= 32, "a class is one byte");

#define SP CLASS(AFTER_SPACE, KIND_SPACE)
#define BR CLASS(AFTER_BREAK, KIND_BREAK)
#define LO CLASS(AFTER_LOWER, KIND_LOWER)
#define UP CLASS(AFTER_UPPER, KIND_UPPER)
#define DI CLASS(AFTER_DIGIT, KIND_DIGIT)
#define PU CLASS(AFTER_PUNCT, KIND_PUNCT)
#define CO CLASS(AFTER_OTHER, KIND_CONT)
#define SI CLASS(AFTER_OTHER, KIND_SIGN)
#define LA CLASS(AFTER_OTHER, KIND_LATIN)
#define EA CLASS(AFTER_OTHER, KIND_EAST)
#define GR CLASS(AFTER_OTHER, KIND_GREEK)
#define SL CLASS(AFTER_OTHER, KIND_SLAV)
#define AR CLASS(AFTER_OTHER, KIND_ARAB)
#define IN CLASS(AFTER_OTHER, KIND_INDIC)
#define VI CLASS(AFTER_OTHER, KIND_VIET)
#define KA CLASS(AFTER_OTHER, KIND_KANA)
#define HA CLASS(AFTER_OTHER, KIND_HAN)
#define HG CLASS(AFTER_OTHER, KIND_HANGUL)
#define AS CLASS(AFTER_OTHER, KIND_ASTRAL)

/* clang-format off */
static const uint8_t class_of[256] = {
    /* 00 */ PU, PU, PU, PU, PU, PU, PU, PU, PU, SP, BR, PU, PU, BR, PU, PU,
    /* 10 */ PU, PU, PU, PU, PU, PU, PU, PU, PU, PU, PU, PU, PU, PU, PU, PU,
    /* 20 */ SP, PU, PU, PU, PU, PU, PU, PU, PU, PU, PU, PU, PU, PU, PU, PU,
    /* 30 */ DI, DI, DI, DI, DI, DI, DI, DI, DI, DI, PU, PU, PU, PU, PU, PU,
    /* 40 */ PU, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP,
    /* 50 */ UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, PU, PU, PU, PU, PU,
    /* 60 */ PU, LO, LO, LO, LO, LO, LO, LO, LO, LO, LO, LO, LO, LO, LO, LO,
    /* 70 */ LO, LO, LO, LO, LO, LO, LO, LO, LO, LO, LO, PU, PU, PU, PU, PU,
    /* 80 */ CO, CO, CO, CO, CO, CO, CO, CO, CO, CO, CO, CO, CO, CO, CO, CO,
    /* 90 */ CO, CO, CO, CO, CO, CO, CO, CO, CO, CO, CO, CO, CO, CO, CO, CO,
    /* A0 */ CO, CO, CO, CO, CO, CO, CO, CO, CO, CO, CO, CO, CO, CO, CO, CO,
    /* B0 */ CO, CO, CO, CO, CO, CO, CO, CO, CO, CO, CO, CO, CO, CO, CO, CO,
    /* C0 */ SI, SI, SI, LA, LA, EA, LA, LA, LA, LA, LA, LA, LA, LA, GR, GR,
    /* D0 */ SL, SL, SL, SL, SL, AR, AR, AR, AR, AR, AR, AR, AR, AR, AR, AR,
    /* E0 */ IN, VI, SI, KA, HA, HA, HA, HA, HA, HA, HG, HG, HG, HG, SI, SI,
    /* F0 */ AS, AS, AS, AS, AS, AS, AS, AS, AS, AS, AS, AS, AS, AS, AS, AS,
};
/* clang-format on */

/* Hundredths of a token, in the order of enum kind. Fitted by least squares of the relative error
 * over a few hundred texts. */
/* clang-format off */
static const uint8_t cost[AFTER__MAX][32] = {
    /*               SP  BR  LO  UP  DI  PU  CO SI  LA  EA   GR  SL  AR  IN  VI  KA  HA  HG  AS */
    [AFTER_START] = {40, 60, 60, 73, 60, 71,  0, 90, 80, 100, 90, 59, 71, 59, 60, 65, 69, 74, 150},
    [AFTER_SPACE] = { 3, 60, 64, 72, 116, 78,  0, 86, 86, 100, 91, 81, 51, 42, 64, 70, 79, 99, 163},
    [AFTER_BREAK] = {52,  0, 55, 68, 63, 69,  0, 90, 79, 100, 90, 60, 70, 60, 60, 70, 63, 75, 150},
    [AFTER_LOWER] = {20, 75,  9, 46, 90, 53,  0, 64, 35, 144, 40, 30, 30, 30,  1, 90, 75, 75, 150},
    [AFTER_UPPER] = { 0, 75, 15, 17, 71, 84,  0, 58, 33, 100, 40, 30, 30, 30, 29, 71, 75, 75, 150},
    [AFTER_DIGIT] = {20, 67, 93, 71, 33, 93,  0, 60, 30, 100, 40, 30, 30, 30, 30, 73, 78, 75, 150},
    [AFTER_PUNCT] = {51, 12, 44, 58, 87, 54,  0, 60, 50, 100, 60, 59, 60, 57, 60, 70, 75, 75, 150},
    [AFTER_OTHER] = { 4, 43, 30, 71, 63, 92,  0, 68, 41, 102, 30, 17, 32, 36, 21, 65, 78, 63, 172},
};
/* clang-format on */

/* What a byte costs behind another, by both of them as they lie in memory: for long texts, which
 * are worth its place in the cache. Three times as fast as the two tables above. */
static uint8_t pair_cost[UINT16_MAX + 1];

#define LONG_TEXT 2048

__attribute__((constructor)) static void fill_pairs(void) {
    for (unsigned a = 0; a < 256; a++)
        for (unsigned b = 0; b < 256; b++) {
            const unsigned char bytes[2] = {(unsigned char)a, (unsigned char)b};
            uint16_t pair;
            memcpy(&pair, bytes, sizeof pair);
            pair_cost[pair] = cost[class_of[a] >> 5][class_of[b] & 31];
        }
}

static unsigned cost_at(const unsigned char *p) {
    uint16_t pair;
    memcpy(&pair, p, sizeof pair);
    return pair_cost[pair];
}

/* Of the n bytes behind *p. */
static uint64_t sum_pairs(const unsigned char *p, size_t n) {
    uint64_t even = 0, odd = 0;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        even += cost_at(p + i) + cost_at(p + i + 2) + cost_at(p + i + 4) + cost_at(p + i + 6);
        odd += cost_at(p + i + 1) + cost_at(p + i + 3) + cost_at(p + i + 5) + cost_at(p + i + 7);
    }
    for (; i < n; i++)
        even += cost_at(p + i);
    return even + odd;
}

void estimate_feed(struct estimate *e, struct str text) {
    const unsigned char *p = (const unsigned char *)text.p;
    uint64_t sum = e->sum;
    unsigned last = e->last;
    size_t singly = text.n < LONG_TEXT ? text.n : 1;
    for (size_t i = 0; i < singly; i++) {
        unsigned class = class_of[p[i]];
        sum += cost[last >> 5][class & 31];
        last = class;
    }
    if (singly < text.n) {
        sum += sum_pairs(p, text.n - 1);
        last = class_of[p[text.n - 1]];
    }
    e->sum = sum;
    e->last = (uint8_t)last;
}

void estimate_break(struct estimate *e) {
    e->last = CLASS(AFTER_START, 0);
}

int64_t estimate_total(const struct estimate *e) {
    return (int64_t)((e->sum + 99) / 100);
}

int64_t estimate_tokens(struct str text) {
    struct estimate e = {0};
    estimate_feed(&e, text);
    return estimate_total(&e);
}

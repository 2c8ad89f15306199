/* scan_parts.h - inside scan: the places of scan.def, and the numbers of a usage object as
 * providers give them. */
#pragma once

#include "domain/billing/usage.h"
#include "domain/catalog/catalog.h"
#include "util/str.h"

enum field { /* the numbers of a usage object, as providers give them */
             FIELD_PROMPT,
             FIELD_TOOL_PROMPT, /* Gemini counts it apart */
             FIELD_COMPLETION,
             FIELD_TOTAL,
             FIELD_CACHED,
             FIELD_WRITTEN, /* both lifetimes */
             FIELD_WRITTEN_5M,
             FIELD_WRITTEN_1H,
             FIELD_IMAGE_IN,
             FIELD_AUDIO_IN,
             FIELD_AUDIO_OUT,
             FIELD_REASONING,
             FIELD_SEARCHES,
             FIELD_MODALITY, /* belongs to the modality named beside it */
             FIELD__MAX
};

enum place {
    PLACE_ROOT,
    PLACE_CHOICE,
    PLACE_DELTA,
    PLACE_CALL,
    PLACE_FUNCTION,
    PLACE_INPUT, /* all strings in it are delivered text */
    PLACE_META,
    PLACE_MESSAGE,
    PLACE_RESPONSE,
    PLACE_PAST, /* items whose text was delivered before */
    PLACE_ITEM,
    PLACE_PART,
    PLACE_USAGE,
    PLACE_USAGE_IN,
    PLACE_USAGE_OUT,
    PLACE__MAX
};

enum target { /* what the value of a member is for; below GO_ROOT: a field */
              GO_ROOT = FIELD__MAX,
              GO_CHOICE,
              GO_DELTA,
              GO_CALL,
              GO_FUNCTION,
              GO_INPUT,
              GO_META,
              GO_MESSAGE,
              GO_RESPONSE,
              GO_PAST,
              GO_ITEM,
              GO_PART,
              GO_USAGE,
              GO_USAGE_IN,
              GO_USAGE_OUT,
              GO__MAX,
              TAKE_NOTHING = GO__MAX,
              TAKE_TEXT,
              TAKE_ID,
              TAKE_TYPE,
              TAKE_CALL, /* the type of an output item: searches are counted */
              TAKE_MODALITY,
              SEE_ERROR,
              SEE_FINISH,
              SEE_REASON, /* why a choice ended */
};
static_assert((int)GO__MAX - (int)GO_ROOT == (int)PLACE__MAX, "a GO for every place, in its order");

/* What scan.def says of a member at a place: enum field or enum target. Pure. */
int scan_find(enum dialect d, enum place place, struct str member);
/* raw: FIELD__MAX numbers, 0 = not given. `reported` is false in an all-zero usage. Pure. */
struct usage scan_normalise(enum dialect d, const int64_t *raw);

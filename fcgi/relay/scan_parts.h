/* scan_parts.h - inside scan: the numbers of a usage object as providers give them. */
#pragma once

#include "domain/billing/usage.h"
#include "domain/catalog/catalog.h"

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

/* raw: FIELD__MAX numbers, 0 = not given. `reported` is false in an all-zero usage. Pure. */
struct usage scan_normalise(enum dialect d, const int64_t *raw);

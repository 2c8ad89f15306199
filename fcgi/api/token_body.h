/* token_body.h - the body of a create or update of /api/token as key settings. */
#pragma once

#include "api/api.h"
#include "domain/identity/key.h"

struct token_body {
    struct key_settings s; /* texts are in the request's arena */
    int64_t id;            /* update only */
    int64_t status;        /* when has_status */
    int64_t quota_delta, if_remain_quota;
    bool has_status, has_quota_delta, has_if_remain_quota;
    /* Members the base contract does not know: absent means "leave as it is" in an update. */
    bool has_mode, has_scopes, has_rpm, has_tpm, has_concurrency, has_budgets, has_auto_groups;
};

/* ERR_BODY_*, ERR_FIELD_* naming the field, ERR_SCOPE_UNKNOWN. Settings are not judged here. */
must_use enum err token_body_read(struct api_request *req, struct token_body *out, struct fault *f);

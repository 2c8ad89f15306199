/* key_audit.h - changes of keys as audit rows: what was, what is, never a secret. */
#pragma once

#include "domain/audit/audit.h"
#include "domain/identity/key_store.h"

/* who: everything but key_id, kind and detail. */
must_use enum err key_audit_created(struct db *db, const struct audit_event *who, int64_t key_id,
                                    const struct key_settings *s);
/* Only the settings that differ; nothing is written when none does. */
must_use enum err key_audit_changed(struct db *db, const struct audit_event *who,
                                    const struct key_view *before, const struct key_settings *s,
                                    bool disabled);
/* Events without settings: "delete", "reveal", "rotate", "revoke", ... detail may be "". */
must_use enum err key_audit(struct db *db, const struct audit_event *who, int64_t key_id,
                            const char *kind, struct str detail);

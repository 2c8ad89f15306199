/* conf.h - the configuration file: one table of keys (conf.def), from which come this struct, the
 * parser, `tollgatectl config dump` and the manual page tollgate.conf(5).
 *
 * Format: `key = value` a line; `#` at the start of a line or after a blank starts a comment;
 * blanks around are dropped, nothing is quoted. An unknown key, a key given twice or a value out of
 * range is refused with the line's number. A file that sets a secret must not be readable by
 * everybody. Durations take a unit (ms, s, m, h), sizes may take K, M or G; they are stored in ms
 * and bytes. Any thread; nothing is shared.
 */
#pragma once

#include "util/err.h"

#define CONF_STR_MAX 512

enum conf_flag {
    CONF_RELOAD = 1, /* SIGHUP applies it */
    CONF_SECRET = 2, /* never shown */
};

struct conf {
#define CONF_MEMBER_STR(m) char m[CONF_STR_MAX];
#define CONF_MEMBER_LEVEL(m) char m[8];
#define CONF_MEMBER_INT(m) int64_t m;
#define CONF_MEMBER_MS(m) int64_t m;
#define CONF_MEMBER_SIZE(m) int64_t m;
#define CONF_MEMBER_BOOL(m) bool m;
#define CONF(key, member, type, def, min, max, flags, text) CONF_MEMBER_##type(member)
#include "door/conf.def"
#undef CONF
};

/* Every key at its default. */
void conf_defaults(struct conf *c);
/* Reads the file over the defaults. ERR_CONFIG; the fault's detail is "PATH:LINE: what is wrong"
 * and never holds a value of a secret key. *c is unspecified after an error. */
must_use enum err conf_load(const char *path, struct conf *c, struct fault *f);
/* For a reload: as conf_load, but keys not marked reloadable keep old's value; their names are
 * appended to `kept` ("a, b") so that the operator can be told. */
must_use enum err conf_reload(const char *path, const struct conf *old, struct conf *c,
                              struct buf *kept, struct fault *f);
/* "key = value" lines with their texts as comments, in a form that conf_load reads back; secret
 * values are shown as ****. */
void conf_dump(const struct conf *c, struct buf *out);
/* tollgate.conf(5) as roff; docs/tollgate.conf.5 is this text. */
void conf_man(struct buf *out);

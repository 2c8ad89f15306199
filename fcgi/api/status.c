#include "api/status.h"

#include "api/handlers.h"
#include "config.h"
#include "domain/billing/price.h"
#include "domain/catalog/catalog.h"
#include "domain/schema/migrate.h"
#include "door/db.h"
#include "door/json.h"
#include "util/clock.h"

enum kind { TEXT, FLAG, JSON }; /* JSON: the option holds a JSON value, numbers too */

/* Member and option have the same name. */
static const struct {
    const char *name;
    enum kind kind;
    const char *absent; /* as the option would hold it */
} fields[] = {
    {"system_name", TEXT, "Tollgate"},
    {"logo", TEXT, ""},
    {"footer_html", TEXT, ""},
    {"server_address", TEXT, ""},
    {"docs_link", TEXT, ""},
    {"theme", TEXT, "default"},
    {"email_verification", FLAG, "false"},
    {"turnstile_check", FLAG, "false"},
    {"turnstile_site_key", TEXT, ""},
    {"github_oauth", FLAG, "false"},
    {"github_client_id", TEXT, ""},
    {"discord_oauth", FLAG, "false"},
    {"discord_client_id", TEXT, ""},
    {"linuxdo_oauth", FLAG, "false"},
    {"linuxdo_client_id", TEXT, ""},
    {"telegram_oauth", FLAG, "false"},
    {"wechat_login", FLAG, "false"},
    {"oidc_enabled", FLAG, "false"},
    {"oidc_client_id", TEXT, ""},
    {"oidc_authorization_endpoint", TEXT, ""},
    {"passkey_login", FLAG, "false"},
    {"register_enabled", FLAG, "true"},
    {"password_login_enabled", FLAG, "true"},
    {"password_register_enabled", FLAG, "true"},
    {"invitation_required", FLAG, "false"},
    {"display_in_currency", FLAG, "true"},
    {"quota_display_type", TEXT, "USD"},
    {"usd_exchange_rate", JSON, "1"},
    {"price", JSON, "1"},
    {"default_use_auto_group", FLAG, "false"},
    {"self_use_mode_enabled", FLAG, "false"},
    {"demo_site_enabled", FLAG, "false"},
    {"enable_drawing", FLAG, "false"},
    {"enable_task", FLAG, "false"},
    {"enable_data_export", FLAG, "true"},
    {"data_export_default_time", TEXT, "hour"},
    {"chats", JSON, "[]"},
    {"api_info", JSON, "[]"},
    {"announcements", JSON, "[]"},
    {"faq", JSON, "[]"},
    {"HeaderNavModules", TEXT, ""},
    {"SidebarModulesAdmin", TEXT, ""},
    {"setup", FLAG, "true"},
    {"user_agreement_enabled", FLAG, "false"},
    {"privacy_policy_enabled", FLAG, "false"},
    {"checkin_enabled", FLAG, "false"},
    {"key_reveal", TEXT, "endpoint"},
};

/* An option that an operator mistyped must not break every client's start page. */
static void put_json(struct buf *out, struct str text, const char *absent) {
    struct json *tree AUTO(json_free) = NULL;
    if (json_parse(text, &tree, NULL) == OK)
        json_write(out, tree);
    else
        buf_puts(out, absent);
}

void status_write(struct buf *out, const struct catalog *c, int64_t started) {
    buf_puts(out, "{\"version\":");
    buf_json(out, STR(PACKAGE_VERSION));
    buf_printf(out, ",\"start_time\":%lld,\"quota_per_unit\":%lld", (long long)started,
               (long long)QUOTA_PER_USD);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        struct str absent = str_c(fields[i].absent);
        struct str value = catalog_option(c, fields[i].name, absent);
        buf_printf(out, ",\"%s\":", fields[i].name);
        if (fields[i].kind == TEXT)
            buf_json(out, value);
        else if (fields[i].kind == JSON)
            put_json(out, value, fields[i].absent);
        else
            buf_puts(out, catalog_option_bool(c, fields[i].name, str_eqc(absent, "true"))
                              ? "true"
                              : "false");
    }
    buf_putc(out, '}');
}

enum err status_ready(struct db *db, struct fault *f) {
    struct catalog *c AUTO(catalog_unref) = catalog_current();
    if (!c)
        return fault_set(f, ERR_STOPPING, NULL);
    enum err e = db_ping(db);
    return e ? fault_set(f, e, NULL) : schema_check(db, f);
}

static int64_t started_s;

/* Before main: the age of the process, whenever the first request comes. */
__attribute__((constructor)) static void note_start(void) {
    started_s = clock_unix_s();
}

enum err status_get(struct api_request *req, struct api_reply *reply, struct fault *f) {
    (void)f;
    status_write(api_data(reply), req->catalog, started_s);
    api_data_end(reply);
    return OK;
}

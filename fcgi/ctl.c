/* tollgatectl - the operator's command. */
#include "ctl.h"

#include "util/log.h"

#include "config.h"

#include <stdio.h>

#ifndef TOLLGATE_CONF
#define TOLLGATE_CONF "/etc/tollgate/tollgate.conf"
#endif

#define PRICE_OPTIONS                                                                          \
    "[--input-usd-per-m X [--output-usd-per-m X] [--cached-usd-per-m X]"                       \
    " [--cache-write-usd-per-m X] [--cache-write-1h-usd-per-m X] [--image-usd-per-m X]"        \
    " [--audio-usd-per-m X] [--audio-output-usd-per-m X] | --per-call-usd X] [--search-usd X]" \
    " [--display-name S] [--owned-by S] [--max-tokens N]"
#define GROUP_OPTIONS                                                                      \
    "[--ratio X [--for-group G]] [--description S] [--selectable yes|no] [--drain yes|no]" \
    " [--clamp-max-tokens yes|no] [--hard-stop yes|no] [--rpm N] [--tpm N]"                \
    " [--concurrency N]"                                                                   \
    " [--budget day|week|month|total=N[@ZONE],...] [--auto-rank N]"

static const struct ctl_command commands[] = {
    {"migrate", "", ctl_migrate, "[--check] [--dry-run]", "bring the database to this schema"},
    {"config", "check", ctl_config_check, "", "read the configuration and say what is wrong"},
    {"config", "dump", ctl_config_dump, "", "show every key with its value and meaning"},
    {"config", "man", ctl_config_man, "", "print tollgate.conf(5)"},
    {"secrets", "init", ctl_secrets_init, "", "make the pepper and the sealing key"},
    {"secrets", "rotate", ctl_secrets_rotate, "", "add a newer generation of them"},
    {"secrets", "reseal", ctl_secrets_reseal, "",
     "bring what older generations sealed to the newest"},
    {"user", "add", ctl_user_add,
     "--email E [--username U] [--role user|admin|root] [--group G] [--quota N | --usd X]",
     "make an account; the password is a line of standard input"},
    {"user", "limits", ctl_user_limits,
     "USER [--rpm N] [--tpm N] [--concurrency N] [--budget day|week|month|total=N[@ZONE],...]",
     "limit what all keys of an account may do together"},
    {"user", "list", ctl_user_list, "", "show accounts"},
    {"user", "passwd", ctl_user_passwd, "USER", "set a password, a line of standard input"},
    {"user", "enable", ctl_user_enable, "USER", "let an account in again"},
    {"user", "disable", ctl_user_disable, "USER", "ban an account and its keys"},
    {"key", "add", ctl_key_add,
     "--user USER --name N (--quota N | --usd X | --unlimited) [--test] [--group G] [--models A,B]"
     " [--allow-ips LIST] [--days N]",
     "make an API key and print it, this once"},
    {"key", "list", ctl_key_list, "--user USER", "show an account's keys"},
    {"key", "revoke", ctl_key_revoke, "--user USER KEY", "delete a key, at once and for good"},
    {"access-token", "add", ctl_access_token_add, "--user USER --name N [--days N]",
     "make a personal access token and print it, this once"},
    {"group", "add", ctl_group_add, "NAME " GROUP_OPTIONS, "make a group"},
    {"group", "set", ctl_group_set, "NAME " GROUP_OPTIONS, "change a group"},
    {"group", "list", ctl_group_list, "", "show groups"},
    {"model", "add", ctl_model_add, "NAME " PRICE_OPTIONS, "offer a model"},
    {"model", "set", ctl_model_set, "NAME " PRICE_OPTIONS, "change a model or its price"},
    {"model", "list", ctl_model_list, "", "show models and prices"},
    {"channel", "add", ctl_channel_add,
     "--name N --type openai|anthropic|gemini|sandbox --models A,B [--base-url URL] [--groups G,H]"
     " [--priority N] [--weight N] [--mapping FROM=TO,...] [--private] [--key-stdin]",
     "add a provider; its keys are lines of standard input"},
    {"channel", "list", ctl_channel_list, "", "show channels"},
    {"channel", "enable", ctl_channel_enable, "CHANNEL", "use a channel again"},
    {"channel", "disable", ctl_channel_disable, "CHANNEL", "stop using a channel"},
    {"channel", "test", ctl_channel_test, "CHANNEL",
     "ask a provider for its models, with each key"},
    {"channel", "delete", ctl_channel_delete, "CHANNEL", "delete a channel and its keys"},
    {"key", "scan", ctl_key_scan, "[--offline] [--prefix P] PATH...",
     "find keys of this site in files and say which are live"},
    {"service", "add", ctl_service_add,
     "--name N --prefix /PATH --base-url URL [--test-base-url URL] [--per-call-usd X]"
     " [--header NAME] [--key-stdin]",
     "put an HTTP upstream behind API keys; its credential is a line of standard input"},
    {"service", "scope", ctl_service_scope,
     "--service N --name S --allow 'METHOD /PATH,...' [--read-only-name S]",
     "make a scope of a service with its read-only variant (S:read), or change its rules"},
    {"service", "list", ctl_service_list, "", "show services and their scopes"},
    {"service", "delete", ctl_service_delete, "NAME", "delete a service and its scopes"},
    {"audit", "verify", ctl_audit_verify, "", "check that no audit row was changed or removed"},
    {"prices", "import", ctl_prices_import, "[--dry-run] [--only-existing] FILE",
     "take prices from LiteLLM's model_prices_and_context_window.json"},
    {"credit", "", ctl_credit,
     "USER (--quota N | --usd X) --reason S [--take] [--sandbox] [--reference S]"
     " [--source topup|adjustment|refund|gift]",
     "add to an account's balance, or take from it"},
    {"reconcile", "", ctl_reconcile, "[--repair]", "prove that no money is lost or invented"},
    {"rerate", "", ctl_rerate, "--since UNIX_S [--until UNIX_S] --dry-run",
     "recompute past calls by their own prices and by today's"},
    {"option", "list", ctl_option_list, "", "show the site's options"},
    {"option", "set", ctl_option_set, "NAME VALUE", "set an option"},
    {"option", "unset", ctl_option_unset, "NAME", "go back to an option's default"},
};

static void print_command(FILE *to, const struct ctl_command *k) {
    fprintf(to, "  %s%s%s%s%s\n        %s\n", k->family, *k->verb ? " " : "", k->verb,
            *k->synopsis ? " " : "", k->synopsis, k->help);
}

static void print_help(FILE *to, const char *family) {
    fputs("Usage: tollgatectl [--config FILE] [--json] COMMAND\n\n", to);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (!family || strcmp(family, commands[i].family) == 0)
            print_command(to, &commands[i]);
    fputs("\nOptions before the command:\n"
          "  -c, --config FILE  configuration (default " TOLLGATE_CONF ")\n"
          "  -j, --json         answer in JSON\n"
          "  -h, --help         this text; with a command, only its family\n"
          "  -V, --version      the version\n"
          "\n"
          "Exit codes: 0 done, 1 failed or the answer is no, 2 usage, 3 configuration or schema,\n"
          "4 the database cannot be reached.\n",
          to);
}

static bool is_family(const char *word) {
    for (size_t i = 0; word && i < ARRAY_LEN(commands); i++)
        if (strcmp(word, commands[i].family) == 0)
            return true;
    return false;
}

/* The row that the words name; *a is left with what follows. */
static const struct ctl_command *find(struct ctl_args *a) {
    for (size_t i = 0; a->n > 0 && i < ARRAY_LEN(commands); i++) {
        const struct ctl_command *k = &commands[i];
        int words = *k->verb ? 2 : 1;
        if (a->n < words || strcmp(a->v[0], k->family) != 0 ||
            (words == 2 && strcmp(a->v[1], k->verb) != 0))
            continue;
        a->v += words;
        a->n -= words;
        return k;
    }
    return NULL;
}

enum start { START_RUN, START_DONE, START_WRONG };

static bool is_option(const char *word, const char *brief, const char *whole) {
    return strcmp(word, brief) == 0 || strcmp(word, whole) == 0;
}

/* The options before the command. */
static enum start read_globals(struct ctl *c, struct ctl_args *a) {
    bool help = false;
    for (; a->n > 0 && a->v[0][0] == '-'; a->v++, a->n--) {
        const char *word = a->v[0];
        if (is_option(word, "-j", "--json")) {
            c->json = true;
        } else if (is_option(word, "-V", "--version")) {
            puts("tollgatectl " PACKAGE_VERSION);
            return START_DONE;
        } else if (is_option(word, "-h", "--help")) {
            help = true;
        } else if (strncmp(word, "--config=", 9) == 0) {
            c->config = str_c(word + 9);
        } else if (is_option(word, "-c", "--config") && a->n > 1) {
            c->config = str_c(a->v[1]);
            a->v++;
            a->n--;
        } else {
            fault_set(&c->fault, ERR_FIELD_VALUE, "option %s before the command", word);
            return START_WRONG;
        }
    }
    if (!help)
        return START_RUN;
    print_help(stdout, a->n && is_family(a->v[0]) ? a->v[0] : NULL);
    return START_DONE;
}

static bool asks_help(const struct ctl_args *a) {
    for (int i = 0; i < a->n; i++)
        if (strcmp(a->v[i], "--help") == 0)
            return true;
    return false;
}

static enum ctl_exit unknown(struct ctl *c, const struct ctl_args *a) {
    if (a->n == 0) {
        print_help(stderr, NULL);
        return CTL_USAGE;
    }
    const char *family = is_family(a->v[0]) ? a->v[0] : NULL;
    if (family && asks_help(a)) {
        print_help(stdout, family);
        return CTL_OK;
    }
    return ctl_finish(c,
                      fault_set(&c->fault, ERR_FIELD_VALUE, "there is no command '%s%s%s'", a->v[0],
                                family && a->n > 1 ? " " : "", family && a->n > 1 ? a->v[1] : ""));
}

static void close_all(struct ctl *c) {
    host_close(&c->host);
    keyring_free(&c->keys);
    db_free(&c->db);
    buf_free(&c->out);
    explicit_bzero(&c->conf, sizeof c->conf);
}

int main(int argc, char **argv) {
    static struct ctl c = {.config = STR_INIT(TOLLGATE_CONF), .out = {.max = (size_t)256 << 20}};
    struct ctl_args a = {argc - 1, argv + 1};
    enum start s = read_globals(&c, &a);
    if (s == START_DONE)
        return CTL_OK;
    if (s == START_WRONG)
        return (int)ctl_finish(&c, ERR_FIELD_VALUE);
    c.command = find(&a);
    if (!c.command)
        return (int)unknown(&c, &a);
    if (asks_help(&a)) {
        print_command(stdout, c.command);
        return CTL_OK;
    }
    must(log_setup(LOG_ERROR, "-"));
    crypt_init();
    db_library_init();
    enum ctl_exit code = ctl_finish(&c, c.command->run(&c, &a));
    close_all(&c);
    return (int)code;
}

/* tollgate.fcgi - the worker: a FastCGI responder with its front, loop and ledger threads. */
#include "app/app.h"

#include "config.h"

#include <getopt.h>
#include <stdio.h>

#ifndef TOLLGATE_CONF
#define TOLLGATE_CONF "/etc/tollgate/tollgate.conf"
#endif

static const char usage[] =
    "Usage: tollgate.fcgi [--config FILE] [--socket ADDRESS]\n"
    "\n"
    "The FastCGI worker of Tollgate. It serves the listening socket on file descriptor 0 when its\n"
    "parent (lighttpd, spawn-fcgi, systemd) hands one over, else ADDRESS: a unix socket's path or "
    "a\n"
    "loopback address:port.\n"
    "\n"
    "  -c, --config FILE     configuration (default " TOLLGATE_CONF ")\n"
    "  -s, --socket ADDRESS  instead of listen.socket of the configuration\n"
    "  -V, --version         print the version\n"
    "  -h, --help            print this text\n"
    "\n"
    "SIGTERM: finish open requests and stop. SIGHUP: read the configuration again.\n";

int main(int argc, char **argv) {
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"socket", required_argument, NULL, 's'},
                                            {"version", no_argument, NULL, 'V'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    const char *config = TOLLGATE_CONF, *socket = NULL;
    int c;
    while ((c = getopt_long(argc, argv, "c:s:Vh", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            config = optarg;
            break;
        case 's':
            socket = optarg;
            break;
        case 'V':
            fputs(PACKAGE_STRING "\n", stdout);
            return 0;
        case 'h':
            fputs(usage, stdout);
            return 0;
        default:
            fputs(usage, stderr);
            return 2;
        }
    }
    if (optind != argc) {
        fputs(usage, stderr);
        return 2;
    }
    return app_run(config, socket);
}

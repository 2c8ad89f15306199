/* hello - the least a FastCGI program can do: reads the request, answers the same 700 bytes.
 *
 * Started by lighttpd for `scripts/bench relay --full`; the answer comes in BENCH_ANSWER.
 */
#include <fcgiapp.h>
#include <stdlib.h>

int main(void) {
    const char *answer = getenv("BENCH_ANSWER");
    FCGX_Request r;
    if (!answer || FCGX_Init() != 0 || FCGX_InitRequest(&r, 0, 0) != 0)
        return EXIT_FAILURE;
    while (FCGX_Accept_r(&r) == 0) {
        char body[4096];
        while (FCGX_GetStr(body, sizeof body, r.in) == (int)sizeof body)
            ;
        FCGX_FPrintF(r.out, "Content-Type: application/json\r\n\r\n%s", answer);
    }
    return EXIT_SUCCESS;
}

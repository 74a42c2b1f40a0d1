/* The SRV records of a name server's answer: whatever comes, nothing beyond its bytes is read, and what is taken for a
 * host is one.
 *
 * Input: the answer's bytes. */
#include "../../proxy/net/srv_answer.h"
#include "base/mem.h"
#include "fuzz.h"
#include <ctype.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    unsigned char *copy = mem_alloc(n + 1); /* of that size: what reads beyond it is found out */
    memcpy(copy, data, n);
    copy = mem_realloc(copy, n ? n : 1);
    struct srv_answer answer;
    bool good = srv_answer_parse(copy, (int)n, &answer);
    FUZZ_CHECK(good || answer.n == 0);
    FUZZ_CHECK(answer.n <= SRV_RECORDS_MAX);
    FUZZ_CHECK(answer.n || answer.ttl == 0);
    for (size_t i = 0; i < answer.n; i++) {
        const struct srv_record *r = &answer.records[i];
        FUZZ_CHECK(r->port >= 0 && r->port <= 65535 && r->priority <= 65535 && r->weight <= 65535);
        FUZZ_CHECK(*r->host && strlen(r->host) <= 253);
        for (const char *p = r->host; *p; p++)
            FUZZ_CHECK(isalnum((unsigned char)*p) || strchr(".-_", *p));
    }
    srv_answer_free(&answer);
    free(copy);
    return 0;
}

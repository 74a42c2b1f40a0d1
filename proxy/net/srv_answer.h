/* The SRV records of a name server's answer, with the time that they are valid: c-ares before 1.28 parses the records,
 * but does not tell that. Pure. */
#ifndef HOLDFAST_NET_SRV_ANSWER_H
#define HOLDFAST_NET_SRV_ANSWER_H

#include "net/resolver.h"

#define SRV_RECORDS_MAX 64 /* what is beyond is left out */

struct srv_answer {
    struct srv_record *records;
    size_t n;
    unsigned ttl; /* of the record that ends first, aliases on the way included; 0 without records */
};

/* False, with *out empty, if the bytes are no whole answer. Records whose host is no host name are left out. */
bool srv_answer_parse(const unsigned char *bytes, int n, struct srv_answer *out);
void srv_answer_free(struct srv_answer *answer);

#endif

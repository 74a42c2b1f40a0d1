/* Failed logins: limits.login_failures_per_ip, limits.login_failures_per_account. The server sees one address, the
 * proxy's, so whoever guesses passwords must be stopped here. Thread-safe.
 *
 * What counts is how many logins failed within the last minute (each counts down by itself: at a limit of n, one every
 * n-th part of a minute), for three parties:
 *
 *   an address (IPv6: its /64)      from the limit on late, from twice the limit on refused
 *   an account, tried from there    the same
 *   an account, from anywhere       late, never refused: strangers must not lock its owner out
 *
 * Late means 1, 2, 4, then 8 seconds; such a login counts as failed until it has succeeded, so that many at a time do
 * not all get through. A success forgives the account at that address, not the address: who guesses may have an account
 * too. Where an account has logged in from an address before, only its own failures there count for it: who shares an
 * address with somebody who guesses, or is the victim, gets in as ever.
 *
 * Memory is fixed; with more parties at a time those that owe least are forgotten. */
#ifndef HOLDFAST_RUN_LOGIN_GUARD_H
#define HOLDFAST_RUN_LOGIN_GUARD_H

#include "base/clock.h"
#include "session/context.h"

struct login_limits {
    unsigned per_address, per_account; /* failures a minute; 0 = no limit */
};

enum login_limit { LOGIN_LIMIT_NONE, LOGIN_LIMIT_ADDRESS, LOGIN_LIMIT_ACCOUNT };

struct login_verdict {
    bool refused;
    enum login_limit by;    /* what refuses it or makes it late */
    struct login_pass pass; /* for login_guard_ended */
};

struct login_guard;

/* places: parties that are remembered, rounded up. */
struct login_guard *login_guard_new(size_t places);
void login_guard_free(struct login_guard *g);
/* peer as in struct transport. account: of any form, in any case; "" when it is not known. */
struct login_verdict login_guard_ask(struct login_guard *g, const struct login_limits *limits, const char *peer,
                                     const char *account, usec now);
/* How a login ended that was not refused. */
void login_guard_ended(struct login_guard *g, const struct login_limits *limits, const char *peer, const char *account,
                       usec now, const struct login_pass *pass, enum login_end end);

#endif

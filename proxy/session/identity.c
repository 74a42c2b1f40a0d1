/* Who a session is: its full JID and domain, in one piece, as there are many sessions; and its previd, of which only
 * the secret part is kept: the rest of it is how its sid begins. */
#include "base/mem.h"
#include "session_impl.h"
#include "xmpp/jid.h"
#include <stdio.h>

void session_name(struct session *s, struct slice jid, struct slice domain)
{
    s->jid = mem_alloc(jid.n + domain.n + 2);
    snprintf(s->jid, jid.n + 1, "%.*s", SLICE_ARG(jid));
    snprintf(s->jid + jid.n + 1, domain.n + 1, "%.*s", SLICE_ARG(domain));
    s->jid_n = (uint32_t)jid.n;
    s->account_n = (uint32_t)jid_bare(jid).n;
}

char *previd_write(const char *tag, const struct previd_secret *secret, char previd[PREVID_SIZE])
{
    int n = snprintf(previd, PREVID_SIZE, "%.*s-", TAG_SIZE - 1, tag);
    for (size_t i = 0; i < sizeof secret->byte; i++)
        n += snprintf(previd + n, PREVID_SIZE - (size_t)n, "%02x", secret->byte[i]);
    return previd;
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool previd_read(struct slice previd, struct previd_secret *secret_r)
{
    if (previd.n != PREVID_SIZE - 1 || previd.p[TAG_SIZE - 1] != '-')
        return false;
    for (size_t i = 0; i < sizeof secret_r->byte; i++) {
        const char *pair = previd.p + TAG_SIZE + 2 * i;
        int high = digit(pair[0]), low = digit(pair[1]);
        if (high < 0 || low < 0)
            return false;
        secret_r->byte[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

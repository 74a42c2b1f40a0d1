/* Who logs in, as far as the exchange tells: base64 is strict, and a name is known only where it is clear.
 *
 * Input: lines. The first is the mechanism, the others are messages: `c` of the client and `s` of the server, as they
 * stand; `C` and `S` in base64 of their text; `b` for the decoder alone. `0` in a text of C and S is a NUL. */
#include "base/mem.h"
#include "fuzz.h"
#include "xmpp/sasl.h"

static void encode(struct buf *out, struct slice in)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < in.n; i += 3) {
        size_t left = in.n - i < 3 ? in.n - i : 3;
        unsigned v = 0;
        for (size_t k = 0; k < 3; k++)
            v = v << 8 | (k < left ? (unsigned char)in.p[i + k] : 0u);
        for (size_t k = 0; k < 4; k++)
            buf_append(out, k <= left ? &digit[v >> (18 - 6 * k) & 63] : "=", 1);
    }
}

/* What decodes is the one way to write what it decodes to. */
static void try_decoder(struct slice in)
{
    struct buf out = {0}, again = {0};
    BUF_LIT(&out, "before");
    bool ok = sasl_base64_decode(&out, in);
    FUZZ_CHECK(slice_starts(buf_slice(&out), SLICE_LIT("before")) && (ok || out.n == 6));
    encode(&again, slice_skip(buf_slice(&out), 6));
    FUZZ_CHECK(!ok || slice_eq(buf_slice(&again), in));
    buf_free(&out);
    buf_free(&again);
}

static void message(struct sasl_identity *id, struct slice line, struct buf *base64)
{
    char kind = line.n ? line.p[0] : '\0';
    line = slice_skip(line, 1);
    if (kind == 'b' || kind == 'c' || kind == 's')
        try_decoder(line);
    if (kind == 'C' || kind == 'S') {
        char *text = mem_dup(line);
        for (size_t i = 0; i < line.n; i++)
            text[i] = text[i] == '0' ? '\0' : text[i];
        encode(base64, slice_of(text, line.n));
        free(text);
        line = buf_slice(base64);
        struct buf decoded = {0};
        FUZZ_CHECK(sasl_base64_decode(&decoded, line));
        buf_free(&decoded);
    }
    if (kind == 'c' || kind == 'C')
        sasl_feed(id, line);
    else if (kind == 's' || kind == 'S')
        sasl_feed_challenge(id, line);
}

static void check(const struct sasl_identity *id)
{
    FUZZ_CHECK(!id->known || id->authcid);
    FUZZ_CHECK(!id->known || id->mechanism == SASL_PLAIN || id->mechanism == SASL_SCRAM ||
               id->mechanism == SASL_DIGEST_MD5);
    FUZZ_CHECK(!id->known || id->messages <= (id->mechanism == SASL_SCRAM ? 2u : 1u));
    FUZZ_CHECK(!id->authcid || *id->authcid);
    FUZZ_CHECK(!id->authzid || *id->authzid);
    FUZZ_CHECK(!id->realm || (*id->realm && id->mechanism == SASL_DIGEST_MD5));
    FUZZ_CHECK(id->anonymous == (id->mechanism == SASL_ANONYMOUS));
    FUZZ_CHECK(!id->downgrade_hash || id->mechanism == SASL_SCRAM);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = slice_of((const char *)data, n), line;
    struct sasl_identity id = {0};
    if (!fuzz_line(&in, &line))
        return 0;
    sasl_begin(&id, line);
    while (fuzz_line(&in, &line)) {
        struct buf base64 = {0};
        message(&id, line, &base64);
        buf_free(&base64);
        check(&id);
    }
    sasl_begin(&id, SLICE_LIT("PLAIN"));
    FUZZ_CHECK(!id.authcid && !id.authzid && !id.realm && !id.known && !id.messages);
    sasl_feed(&id, SLICE_LIT("AHJvbWVvAHNlY3JldA==")); /* an exchange of before leaves nothing behind */
    FUZZ_CHECK(id.known && strcmp(id.authcid, "romeo") == 0 && !id.authzid);
    sasl_reset(&id);
    return 0;
}

/* The line: "holdfast-peer/1 hops=1 sid=... h=5 account=... node=... client=...\n". Unknown names are skipped, so that
 * a later node may tell more; what an older one must not misunderstand gets another version. */
#include "cluster/peer.h"
#include "base/mem.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define SIGNATURE "holdfast-peer/"
#define VERSION   "1"

/* ---- writing ---- */

static bool is_plain(char c)
{
    return c > ' ' && c < 0x7f && c != '%';
}

/* Everything but visible ASCII as %XX: so a value holds no space and no line end. */
static void write_value(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, " %s=", name);
    for (; *value; value++) {
        if (is_plain(*value))
            buf_append(out, value, 1);
        else
            buf_printf(out, "%%%02X", (unsigned char)*value);
    }
}

void peer_hello_write(struct buf *out, const struct peer_hello *hello)
{
    buf_printf(out, SIGNATURE VERSION " hops=%u h=%" PRIu32, hello->hops, hello->h);
    write_value(out, "sid", hello->sid);
    write_value(out, "account", hello->account);
    write_value(out, "node", hello->node);
    write_value(out, "client", hello->client);
    BUF_LIT(out, "\n");
}

void peer_refusal_write(struct buf *out, const char *reason)
{
    buf_printf(out, "<refused xmlns='" NS_PEER "' reason='%s'/>", reason);
}

/* ---- reading ---- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* NULL: malformed, or with a NUL in it. */
static char *read_value(struct slice text)
{
    struct buf out = {0};
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == '%') {
            int high = i + 2 < text.n ? hex_digit(text.p[i + 1]) : -1, low = high < 0 ? -1 : hex_digit(text.p[i + 2]);
            c = low < 0 ? '\0' : (char)(high * 16 + low);
            i += 2;
        } else if (!is_plain(c)) {
            c = '\0';
        }
        if (!c) {
            buf_free(&out);
            return NULL;
        }
        buf_append(&out, &c, 1);
    }
    return buf_steal(&out);
}

static bool read_number(struct slice text, uint32_t *out)
{
    uint64_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9' || i >= 10)
            return false;
        n = n * 10 + (uint64_t)(text.p[i] - '0');
    }
    *out = (uint32_t)n;
    return text.n > 0 && n <= UINT32_MAX;
}

/* What has been read of a line. */
struct reading {
    struct peer_hello hello;
    uint32_t hops;
    char *sid, *client;
    bool has_h;
};

static bool read_text(char **field, struct slice text)
{
    if (*field)
        return false; /* told twice */
    *field = read_value(text);
    return *field != NULL;
}

static bool read_field(struct reading *r, struct slice name, struct slice value)
{
    if (slice_eq_str(name, "hops"))
        return !r->hops && read_number(value, &r->hops) && r->hops > 0;
    if (slice_eq_str(name, "h"))
        return !r->has_h && (r->has_h = read_number(value, &r->hello.h));
    if (slice_eq_str(name, "sid"))
        return read_text(&r->sid, value);
    if (slice_eq_str(name, "account"))
        return read_text(&r->hello.account, value);
    if (slice_eq_str(name, "node"))
        return read_text(&r->hello.node, value);
    if (slice_eq_str(name, "client"))
        return read_text(&r->client, value);
    return name.n > 0;
}

static bool read_fields(struct reading *r, struct slice rest)
{
    while (rest.n) {
        if (rest.p[0] != ' ')
            return false;
        rest = slice_skip(rest, 1);
        const char *space = memchr(rest.p, ' ', rest.n);
        struct slice field = slice_of(rest.p, space ? (size_t)(space - rest.p) : rest.n);
        const char *equals = field.n ? memchr(field.p, '=', field.n) : NULL;
        if (!equals)
            return false;
        struct slice name = slice_of(field.p, (size_t)(equals - field.p));
        if (!read_field(r, name, slice_skip(field, name.n + 1)))
            return false;
        rest = slice_skip(rest, field.n);
    }
    return true;
}

static bool is_sid(const char *text)
{
    return strlen(text) == SID_SIZE - 1 && strspn(text, "0123456789abcdef") == SID_SIZE - 1;
}

static bool is_visible(const char *text)
{
    while (is_plain(*text))
        text++;
    return !*text;
}

static bool is_complete(const struct reading *r)
{
    return r->hops && r->has_h && r->sid && is_sid(r->sid) && r->hello.account && r->hello.account[0] &&
           r->hello.node && r->hello.node[0] && r->client && strlen(r->client) < PEER_CLIENT_SIZE &&
           is_visible(r->client);
}

static enum peer_hello_result read_line(struct slice rest, struct peer_hello *hello)
{
    struct reading r = {0};
    enum peer_hello_result result = PEER_HELLO_BAD;
    if (read_fields(&r, rest) && is_complete(&r))
        result = r.hops > PEER_HOPS ? PEER_HELLO_HOPS : PEER_HELLO_OK;
    if (result == PEER_HELLO_OK) {
        *hello = r.hello;
        hello->hops = r.hops;
        snprintf(hello->sid, sizeof hello->sid, "%s", r.sid);
        snprintf(hello->client, sizeof hello->client, "%s", r.client);
    } else {
        peer_hello_clear(&r.hello);
    }
    free(r.sid);
    free(r.client);
    return result;
}

enum peer_hello_result peer_hello_read(struct slice bytes, struct peer_hello *hello)
{
    const struct slice signature = SLICE_LIT(SIGNATURE), version = SLICE_LIT(VERSION " ");
    size_t known = bytes.n < signature.n ? bytes.n : signature.n;
    const char *end = bytes.n ? memchr(bytes.p, '\n', bytes.n) : NULL;
    if (bytes.n > PEER_HELLO_MAX || (known && memcmp(bytes.p, signature.p, known) != 0))
        return PEER_HELLO_BAD;
    if (!end)
        return PEER_HELLO_MORE;
    if (end + 1 != bytes.p + bytes.n)
        return PEER_HELLO_BAD;
    struct slice line = slice_skip(slice_of(bytes.p, bytes.n - 1), signature.n);
    if (!slice_starts(line, version))
        return line.n && line.p[0] >= '0' && line.p[0] <= '9' ? PEER_HELLO_VERSION : PEER_HELLO_BAD;
    return read_line(slice_skip(line, version.n - 1), hello);
}

void peer_hello_clear(struct peer_hello *hello)
{
    free(hello->account);
    free(hello->node);
    hello->account = hello->node = NULL;
}

#include "base/json.h"

/* Length of the well-formed UTF-8 character (RFC 3629) at the start of s, 0 when there is none. */
static size_t utf8_length(struct slice s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (n > s.n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    /* over-long forms, surrogates, and what is above U+10FFFF show in the second byte */
    bool wrong = n > 1 && ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
                           (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f));
    return wrong ? 0 : n;
}

void json_quote(struct buf *b, struct slice s)
{
    BUF_LIT(b, "\"");
    for (size_t n; s.n; s = slice_skip(s, n)) {
        unsigned char c = (unsigned char)s.p[0];
        n = utf8_length(s);
        if (n == 0) {
            BUF_LIT(b, "\\ufffd");
            n = 1;
        } else if (c == '"' || c == '\\') {
            buf_printf(b, "\\%c", c);
        } else if (c == '\n') {
            BUF_LIT(b, "\\n");
        } else if (c < 0x20 || c == 0x7f) {
            buf_printf(b, "\\u%04x", c);
        } else {
            buf_append(b, s.p, n);
        }
    }
    BUF_LIT(b, "\"");
}

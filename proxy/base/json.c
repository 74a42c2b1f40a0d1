#include "base/json.h"
#include "base/utf8.h"

void json_quote(struct buf *b, struct slice s)
{
    BUF_LIT(b, "\"");
    for (size_t n; s.n; s = slice_skip(s, n)) {
        unsigned char c = (unsigned char)s.p[0];
        n = utf8_size(s);
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

#include "net/http.h"
#include "base/mem.h"
#include "net/address.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool is_token_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_token_char(s.p[i]))
            return false;
    return s.n > 0;
}

static bool is_visible(struct slice s, bool blanks)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' ? !(blanks && (s.p[i] == ' ' || s.p[i] == '\t')) : s.p[i] == '\x7f')
            return false;
    return true;
}

static struct slice trimmed(struct slice s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = slice_skip(s, 1);
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/* Cuts what is ahead of the mark off the front of rest, and the mark too; all of it where there is none. */
static struct slice cut(struct slice *rest, char mark)
{
    const char *at = rest->n ? memchr(rest->p, mark, rest->n) : NULL;
    struct slice front = slice_of(rest->p, at ? (size_t)(at - rest->p) : rest->n);
    *rest = slice_skip(*rest, front.n + (at != NULL));
    return front;
}

static bool read_first_line(struct slice line, struct http_request *out)
{
    out->method = cut(&line, ' ');
    struct slice target = cut(&line, ' ');
    out->path = cut(&target, '?');
    if (!is_token(out->method) || !out->path.n || out->path.p[0] != '/' || !is_visible(out->path, false) ||
        !is_visible(target, false))
        return false;
    if (line.n != 8 || memcmp(line.p, "HTTP/1.", 7) != 0 || (line.p[7] != '0' && line.p[7] != '1'))
        return false;
    out->minor = (unsigned)(line.p[7] - '0');
    return true;
}

static const char *read_header(struct slice line, struct http_request *out)
{
    struct slice name = cut(&line, ':');
    if (!is_token(name) || line.p != name.p + name.n + 1 || !is_visible(line, true))
        return "a header line is malformed";
    if (out->header_count == HTTP_HEADERS_MAX)
        return "too many headers";
    out->headers[out->header_count++] = (struct http_header){name, trimmed(line)};
    return NULL;
}

/* The next line, which ends with CRLF alone; false when it is incomplete. */
static bool next_line(struct slice *rest, struct slice *line)
{
    const char *end = memmem(rest->p, rest->n, "\r\n", 2);
    if (!end)
        return false;
    *line = slice_of(rest->p, (size_t)(end - rest->p));
    *rest = slice_skip(*rest, line->n + 2);
    return true;
}

enum http_result http_request_parse(struct slice bytes, struct http_request *out)
{
    struct slice rest = slice_of(bytes.p, bytes.n < HTTP_HEAD_MAX ? bytes.n : HTTP_HEAD_MAX), line;
    out->header_count = 0;
    out->fault = NULL;
    for (bool first = true; next_line(&rest, &line); first = false) {
        if (first && !read_first_line(line, out))
            out->fault = "the request line is malformed";
        else if (!first && line.n == 0) {
            out->size = (size_t)(rest.p - bytes.p);
            return HTTP_DONE;
        } else if (!first) {
            out->fault = read_header(line, out);
        }
        if (out->fault)
            return HTTP_BAD;
    }
    return bytes.n < HTTP_HEAD_MAX ? HTTP_MORE : HTTP_TOO_LARGE;
}

static bool is_named(const struct http_header *h, const char *name)
{
    return h->name.n == strlen(name) && strncasecmp(h->name.p, name, h->name.n) == 0;
}

struct slice http_header(const struct http_request *r, const char *name)
{
    struct slice found = SLICE_NONE;
    for (size_t i = 0; i < r->header_count; i++) {
        if (is_named(&r->headers[i], name) && found.p)
            return SLICE_NONE;
        if (is_named(&r->headers[i], name))
            found = r->headers[i].value;
    }
    return found;
}

bool http_has_header(const struct http_request *r, const char *name)
{
    for (size_t i = 0; i < r->header_count; i++)
        if (is_named(&r->headers[i], name))
            return true;
    return false;
}

bool http_has_token(const struct http_request *r, const char *name, const char *token)
{
    for (size_t i = 0; i < r->header_count; i++) {
        struct slice rest = r->headers[i].value;
        while (is_named(&r->headers[i], name) && rest.n) {
            struct slice one = trimmed(cut(&rest, ','));
            if (one.n == strlen(token) && strncasecmp(one.p, token, one.n) == 0)
                return true;
        }
    }
    return false;
}

/* --- Forwarded addresses --- */

/* "192.0.2.1", "192.0.2.1:4711", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:4711"; the port is of no use. */
static struct endpoint read_address(struct slice text)
{
    char host[64];
    struct address a;
    if (!text.n)
        return (struct endpoint){0};
    const char *colon = memchr(text.p, ':', text.n);
    if (text.p[0] == '[') {
        const char *end = memchr(text.p, ']', text.n);
        text = end ? slice_of(text.p + 1, (size_t)(end - text.p - 1)) : SLICE_NONE;
    } else if (colon && !memchr(colon + 1, ':', (size_t)(text.p + text.n - colon - 1))) {
        text.n = (size_t)(colon - text.p);
    }
    if (!text.n || text.n >= sizeof host)
        return (struct endpoint){0};
    memcpy(host, text.p, text.n);
    host[text.n] = '\0';
    return address_parse(&a, host, 0) ? address_endpoint(&a) : (struct endpoint){0};
}

/* The `for` of one element of a Forwarded header. */
static struct slice forwarded_for(struct slice element)
{
    while (element.n) {
        struct slice value = cut(&element, ';'), name = trimmed(cut(&value, '='));
        if (name.n == 3 && strncasecmp(name.p, "for", 3) == 0) {
            value = trimmed(value);
            bool quoted = value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"';
            return quoted ? slice_of(value.p + 1, value.n - 2) : value;
        }
    }
    return SLICE_NONE;
}

static bool is_among(const struct network *list, size_t n, const struct endpoint *e)
{
    for (size_t i = 0; i < n; i++)
        if (network_holds(&list[i], e))
            return true;
    return false;
}

/* Cuts the last element of a comma-separated list off. */
static struct slice cut_last(struct slice *list)
{
    size_t n = list->n;
    while (n && list->p[n - 1] != ',')
        n--;
    struct slice last = slice_skip(*list, n);
    list->n = n ? n - 1 : 0;
    return last;
}

/* Lists are read from their ends: what is told by whom one trusts is believed, and nothing ahead of the first that one
 * does not. */
struct endpoint http_forwarded(const struct http_request *r, const char *header, const struct network *balancers,
                               size_t n, const struct endpoint *peer)
{
    struct endpoint client = *peer;
    for (size_t i = r->header_count; i-- > 0;) {
        struct slice list = r->headers[i].value;
        if (!is_named(&r->headers[i], header))
            continue;
        while (list.n && is_among(balancers, n, &client)) {
            struct slice last = trimmed(cut_last(&list));
            struct endpoint told = read_address(strcmp(header, "forwarded") == 0 ? forwarded_for(last) : last);
            if (!told.family)
                return client;
            client = told;
        }
    }
    return client;
}

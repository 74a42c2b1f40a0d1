#include "header_reader.h"
#include "base/mem.h"
#include "element_builder.h"
#include "xmpp/xml.h"
#include <stdlib.h>

static const char xml_lang[] = "http://www.w3.org/XML/1998/namespace\x01lang";

static bool is_client_ns(const struct header_reader *r)
{
    return r->default_ns && strcmp(r->default_ns, NS_CLIENT) == 0;
}

void header_reader_declare(struct header_reader *r, const char *prefix, const char *uri)
{
    if (!uri)
        return;
    if (!prefix) {
        r->default_ns = mem_strdup(uri);
        if (is_client_ns(r))
            return;
    } else if (strcmp(prefix, "stream") == 0 && strcmp(uri, NS_STREAMS) == 0) {
        r->standard_stream = true;
        return;
    } else if (strcmp(prefix, "xml") == 0) {
        return; /* bound everywhere */
    }
    buf_printf(&r->extra_ns, prefix ? " xmlns:%s='" : " xmlns%s='", prefix ? prefix : "");
    xml_escape(&r->extra_ns, slice_str(uri));
    BUF_LIT(&r->extra_ns, "'");
}

bool header_is_version_1(struct slice version)
{
    size_t i = 0;
    bool major = false;
    for (; i < version.n && version.p[i] >= '0' && version.p[i] <= '9'; i++)
        major |= version.p[i] != '0';
    if (!major || i + 1 >= version.n || version.p[i] != '.')
        return false;
    for (i++; i < version.n; i++)
        if (version.p[i] < '0' || version.p[i] > '9')
            return false;
    return true;
}

static void take_attr(struct stream_header *h, const char *name, const char *value)
{
    struct slice v = slice_str(value);
    if (strcmp(name, "to") == 0)
        h->to = v;
    else if (strcmp(name, "from") == 0)
        h->from = v;
    else if (strcmp(name, "id") == 0)
        h->id = v;
    else if (strcmp(name, "version") == 0)
        h->version = v;
    else if (strcmp(name, xml_lang) == 0)
        h->lang = v;
}

bool header_reader_finish(struct header_reader *r, const char *name, const char **atts, struct stream_header *out,
                          enum stream_error *error, const char **text)
{
    *out = (struct stream_header){.default_ns = slice_str(r->default_ns), .extra_ns = buf_slice(&r->extra_ns)};
    expat_name_split(name, &out->ns, &out->name);
    if (!slice_eq_str(out->ns, NS_STREAMS)) {
        *error = STREAM_INVALID_NAMESPACE;
        *text = "the root element is not in the namespace of XML streams";
        return false;
    }
    if (!slice_eq_str(out->name, "stream")) {
        *error = STREAM_BAD_FORMAT;
        *text = "the root element is not a stream";
        return false;
    }
    for (; *atts; atts += 2)
        take_attr(out, atts[0], atts[1]);
    out->has_version = header_is_version_1(out->version);
    return true;
}

char *header_reader_prime(const struct header_reader *r, struct slice raw_name)
{
    if (slice_eq_str(raw_name, "stream:stream") && is_client_ns(r) && r->extra_ns.n == 0)
        return NULL;
    struct slice extra = buf_slice(&r->extra_ns);
    return mem_printf("<%.*s%s%s%.*s>", SLICE_ARG(raw_name), is_client_ns(r) ? " xmlns='" NS_CLIENT "'" : "",
                      r->standard_stream ? " xmlns:stream='" NS_STREAMS "'" : "", (int)extra.n,
                      extra.n ? extra.p : "");
}

void header_reader_free(struct header_reader *r)
{
    free(r->default_ns);
    buf_free(&r->extra_ns);
    *r = (struct header_reader){0};
}

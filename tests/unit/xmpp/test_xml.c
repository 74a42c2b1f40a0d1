#include "xmpp/jid.h"
#include "xmpp/stream_error.h"
#include "xmpp/xml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

static void assert_written(struct buf *out, const char *wanted)
{
    char *got = buf_steal(out);
    assert_string_equal(got, wanted);
    free(got);
}

static void test_escape(void **state)
{
    (void)state;
    struct buf out = {0};
    xml_escape(&out, SLICE_LIT("a&b<c>d'e\"f\n\t\r\xc3\xa9"));
    assert_written(&out, "a&amp;b&lt;c&gt;d&apos;e&quot;f&#10;&#9;&#13;\xc3\xa9");
    xml_escape(&out, SLICE_NONE);
    xml_escape(&out, SLICE_LIT("plain"));
    xml_attr(&out, "a", SLICE_NONE);
    xml_attr(&out, "b", SLICE_LIT(""));
    xml_attr(&out, "c", SLICE_LIT("'"));
    assert_written(&out, "plain b='' c='&apos;'");
}

/* Any text survives a round trip through an attribute and through content. */
static void test_escape_round_trip(void **state)
{
    (void)state;
    struct slice text = SLICE_LIT(" <&>\"'\n\t\r]]> \xf0\x9f\x98\x80 ");
    struct buf out = {0};
    const struct node *root;
    BUF_LIT(&out, "<a");
    xml_attr(&out, "v", text);
    BUF_LIT(&out, ">");
    xml_escape(&out, text);
    BUF_LIT(&out, "</a>");
    struct xml_tree *tree = xml_tree_parse(buf_slice(&out), &root);
    assert_non_null(tree);
    assert_true(slice_eq(node_attr(root, "v"), text));
    assert_true(slice_eq(root->text, text));
    xml_tree_free(tree);
    buf_free(&out);
}

static void test_tree(void **state)
{
    (void)state;
    struct slice bytes =
        SLICE_LIT(" <message id='1' xml:id='2'><body>hi</body><stream:x/><x xmlns='urn:x'><y z='3'/></x>"
                  "<body>again</body></message>\n");
    const struct node *root;
    struct xml_tree *tree = xml_tree_parse(bytes, &root);
    assert_non_null(tree);
    assert_true(slice_eq_str(root->ns, NS_CLIENT));
    assert_true(slice_eq_str(root->name, "message"));
    assert_true(slice_eq_str(node_attr(root, "id"), "1"));
    assert_null(node_attr(root, "nothing").p);
    assert_true(slice_eq_str(node_child(root, NS_CLIENT, "body")->text, "hi"));
    assert_non_null(node_child(root, NS_STREAMS, "x"));
    const struct node *y = node_child(node_child(root, "urn:x", "x"), "urn:x", "y");
    assert_true(slice_eq_str(node_attr(y, "z"), "3"));
    assert_true(slice_eq_str(y->bytes, "<y z='3'/>"));
    assert_true(y->bytes.p > bytes.p && y->bytes.p < bytes.p + bytes.n);
    assert_null(node_child(root, "urn:x", "y"));
    assert_null(node_child(NULL, "urn:x", "y"));
    assert_null(node_attr(NULL, "z").p);
    xml_tree_free(tree);
}

static void test_bad_trees(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "text",
        "<a>",
        "<a/><b/>",
        "<a/><b",
        "<a/>x",
        "x<a/>",
        "</a>",
        "<a></b>",
        "<a:a/>",
        "<a>&x;</a>",
        "<!DOCTYPE a>",
        "<a/></stream:stream>",
        "<a b>",
        "<a/></stream:stream><stream:stream xmlns:stream='urn:x'>",
        "<a>\xff</a>",
        "<a/><",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const struct node *root = (const struct node *)&root;
        if (xml_tree_parse(slice_str(bad[i]), &root))
            fail_msg("%s was taken", bad[i]);
        assert_null(root);
    }
    xml_tree_free(NULL);
}

static void test_stream_errors(void **state)
{
    (void)state;
    struct buf out = {0};
    stream_error_write(&out, STREAM_CONFLICT, NULL, NULL);
    assert_written(&out, "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>");
    stream_error_write(&out, STREAM_UNDEFINED_CONDITION, "a < b", "<x xmlns='urn:x'/>");
    assert_written(&out, "<stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
                         "<text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>a &lt; b</text>"
                         "<x xmlns='urn:x'/></stream:error>");
    for (int i = 0; i < STREAM_ERRORS; i++)
        assert_non_null(stream_error_name((enum stream_error)i));
    assert_string_equal(stream_error_name(STREAM_NOT_WELL_FORMED), "not-well-formed");
}

static void assert_part(struct slice got, const char *wanted)
{
    if (wanted)
        assert_true(got.p && slice_eq_str(got, wanted));
    else
        assert_null(got.p);
}

static void test_jids(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
        const char *local, *domain, *resource, *bare;
    } rows[] = {
        {"a@b/c", true, "a", "b", "c", "a@b"},         {"b", true, NULL, "b", NULL, "b"},
        {"a@b", true, "a", "b", NULL, "a@b"},          {"b/c", true, NULL, "b", "c", "b"},
        {"a@b/c/d@e", true, "a", "b", "c/d@e", "a@b"}, {"b/c@d", true, NULL, "b", "c@d", "b"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct jid jid;
        assert_true(jid_parse(slice_str(rows[i].text), &jid) == rows[i].good);
        assert_part(jid.local, rows[i].local);
        assert_part(jid.domain, rows[i].domain);
        assert_part(jid.resource, rows[i].resource);
        assert_part(jid.bare, rows[i].bare);
        assert_part(jid_bare(slice_str(rows[i].text)), rows[i].bare);
    }
    static const char *const bad[] = {"", "@", "/", "a@", "@b", "b/", "a@/c", "@b/c", "a@b@c"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct jid jid;
        assert_false(jid_parse(slice_str(bad[i]), &jid));
    }
    struct jid jid;
    char part[1026];
    memset(part, 'x', sizeof part);
    assert_true(jid_parse(slice_of(part, 1023), &jid));
    assert_false(jid_parse(slice_of(part, 1024), &jid));
    part[1] = '/';
    assert_true(jid_parse(slice_of(part, 2 + 1023), &jid));
    assert_false(jid_parse(slice_of(part, 2 + 1024), &jid));
    assert_false(jid_parse(SLICE_NONE, &jid));
}

static void test_domains(void **state)
{
    (void)state;
    assert_true(jid_domain_eq(SLICE_LIT("Example.ORG"), SLICE_LIT("eXample.org")));
    assert_false(jid_domain_eq(SLICE_LIT("example.org"), SLICE_LIT("example.orgs")));
    assert_false(jid_domain_eq(SLICE_LIT("a@"), SLICE_LIT("a`")));
    assert_false(jid_domain_eq(SLICE_LIT("["), SLICE_LIT("{")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_escape),    cmocka_unit_test(test_escape_round_trip), cmocka_unit_test(test_tree),
        cmocka_unit_test(test_bad_trees), cmocka_unit_test(test_stream_errors),     cmocka_unit_test(test_jids),
        cmocka_unit_test(test_domains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "base/mem.h"
#include "run/config.h"
#include "run/ini.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* A loading that is tried: the file's text and the other sources, then what came of it. */
struct trial {
    char directory[32];
    char *file, *pem, *key; /* paths */
    const char *environment[4], *options[8];
    struct config *config;
    struct config_problems problems;
};

/* The least that is valid. */
#define LEAST                                                                                                          \
    "[proxy]\ndomain = example.org\nupstream = 127.0.0.1:5222\n[listen]\nstarttls = *:15222\n[tls]\nrequired = no\n"

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int setup(void **state)
{
    struct trial *t = MEM_NEW(struct trial);
    strcpy(t->directory, "/tmp/holdfast-config-XXXXXX");
    assert_non_null(mkdtemp(t->directory));
    t->file = mem_printf("%s/holdfast.conf", t->directory);
    t->pem = mem_printf("%s/a.pem", t->directory);
    t->key = mem_printf("%s/a.key", t->directory);
    write_file(t->pem, "certificate");
    write_file(t->key, "key");
    *state = t;
    return 0;
}

static void forget(struct trial *t)
{
    config_free(t->config);
    t->config = NULL;
    config_problems_free(&t->problems);
}

static int teardown(void **state)
{
    struct trial *t = *state;
    forget(t);
    unlink(t->file);
    unlink(t->pem);
    unlink(t->key);
    rmdir(t->directory);
    free(t->file);
    free(t->pem);
    free(t->key);
    free(t);
    return 0;
}

static bool load(struct trial *t, const char *text)
{
    struct config_sources sources = {t->file, (char *const *)t->environment, (char *const *)t->options};
    forget(t);
    if (text)
        write_file(t->file, text);
    bool good = config_load(&sources, &t->config, &t->problems);
    assert_int_equal(good, t->config != NULL);
    assert_int_equal(good, t->problems.errors == 0);
    return good;
}

static void assert_good(struct trial *t, const char *text)
{
    bool good = load(t, text);
    for (size_t i = 0; i < t->problems.n; i++)
        print_message("%s\n", t->problems.list[i].text);
    assert_true(good);
    assert_int_equal(t->problems.n, 0);
}

/* Exactly this problem, ahead of which FILE stands for the file's path. */
static void assert_problem(struct trial *t, size_t i, const char *expected)
{
    assert_true(i < t->problems.n);
    const char *text = t->problems.list[i].text;
    if (strncmp(expected, "FILE", 4) == 0) {
        assert_memory_equal(text, t->file, strlen(t->file));
        text += strlen(t->file);
        expected += 4;
    }
    assert_string_equal(text, expected);
}

/* LEAST and one more line in a section make exactly one error. The line is the 9th. */
static void assert_refused(struct trial *t, const char *section, const char *line, const char *expected)
{
    char *text = mem_printf(LEAST "[%s]\n%s\n", section, line), *problem = mem_printf("FILE:9: %s", expected);
    assert_false(load(t, text));
    assert_problem(t, 0, problem);
    assert_int_equal(t->problems.n, 1);
    free(problem);
    free(text);
}

static void test_least_configuration_has_the_defaults(void **state)
{
    struct trial *t = *state;
    assert_good(t, LEAST);
    const struct config *c = t->config;
    const struct settings *s = &c->settings;
    assert_string_equal(s->domains[0], "example.org");
    assert_null(s->domains[1]);
    assert_string_equal(c->upstream.hosts[0], "127.0.0.1");
    assert_int_equal(c->upstream.ports[0], 5222);
    assert_int_equal(s->upstream_tls, UPSTREAM_TLS_NONE);
    assert_true(c->proxy.upstream_verify);
    assert_null(c->proxy.upstream_ca);
    assert_true(strlen(c->proxy.node) > 0);
    assert_true(c->proxy.workers >= 1);
    assert_int_equal(c->proxy.drain, 60 * USEC_S);
    assert_int_equal(c->proxy.drain_grace, 5 * USEC_S);
    assert_int_equal(c->proxy.drain_rate, 500);
    assert_string_equal(c->listen.starttls[0], "*:15222");
    assert_null(c->listen.tls[0]);
    assert_string_equal(c->listen.stats[0], "127.0.0.1:9280");
    assert_string_equal(c->store.url, "memory:");
    assert_false(s->tls_available);
    assert_int_equal(s->sm.max, 600 * USEC_S);
    assert_true(s->sm.max_cap >= s->sm.max);
    assert_null(s->sm.location);
    assert_int_equal(s->sm.request_every, 5);
    assert_int_equal(s->sm.request_delay, USEC_S);
    assert_int_equal(s->sm.ack_timeout, 60 * USEC_S);
    assert_int_equal(s->sm.answer_delay, USEC_S);
    assert_int_equal(s->sm.probe, 300 * USEC_S);
    assert_int_equal(s->sm.confirm, CONFIRM_PING);
    assert_int_equal(s->sm.confirm_every, 50);
    assert_int_equal(s->sm.confirm_delay, USEC_S);
    assert_int_equal(s->sm.confirm_timeout, 30 * USEC_S);
    assert_int_equal(s->sm.queue_stanzas, 5000);
    assert_int_equal(s->sm.queue_bytes, 8 << 20);
    assert_int_equal(s->sm.full_grace, 30 * USEC_S);
    assert_int_equal(s->sm.detached_presence, PRESENCE_KEEP);
    assert_int_equal(s->sm.sessions_per_account, 10);
    assert_int_equal(s->sm.mailbox_ttl, 7 * 86400 * USEC_S);
    assert_int_equal(s->sm.tombstone_ttl, 86400 * USEC_S);
    assert_int_equal(s->limits.stream.stanza_bytes, 256 << 10);
    assert_int_equal(s->limits.stream.depth, 64);
    assert_int_equal(s->limits.login_timeout, 30 * USEC_S);
    assert_int_equal(c->log.level, LOG_INFO);
    assert_int_equal(c->log.format, LOG_LOGFMT);
}

static void test_sources_rise_from_default_to_option(void **state)
{
    struct trial *t = *state;
    char *origin;
    t->environment[0] = "HOLDFAST_SM_MAX=3m";
    t->environment[1] = "HOLDFAST_SM_PROBE=7s";
    t->environment[2] = "HOLDFAST_SM_REQUEST_EVERY="; /* as if not set */
    t->options[0] = "sm.max=4m";
    t->options[1] = " sm.max = 5m ";
    assert_good(t, LEAST "[sm]\nmax = 1m\nprobe = 2m\nconfirm_every = 9\n");
    assert_int_equal(t->config->settings.sm.max, 300 * USEC_S);
    assert_int_equal(t->config->settings.sm.probe, 7 * USEC_S);
    assert_int_equal(t->config->settings.sm.confirm_every, 9);
    assert_int_equal(t->config->settings.sm.request_every, 5);

    assert_string_equal(config_value(t->config, "sm", "max", &origin), "5m");
    assert_string_equal(origin, "option -o");
    free(origin);
    assert_string_equal(config_value(t->config, "sm", "probe", &origin), "7s");
    assert_string_equal(origin, "environment HOLDFAST_SM_PROBE");
    free(origin);
    config_value(t->config, "sm", "confirm_every", &origin);
    assert_string_equal(strrchr(origin, '/'), "/holdfast.conf:11");
    free(origin);
    assert_string_equal(config_value(t->config, "sm", "request_every", &origin), "5");
    assert_string_equal(origin, "default");
    free(origin);
    assert_null(config_value(t->config, "sm", "nothing", NULL));
}

static void test_values_of_all_kinds(void **state)
{
    struct trial *t = *state;
    char *text = mem_printf(
        "[proxy]\ndomain = a.example , *,b.example\nupstream = [2001:db8::1]\nupstream_tls = direct\n"
        "upstream_ca = %s\nupstream_verify = off\nnode = n-1.x_y\nworkers = 3\ndrain = 1500ms\n"
        "[listen]\nstarttls = 5222, 127.0.0.1:0\ntls = [::]:5223\nstats = none\n"
        "[tls]\ncertificate = %s,%s\nkey = %s , %s\n"
        "[sm]\nlocation = [2001:db8::2]:5222\ndetached_presence = away\nconfirm = none\nmax = 2h\nmax_cap = 1d\n"
        "queue_bytes = 1G\n[limits]\nstanza_bytes = 10000\nmemory = 0\n"
        "[log]\nlevel = debug\nformat = json\n[proxy]\ndrain_rate = 7\n",
        t->pem, t->pem, t->key, t->key, t->pem);
    assert_good(t, text);
    free(text);
    const struct config *c = t->config;
    const struct settings *s = &c->settings;
    assert_string_equal(s->domains[0], "a.example");
    assert_string_equal(s->domains[1], "*");
    assert_string_equal(s->domains[2], "b.example");
    assert_string_equal(c->upstream.hosts[0], "2001:db8::1");
    assert_int_equal(c->upstream.ports[0], 5222);
    assert_string_equal(s->upstream, "[2001:db8::1]:5222");
    assert_int_equal(s->upstream_tls, UPSTREAM_TLS_DIRECT);
    assert_string_equal(c->proxy.upstream_ca, t->pem);
    assert_false(c->proxy.upstream_verify);
    assert_string_equal(c->proxy.node, "n-1.x_y");
    assert_int_equal(c->proxy.workers, 3);
    assert_int_equal(c->proxy.drain, 1500 * USEC_MS);
    assert_int_equal(c->proxy.drain_rate, 7);
    assert_string_equal(c->listen.starttls[1], "127.0.0.1:0");
    assert_null(c->listen.stats[0]);
    assert_int_equal(c->tls.pair_count, 2);
    assert_string_equal(c->tls.pairs[0].certificate, t->pem);
    assert_string_equal(c->tls.pairs[1].certificate, t->key);
    assert_string_equal(c->tls.pairs[1].key, t->pem);
    assert_true(s->tls_available);
    assert_true(s->tls_required);
    assert_string_equal(s->sm.location, "[2001:db8::2]:5222");
    assert_int_equal(s->sm.detached_presence, PRESENCE_AWAY);
    assert_int_equal(s->sm.confirm, CONFIRM_NONE);
    assert_int_equal(s->sm.max_cap, 86400 * USEC_S);
    assert_int_equal(s->sm.queue_bytes, 1 << 30);
    assert_int_equal(s->limits.memory, 0);
    assert_int_equal(c->log.level, LOG_DEBUG);
    assert_int_equal(c->log.format, LOG_JSON);
}

static void test_key_may_be_in_the_certificates_file(void **state)
{
    struct trial *t = *state;
    char *text = mem_printf(LEAST "certificate = %s\n", t->pem);
    assert_good(t, text);
    free(text);
    assert_int_equal(t->config->tls.pair_count, 1);
    assert_null(t->config->tls.pairs[0].key);
}

static void test_wrong_values_are_refused_with_what_to_do(void **state)
{
    static const struct {
        const char *section, *line, *expected;
    } wrong[] = {
        {"sm", "max = 10",
         "sm.max: \"10\" is not a duration; write a number and a unit, e.g. 500ms, 30s, 10m, 12h or 7d"},
        {"sm", "max = 10 m",
         "sm.max: \"10 m\" is not a duration; write a number and a unit, e.g. 500ms, 30s, 10m, 12h or 7d"},
        {"sm", "probe = -1s",
         "sm.probe: \"-1s\" is not a duration; write a number and a unit, e.g. 500ms, 30s, 10m, 12h or 7d"},
        {"sm", "max = 99d", "sm.max: 99d is out of range; take a value from 1s to 30d"},
        {"sm", "max = 99999999999999999999d",
         "sm.max: 99999999999999999999d is out of range; take a value from 1s to 30d"},
        {"sm", "probe = 0", "sm.probe: 0 is out of range; take a value from 1s to 1d"},
        {"sm", "queue_bytes = 8t",
         "sm.queue_bytes: \"8t\" is not a size; write bytes, or a number with k, m or g, e.g. 256k or 8m"},
        {"sm", "queue_bytes = 9999999999g", "sm.queue_bytes: 9999999999g is out of range; take a value from 64k to 4g"},
        {"sm", "request_every = many", "sm.request_every: \"many\" is not a number; write a whole number"},
        {"sm", "request_every = 5 # often",
         "sm.request_every: \"5 # often\" is not a number; write a whole number (a comment needs a line of its own)"},
        {"sm", "request_every =", "sm.request_every: \"\" is not a number; write a whole number"},
        {"proxy", "workers = 0", "proxy.workers: 0 is out of range; take a value from 1 to 1024"},
        {"proxy", "upstream_verify = maybe", "proxy.upstream_verify: \"maybe\" is neither yes nor no; write yes or no"},
        {"proxy", "resolver = ns.example.org",
         "proxy.resolver: \"ns.example.org\" is not the address of a name server; write e.g. 192.0.2.53 or "
         "[2001:db8::53]:53"},
        {"proxy", "resolver = 192.0.2.53, 2001:db8::53",
         "proxy.resolver: \"2001:db8::53\" is not the address of a name server; write e.g. 192.0.2.53 or "
         "[2001:db8::53]:53"},
        {"proxy", "upstream_tls = tls",
         "proxy.upstream_tls: \"tls\" is not known here; take one of: none, starttls, direct"},
        {"log", "level = warning", "log.level: \"warning\" is not known here; take one of: error, warn, info, debug"},
        {"proxy", "node = my node",
         "proxy.node: \"my node\" cannot be a node's name; take up to 64 letters, digits and . _ -"},
        {"sm", "location = here:there",
         "sm.location: \"here:there\" is not a host and port; write e.g. xmpp.example.org:5222 or [2001:db8::1]:5222"},
        {"listen", "tls = localhost:5223",
         "listen.tls: \"localhost:5223\" is not an address and port; write e.g. 127.0.0.1:5222, [::1]:5222 or *:5222"},
        {"listen", "tls = 127.0.0.1:70000",
         "listen.tls: \"127.0.0.1:70000\" is not an address and port; write e.g. 127.0.0.1:5222, [::1]:5222 or *:5222"},
        {"listen", "tls = 5223,", "listen.tls: empty part in the list; remove the spare comma"},
        {"proxy", "upstream_ca = \x1b[2J",
         "proxy.upstream_ca: cannot read ?[2J: No such file or directory; name a file that this user may read"},
    };
    struct trial *t = *state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (strstr(wrong[i].line, "upstream_ca"))
            t->options[0] = "proxy.upstream_tls=starttls";
        assert_refused(t, wrong[i].section, wrong[i].line, wrong[i].expected);
    }
}

static void test_wrong_domains_and_servers_are_refused(void **state)
{
    static const struct {
        const char *domain, *upstream, *expected;
    } wrong[] = {
        {"a b", "x:1",
         "FILE:2: proxy.domain: \"a b\" is not a domain; write e.g. example.org, several with commas between, or "
         "* for any"},
        {"", "x:1", "FILE:2: proxy.domain: has no value; name the domains to serve, e.g. example.org"},
        {"a", "2001:db8::1",
         "FILE:3: proxy.upstream: \"2001:db8::1\" is an IPv6 address without brackets; write e.g. [2001:db8::1]:5222"},
        {"a", "x:0",
         "FILE:3: proxy.upstream: \"x:0\" is not a host and port; write e.g. xmpp.example.org:5222 or "
         "[2001:db8::1]:5222"},
        {"a", "[::1",
         "FILE:3: proxy.upstream: \"[::1\" is not a host and port; write e.g. xmpp.example.org:5222 or "
         "[2001:db8::1]:5222"},
        {"a", "s,", "FILE:3: proxy.upstream: empty part in the list; remove the spare comma"},
        {"a", "x:1, y:z, w:1",
         "FILE:3: proxy.upstream: \"y:z\" is not a host and port; write e.g. xmpp.example.org:5222 or "
         "[2001:db8::1]:5222"},
        {"a", "x:1, y:1, X:1", "FILE:3: proxy.upstream: \"X:1\" is there twice; name each server once"},
        {"a", "x:1, srv:example.org",
         "FILE:3: proxy.upstream: \"srv:example.org\" cannot stand in a list; write it alone, or host:port for each "
         "server"},
        {"a", "srv:a b", "FILE:3: proxy.upstream: \"a b\" is not a domain to look up; write e.g. srv:example.org"},
        {"a", "none", "FILE:3: proxy.upstream: has no value; name the XMPP server, e.g. 192.0.2.10:5222"},
    };
    struct trial *t = *state;
    t->options[0] = "listen.starttls=*:15222";
    t->options[1] = "tls.required=no";
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *text = mem_printf("[proxy]\ndomain = %s\nupstream = %s\n", wrong[i].domain, wrong[i].upstream);
        assert_false(load(t, text));
        assert_problem(t, 0, wrong[i].expected);
        assert_int_equal(t->problems.n, 1);
        free(text);
    }
}

static void test_unknown_names_come_with_a_suggestion(void **state)
{
    struct trial *t = *state;
    assert_refused(t, "sm", "queue_byte = 1m", "sm.queue_byte: unknown key; did you mean sm.queue_bytes?");
    assert_refused(t, "sm", "Max = 1m", "sm.Max: unknown key; did you mean sm.max?");
    assert_refused(t, "sm", "stanza_bytes = 1m", "sm.stanza_bytes: unknown key; did you mean limits.stanza_bytes?");
    assert_refused(t, "sm", "frobnicate = 1", "sm.frobnicate: unknown key; see holdfast --help-config for the keys");

    assert_false(load(t, LEAST "[limit]\nmemory = 1g\nnonsense = 1\n[zzz]\n"));
    assert_int_equal(t->problems.n, 2); /* not one for each line below */
    assert_problem(t, 0, "FILE:8: [limit]: unknown section; did you mean [limits]?");
    assert_problem(t, 1,
                   "FILE:11: [zzz]: unknown section; take one of proxy, listen, tls, store, sm, receipts, limits, log");
}

static void test_environment_and_options_are_checked_alike(void **state)
{
    struct trial *t = *state;
    t->environment[0] = "HOLDFAST_SM_MAX=soon";
    t->environment[1] = "HOLDFAST_SM_MAXX=1m";
    t->environment[2] = "HOLDFAST_PORT_5222_TCP=x"; /* not ours */
    t->options[0] = "log.level";
    t->options[1] = "log.levle=info";
    t->options[2] = "level=info";
    t->options[3] = "log.level=loud";
    assert_false(load(t, LEAST));
    assert_int_equal(t->problems.n, 6);
    assert_problem(
        t, 0,
        "environment HOLDFAST_SM_MAX: sm.max: \"soon\" is not a duration; write a number and a unit, e.g. 500ms, "
        "30s, 10m, 12h or 7d");
    assert_problem(t, 1, "environment HOLDFAST_SM_MAXX: sm.maxx: unknown key; did you mean sm.max?");
    assert_true(t->problems.list[1].warning);
    assert_problem(t, 2, "option -o log.level: write section.key=value, e.g. -o log.level=debug");
    assert_problem(t, 3, "option -o: log.levle: unknown key; did you mean log.level?");
    assert_problem(t, 4, "option -o level: write section.key=value, e.g. -o log.level=debug");
    assert_problem(t, 5, "option -o: log.level: \"loud\" is not known here; take one of: error, warn, info, debug");
    assert_int_equal(t->problems.errors, 5);
}

static void test_an_unknown_variable_is_a_warning(void **state)
{
    struct trial *t = *state;
    t->environment[0] = "HOLDFAST_TLS_SERVICE_HOST=10.0.0.1";
    assert_true(load(t, LEAST));
    assert_int_equal(t->problems.n, 1);
    assert_true(t->problems.list[0].warning);
}

static void test_all_problems_come_in_one_run(void **state)
{
    struct trial *t = *state;
    assert_false(load(t, "x = 1\n[sm]\nmax = soon\nmax = 1m\nnonsense\n[tls]\nkey = /nowhere.key\n"));
    assert_problem(t, 0, "FILE:1: value before the first [section]; put it below the section that it belongs to");
    assert_problem(
        t, 1, "FILE:3: sm.max: \"soon\" is not a duration; write a number and a unit, e.g. 500ms, 30s, 10m, 12h or 7d");
    assert_problem(t, 2, "FILE:4: sm.max: was set before, in line 3; remove one of the two");
    assert_problem(t, 3, "FILE:5: neither [section] nor key = value; a value cannot go on in the next line");
    assert_problem(
        t, 4, "FILE: proxy.domain: is not set; name the domains to serve, e.g. domain = example.org below [proxy]");
    assert_problem(
        t, 5, "FILE: proxy.upstream: is not set; name the XMPP server, e.g. upstream = 192.0.2.10:5222 below [proxy]");
    assert_problem(t, 6,
                   "FILE: listen.starttls: no port for clients; set listen.starttls, listen.tls, listen.ws or "
                   "listen.wss, e.g. starttls = *:5222 "
                   "below [listen]");
    assert_problem(t, 7,
                   "FILE:7: tls.key: cannot read /nowhere.key: No such file or directory; name a file that this user "
                   "may read");
    assert_problem(t, 8,
                   "FILE:7: tls.key: 1 keys for 0 certificates; name one key for each file of tls.certificate, in its "
                   "order");
    assert_int_equal(t->problems.n, 9);
}

static void test_duplicates_are_told_after_valid_values_too(void **state)
{
    struct trial *t = *state;
    assert_false(load(t, LEAST "[sm]\nmax = 1m\n[log]\nlevel = info\n[sm]\nmax = 1m\n"));
    assert_int_equal(t->problems.n, 1);
    assert_problem(t, 0, "FILE:13: sm.max: was set before, in line 9; remove one of the two");
}

static void test_unreadable_files_are_told(void **state)
{
    struct trial *t = *state;
    t->options[0] = "proxy.domain=example.org";
    t->options[1] = "proxy.upstream=x";
    t->options[2] = "listen.starttls=*:15222";
    t->options[3] = "tls.required=no";
    assert_false(load(t, NULL));
    assert_problem(t, 0,
                   "FILE: cannot read the configuration: No such file or directory; name a readable file with -c");
    assert_int_equal(t->problems.n, 1);

    char *option = mem_printf("tls.certificate=%s", t->directory);
    t->options[4] = option;
    assert_false(load(t, ""));
    assert_non_null(strstr(t->problems.list[0].text, ": Is a directory; name a file that this user may read"));
    free(option);
}

static void test_an_overridden_file_need_not_exist(void **state)
{
    struct trial *t = *state;
    char *option = mem_printf("tls.certificate=%s", t->pem);
    t->options[0] = option;
    assert_good(t, LEAST "certificate = /nowhere.pem\n");
    free(option);
}

static void test_works_without_a_file(void **state)
{
    struct trial *t = *state;
    const char *options[] = {"proxy.domain=a", "proxy.upstream=x", "listen.starttls=5222", "tls.required=no", NULL};
    struct config_sources sources = {.options = (char *const *)options};
    assert_true(config_load(&sources, &t->config, &t->problems));
    forget(t);
    options[0] = NULL;
    assert_false(config_load(&sources, &t->config, &t->problems));
    assert_problem(
        t, 0,
        "configuration: proxy.domain: is not set; name the domains to serve, e.g. domain = example.org below "
        "[proxy]");
}

static void test_tls_needs_certificates(void **state)
{
    struct trial *t = *state;
    assert_false(load(t, "[proxy]\ndomain = a\nupstream = x\n[listen]\nstarttls = *:15222\ntls = *:15223\n"));
    assert_int_equal(t->problems.n, 2);
    assert_problem(t, 0,
                   "FILE: tls.required: listen.starttls needs a certificate; set tls.certificate and tls.key, or "
                   "tls.required = no to let clients in without TLS");
    assert_problem(t, 1, "FILE:6: listen.tls: needs a certificate; set tls.certificate and tls.key");

    char *text = mem_printf(LEAST "certificate = %s\nkey = %s, %s\n", t->pem, t->key, t->key);
    assert_false(load(t, text));
    assert_int_equal(t->problems.n, 1);
    assert_problem(
        t, 0,
        "FILE:9: tls.key: 2 keys for 1 certificates; name one key for each file of tls.certificate, in its order");
    free(text);

    text = mem_printf(LEAST "[proxy]\nupstream_ca = %s\n", t->pem);
    assert_false(load(t, text));
    assert_problem(t, 0,
                   "FILE:9: proxy.upstream_ca: is of no use with proxy.upstream_tls = none; set that to starttls or "
                   "direct, or remove this");
    free(text);
}

static void test_ports_must_not_clash(void **state)
{
    struct trial *t = *state;
    t->options[0] = "listen.stats=*:15222";
    assert_false(load(t, LEAST));
    assert_int_equal(t->problems.n, 1);
    assert_problem(t, 0, "option -o: listen.stats: *:15222 is already in listen.starttls; take another port");

    t->options[0] = "listen.starttls=*:5222";
    assert_false(load(t, LEAST));
    assert_problem(t, 0,
                   "option -o: listen.starttls: *:5222 leads proxy.upstream back to this proxy; take another port, or "
                   "move the server");
    t->options[0] = "listen.starttls=127.0.0.2:5222,127.0.0.1:0,127.0.0.1:0"; /* none of which does */
    assert_good(t, LEAST);
}

static void test_numbers_must_fit_each_other(void **state)
{
    struct trial *t = *state;
    assert_refused(t, "sm", "max = 2h", "sm.max: is more than sm.max_cap; raise sm.max_cap or lower sm.max");
    assert_refused(t, "limits", "memory = 1m",
                   "limits.memory: cannot hold one queue of sm.queue_bytes; raise it, or set 0 for no limit");
}

static void test_networks_of_load_balancers(void **state)
{
    struct trial *t = *state;
    assert_refused(t, "listen", "proxy_from = 10.0.0.0/8, 10.0.0.1/8",
                   "listen.proxy_from: \"10.0.0.1/8\" is not a network; write e.g. 192.0.2.0/24, 2001:db8::/32 or "
                   "192.0.2.10");
    assert_refused(t, "listen", "proxy_protocol = on",
                   "listen.proxy_protocol: needs the networks of the load balancers; set listen.proxy_from, e.g. "
                   "proxy_from = 192.0.2.0/24");
    assert_refused(t, "listen", "proxy_from = 10.0.0.0/8",
                   "listen.proxy_from: is of no use without listen.proxy_protocol = on; set that, or remove this");
    assert_good(t, LEAST "[listen]\nproxy_protocol = on\nproxy_from = 10.0.0.0/8, 2001:db8::/32\n");
    assert_int_equal(t->config->listen.proxy_from.n, 2);
    assert_int_equal(t->config->listen.proxy_from.list[1].bits, 32);
    assert_true(t->config->listen.proxy_protocol);
}

#define PEERS(lines) LEAST "[proxy]\nsecret_file = /dev/null\n[store]\nurl = redis://h\n[listen]\n" lines

static void assert_peer_problem(struct trial *t, const char *text, const char *expected)
{
    assert_false(load(t, text));
    assert_problem(t, 0, expected);
    assert_int_equal(t->problems.n, 1);
}

static void test_peer_ports(void **state)
{
    struct trial *t = *state;
    assert_good(t, PEERS("peer = 192.0.2.7:5280\n"));
    assert_string_equal(t->config->listen.peer[0], "192.0.2.7:5280");
    assert_null(t->config->listen.peer_advertise);
    assert_good(t, PEERS("peer = *:5280\npeer_advertise = node1.example.org:5280\n"));
    assert_string_equal(t->config->listen.peer_advertise, "node1.example.org:5280");
    assert_refused(t, "listen", "peer_advertise = 192.0.2.7:1",
                   "listen.peer_advertise: is of no use without listen.peer; set that, or remove this");
    assert_peer_problem(t, LEAST "[store]\nurl = redis://h\n[listen]\npeer = 192.0.2.7:1\n",
                        "FILE:11: listen.peer: needs proxy.secret_file, by which nodes know each other; make one with: "
                        "openssl rand -out FILE 32");
    assert_peer_problem(t, LEAST "[proxy]\nsecret_file = /dev/null\n[listen]\npeer = 192.0.2.7:1\n",
                        "FILE:11: listen.peer: is of no use with store.url = memory:, where a node knows of no other; "
                        "remove it");
    assert_peer_problem(t, PEERS("peer = *:5280\n"),
                        "FILE:13: listen.peer: *:5280 does not tell the other nodes where this one is; set "
                        "listen.peer_advertise, e.g. to 192.0.2.7:5280");
    assert_peer_problem(
        t, PEERS("peer = *:5280\npeer_advertise = 0.0.0.0:5280\n"),
        "FILE:14: listen.peer_advertise: 0.0.0.0:5280 is nothing that others can connect to; write e.g. "
        "192.0.2.7:5280");
    assert_peer_problem(t, PEERS("peer = *:5280\npeer_advertise = node1\n"),
                        "FILE:14: listen.peer_advertise: node1 is nothing that others can connect to; write e.g. "
                        "192.0.2.7:5280");
    assert_peer_problem(t, PEERS("peer = *:15222\npeer_advertise = node1:15222\n"),
                        "FILE:13: listen.peer: *:15222 is already in listen.starttls; take another port");
}

static void test_source_addresses(void **state)
{
    struct trial *t = *state;
    assert_refused(t, "proxy", "upstream_source = 127.0.0.2:0",
                   "proxy.upstream_source: \"127.0.0.2:0\" is not an address; write e.g. 192.0.2.10 or 2001:db8::10, "
                   "without port and brackets");
    t->options[0] = "proxy.upstream_source=127.0.0.2,::1";
    t->options[1] = "proxy.upstream_proxy_protocol=v2";
    assert_good(t, LEAST);
    assert_string_equal(t->config->proxy.upstream_source[1], "::1");
    assert_int_equal(t->config->proxy.upstream_proxy_protocol, PROXY_PROTOCOL_V2);
}

static void test_keys_that_are_not_built_are_refused(void **state)
{
    struct trial *t = *state;
    size_t refused = 0;
    for (size_t i = 0; config_key_at(i); i++) {
        const struct config_key *key = config_key_at(i);
        if (key->built)
            continue;
        char *line = mem_printf("%s = %s", key->name, key->initial);
        char *problem = mem_printf("%s.%s: is not built yet; remove it", key->section, key->name);
        assert_refused(t, key->section, line, problem);
        free(problem);
        free(line);
        refused++;
    }
    assert_true(refused > 0);
}

/* Whatever is wrong with a URL, what may be a password in it is not told. */
static void test_stores(void **state)
{
    struct trial *t = *state;
    assert_good(t, LEAST "[store]\nurl = memory:\n");
    assert_good(t, LEAST "[store]\nurl = redis://u:secret@h/\n");
    assert_good(t, LEAST "[store]\nurl = redis+sentinel://h1,h2:26380/main/2\n");
    static const char *const bad[] = {"file:///x", "redis://u:secret@/", "redis://u:secret@h:x/",
                                      "redis+sentinel://u:secret@h/"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *text = mem_printf(LEAST "[store]\nurl = %s\n", bad[i]);
        assert_false(load(t, text));
        assert_int_equal(t->problems.n, 1);
        assert_non_null(strstr(t->problems.list[0].text, ":9: store.url: is neither memory: nor a Redis: "));
        assert_null(strstr(t->problems.list[0].text, "secret"));
        free(text);
    }
}

static void test_print_tells_values_and_origins(void **state)
{
    struct trial *t = *state;
    struct buf out = {0};
    t->options[0] = "log.level=debug";
    t->environment[0] = "HOLDFAST_LOG_FORMAT=json";
    assert_good(t, LEAST);
    config_print(t->config, &out);
    char *text = buf_steal(&out), *line = mem_printf("proxy.domain = example.org  # %s:2\n", t->file);
    assert_non_null(strstr(text, line));
    assert_non_null(strstr(text, "log.level = debug  # option -o\n"));
    assert_non_null(strstr(text, "log.format = json  # environment HOLDFAST_LOG_FORMAT\n"));
    assert_non_null(strstr(text, "sm.max = 10m  # default\n"));
    assert_non_null(strstr(text, "sm.upstream = auto  # default, not built yet\n"));
    size_t lines = 0, keys = 0;
    for (const char *p = text; *p; p++)
        lines += *p == '\n';
    while (config_key_at(keys))
        keys++;
    assert_int_equal(lines, keys);
    free(line);
    free(text);
}

static void test_describe_names_every_key(void **state)
{
    (void)state;
    struct buf out = {0};
    config_describe(&out);
    char *text = buf_steal(&out);
    for (size_t i = 0; config_key_at(i); i++) {
        char *name = mem_printf("%s.%s", config_key_at(i)->section, config_key_at(i)->name);
        assert_non_null(strstr(text, name));
        assert_true(strlen(config_key_at(i)->help) > 10);
        free(name);
    }
    assert_non_null(strstr(text, "proxy.upstream_tls = none|starttls|direct, default none\n"));
    assert_non_null(strstr(text, "sm.max = duration, default 10m, reloadable\n"));
    free(text);
}

static void test_reload_takes_what_can_change_and_tells_the_rest(void **state)
{
    struct trial *t = *state;
    struct config *fresh;
    t->options[0] = "sm.probe=9s";
    assert_good(t, LEAST);
    write_file(t->file, "[proxy]\ndomain = other.example\nupstream = 127.0.0.1:5222\n[sm]\nmax = 5m\nprobe = 1h\n");
    assert_true(config_reload(t->config, &fresh, &t->problems));
    assert_int_equal(fresh->settings.sm.max, 300 * USEC_S);
    assert_int_equal(fresh->settings.sm.probe, 9 * USEC_S); /* options still stand above the file */
    assert_string_equal(fresh->settings.domains[0], "example.org");
    assert_string_equal(fresh->listen.starttls[0], "*:15222");
    assert_false(fresh->settings.tls_required);
    assert_int_equal(t->problems.n, 3);
    assert_problem(t, 0, "FILE:2: proxy.domain: changes with a restart only; the running process keeps example.org");
    assert_problem(t, 1, "FILE: listen.starttls: changes with a restart only; the running process keeps *:15222");
    assert_problem(t, 2, "FILE: tls.required: changes with a restart only; the running process keeps no");
    for (size_t i = 0; i < 3; i++)
        assert_true(t->problems.list[i].warning);
    config_free(fresh);
}

static void test_bad_reload_changes_nothing(void **state)
{
    struct trial *t = *state;
    struct config *fresh;
    assert_good(t, LEAST);
    write_file(t->file, LEAST "[sm]\nmax = soon\n");
    assert_false(config_reload(t->config, &fresh, &t->problems));
    assert_null(fresh);
    assert_int_equal(t->problems.errors, 1);
    assert_int_equal(t->config->settings.sm.max, 600 * USEC_S);
}

static void test_reload_without_changes_is_silent(void **state)
{
    struct trial *t = *state;
    struct config *fresh;
    assert_good(t, LEAST);
    assert_true(config_reload(t->config, &fresh, &t->problems));
    assert_int_equal(t->problems.n, 0);
    config_free(fresh);
}

/* --- the sample -------------------------------------------------------------------------------------------------- */

#define SAMPLE "deploy/holdfast.conf"

/* What the sample has for each key, by its place in the table. */
struct sample {
    const char *section;
    bool later; /* the line above marks the key as not built */
    bool seen[256];
};

static size_t key_index(const char *section, struct slice name)
{
    for (size_t i = 0; config_key_at(i); i++)
        if (strcmp(config_key_at(i)->section, section) == 0 && slice_eq_str(name, config_key_at(i)->name))
            return i;
    fail_msg("the sample has [%s] %.*s, the table has not", section, SLICE_ARG(name));
    return 0;
}

static void see_value(struct sample *s, struct slice name, struct slice value, bool active)
{
    size_t i = key_index(s->section, name);
    const struct config_key *key = config_key_at(i);
    assert_false(s->seen[i]);
    s->seen[i] = true;
    assert_int_equal(s->later, !key->built);
    assert_false(active && !key->built);
    if (!active && key->initial && !slice_eq_str(value, key->initial))
        fail_msg("the sample has %.*s for %s.%s, the table %s", SLICE_ARG(value), key->section, key->name,
                 key->initial);
}

/* One line of the sample: [section], key = value, or #key = value. */
static void see_line(struct sample *s, char *line)
{
    line[strcspn(line, "\n")] = '\0';
    bool active = *line != '#';
    char *text = line + !active, *equals = strstr(text, " = ");
    if (*line == '[') {
        const char *end = strchr(line, ']');
        for (size_t i = 0; config_key_at(i); i++)
            if (strncmp(config_key_at(i)->section, line + 1, (size_t)(end - line) - 1) == 0)
                s->section = config_key_at(i)->section;
    } else if (equals && *text >= 'a' && *text <= 'z') {
        see_value(s, slice_of(text, (size_t)(equals - text)), slice_str(equals + 3), active);
    }
    s->later = strcmp(line, "# not built yet") == 0;
}

static void test_sample_and_table_have_the_same_keys(void **state)
{
    (void)state;
    struct sample s = {0};
    char line[512];
    FILE *f = fopen(SAMPLE, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        see_line(&s, line);
    fclose(f);
    for (size_t i = 0; config_key_at(i); i++)
        if (!s.seen[i])
            fail_msg("the sample lacks %s.%s", config_key_at(i)->section, config_key_at(i)->name);
}

static void test_sample_lacks_nothing_but_a_certificate(void **state)
{
    struct trial *t = *state;
    struct config_sources sources = {SAMPLE, NULL, (char *const *)t->options};
    assert_false(config_load(&sources, &t->config, &t->problems));
    assert_int_equal(t->problems.n, 1);
    assert_problem(t, 0,
                   SAMPLE ": tls.required: listen.starttls needs a certificate; set tls.certificate and tls.key, or "
                          "tls.required = no to let clients in without TLS");
    forget(t);
    char *option = mem_printf("tls.certificate=%s", t->pem);
    t->options[0] = option;
    assert_true(config_load(&sources, &t->config, &t->problems));
    assert_int_equal(t->problems.n, 0);
    free(option);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_least_configuration_has_the_defaults),
        TEST(test_sources_rise_from_default_to_option),
        TEST(test_values_of_all_kinds),
        TEST(test_key_may_be_in_the_certificates_file),
        TEST(test_wrong_values_are_refused_with_what_to_do),
        TEST(test_wrong_domains_and_servers_are_refused),
        TEST(test_unknown_names_come_with_a_suggestion),
        TEST(test_environment_and_options_are_checked_alike),
        TEST(test_an_unknown_variable_is_a_warning),
        TEST(test_networks_of_load_balancers),
        TEST(test_source_addresses),
        TEST(test_all_problems_come_in_one_run),
        TEST(test_duplicates_are_told_after_valid_values_too),
        TEST(test_unreadable_files_are_told),
        TEST(test_an_overridden_file_need_not_exist),
        TEST(test_works_without_a_file),
        TEST(test_tls_needs_certificates),
        TEST(test_ports_must_not_clash),
        TEST(test_numbers_must_fit_each_other),
        TEST(test_keys_that_are_not_built_are_refused),
        TEST(test_stores),
        TEST(test_peer_ports),
        TEST(test_print_tells_values_and_origins),
        TEST(test_describe_names_every_key),
        TEST(test_reload_takes_what_can_change_and_tells_the_rest),
        TEST(test_bad_reload_changes_nothing),
        TEST(test_reload_without_changes_is_silent),
        cmocka_unit_test(test_sample_and_table_have_the_same_keys),
        TEST(test_sample_lacks_nothing_but_a_certificate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

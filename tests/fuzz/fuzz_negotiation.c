/* Client legs, upstream legs and sessions in the world of the simulations: whatever client and server say, both hear
 * well-formed XMPP alone, nothing is leaked, and in the end the books balance (each stanza's fate, all gauges).
 *
 * Input: a line of options, then lines that each begin with what happens; the world comes to rest behind each.
 *   t a certificate is there, T TLS is required, u STARTTLS towards the server, a the server answers by itself
 *   q queues of a few stanzas, m a node of little memory, r clients are slowed down, l logins are late, f they are
 * refused w away when detached, k no confirmation, e one detached session for each account
 *
 *   C...  the client says   c  its connection breaks   e  ends in order   n  it connects anew, to the other worker
 *   S...  the server says   s  its connection breaks   E  ends in order   .N time passes: a digit's seconds; `o` is 63
 *   z, Z  the client, the server takes no bytes any more, or again
 *   L     the client connects, logs in and enables stream management, at a server that answers by itself
 *   R     the client connects and logs in, up to where it may resume
 *
 * In what is said, `%` stands for the id of the session, and `~` for a word that tells whether it was said in clear:
 * what is said in clear, where TLS is required, must not be taken for what TLS protects. */
#include "../sim/world.h"
#include "fuzz.h"
#include "xmpp/xml.h"

#define IN_CLEAR "SAID-IN-CLEAR"
#define INSIDE   "said-inside"
#define HEADER   "<stream:stream xmlns='jabber:client' xmlns:stream='" NS_STREAMS "' to='example.org' version='1.0'>"
#define ANSWER                                                                                                         \
    "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='" NS_STREAMS "' id='s' "                  \
    "from='example.org' version='1.0'>"
#define PROLOGUE "<?xml version='1.0'?>"

/* The far end of a wire: reads what the proxy says as strictly as the proxy itself reads. */
struct far {
    struct scene *scene;
    struct wire *wire; /* NULL: gone */
    struct stream *stream;
    bool is_server, authenticated;
};

#define FARS 4 /* of each kind live at the same time */

struct scene {
    struct world world;
    struct parser_pool *parsers;
    struct far clients[FARS], servers[FARS];
    unsigned connected, accepted; /* how many there have been of each */
    bool automatic, forged;       /* forged: the input itself has the word for `in clear` */
    int worker;
    char previd[PREVID_SIZE];
};

/* The newest that lives; the newest of all if none does. */
static struct far *newest(struct far *fars, unsigned count)
{
    for (unsigned i = 1; i <= FARS && i <= count; i++)
        if (fars[(count - i) % FARS].wire)
            return &fars[(count - i) % FARS];
    return &fars[(count + FARS - 1) % FARS];
}

static struct far *client_of(struct scene *scene)
{
    return newest(scene->clients, scene->connected);
}

static struct far *server_of(struct scene *scene)
{
    return newest(scene->servers, scene->accepted);
}

static void say(struct far *far, struct slice text)
{
    if (far->wire)
        wire_send(far->wire, text.p, text.n);
}

static void say_str(struct far *far, const char *text)
{
    say(far, slice_str(text));
}

/* ---- what is heard ---- */

static void answer_iq(struct far *far, const struct element *e)
{
    struct buf out = {0};
    if (!slice_eq_str(e->type, "get") && !slice_eq_str(e->type, "set"))
        return;
    BUF_LIT(&out, "<iq type='result' from='example.org'");
    xml_attr(&out, "id", e->id);
    BUF_LIT(&out, ">");
    if (e->facts & FACT_BIND)
        BUF_LIT(&out, "<bind xmlns='" NS_BIND "'><jid>romeo@example.org/r</jid></bind>");
    BUF_LIT(&out, "</iq>");
    say(far, buf_slice(&out));
    buf_free(&out);
}

static void server_answers(struct far *far, const struct element *e)
{
    if (element_is(e, NS_TLS, "starttls")) {
        say_str(far, "<proceed xmlns='" NS_TLS "'/>");
    } else if (element_is(e, NS_SASL, "auth")) {
        far->authenticated = true;
        say_str(far, "<success xmlns='" NS_SASL "'/>");
    } else if (e->kind == ELEMENT_IQ) {
        answer_iq(far, e);
    } else if (slice_starts(e->id, SLICE_LIT("hfo-"))) { /* the test of order: comes back */
        say(far, e->bytes);
    }
}

static enum stream_next on_opened(void *ctx, const struct stream_header *h)
{
    struct far *far = ctx;
    (void)h;
    if (!far->is_server || !far->scene->automatic)
        return STREAM_GO;
    say_str(far, ANSWER);
    say_str(far, far->authenticated ? "<stream:features><bind xmlns='" NS_BIND "'/></stream:features>"
                                    : "<stream:features><starttls xmlns='" NS_TLS "'/><mechanisms xmlns='" NS_SASL
                                      "'><mechanism>PLAIN</mechanism></mechanisms></stream:features>");
    return STREAM_GO;
}

static enum stream_next on_element(void *ctx, const struct element *e)
{
    struct far *far = ctx;
    if (far->is_server && far->scene->automatic)
        server_answers(far, e);
    if (!far->is_server && element_is(e, NS_SM3, "enabled"))
        snprintf(far->scene->previd, PREVID_SIZE, "%.*s", SLICE_ARG(node_attr(e->tree, "id")));
    return STREAM_GO;
}

static void on_stream_closed(void *ctx)
{
    struct far *far = ctx;
    if (!far->is_server || !far->scene->automatic)
        return;
    say_str(far, "</stream:stream>");
    wire_end(far->wire);
}

static void on_failed(void *ctx, enum stream_error error, const char *text)
{
    struct far *far = ctx;
    fprintf(stderr, "the %s was sent what is no XMPP: %s, %s\n", far->is_server ? "server" : "client",
            stream_error_name(error), text);
    FUZZ_CHECK(!"both hear well-formed XMPP alone");
}

static const struct stream_events stream_events = {on_opened, on_element, on_stream_closed, on_failed};

/* Feeds what lies ahead of the next header of a stream, if there is one; returns how many bytes that is. */
static size_t hear_one_stream(struct far *far, struct slice in)
{
    const char *next = in.n ? memmem(in.p + 1, in.n - 1, PROLOGUE, sizeof PROLOGUE - 1) : NULL;
    if (slice_starts(in, SLICE_LIT(PROLOGUE)) && stream_pending(far->stream) == 0)
        stream_restart(far->stream);
    struct slice one = slice_of(in.p, next ? (size_t)(next - in.p) : in.n);
    for (size_t used; one.n && (used = stream_feed(far->stream, one.p, one.n));)
        one = slice_skip(one, used);
    return next ? (size_t)(next - in.p) : in.n;
}

static void far_bytes(void *ctx, const char *p, size_t n)
{
    struct far *far = ctx;
    struct slice in = slice_of(p, n);
    const struct settings *set = &far->scene->world.settings;
    bool guarded = far->is_server ? set->tls_required : set->upstream_tls == UPSTREAM_TLS_STARTTLS;
    FUZZ_CHECK(far->scene->forged || !guarded || !memmem(p, n, IN_CLEAR, sizeof IN_CLEAR - 1));
    while (in.n)
        in = slice_skip(in, hear_one_stream(far, in));
}

static void far_closed(void *ctx, bool in_order)
{
    struct far *far = ctx;
    (void)in_order;
    far->wire = NULL;
}

static const struct wire_peer far_peer = {far_bytes, far_closed};

static void far_begin(struct far *far, struct wire *x)
{
    static const struct stream_limits limits = {
        .stanza_bytes = 4 << 20, .tag_bytes = 1 << 20, .depth = 20000, .attributes = 20000, .namespace_bytes = 1 << 20};
    if (far->wire)
        wire_cut(far->wire, TRANSPORT_RESET);
    stream_free(far->stream);
    far->stream = stream_new(SLAB_CONNECTION, far->scene->parsers, &limits, &stream_events, far);
    far->wire = x;
    far->authenticated = false;
    x->peer = &far_peer;
    x->peer_ctx = far;
}

static void far_cut(struct far *far)
{
    if (far->wire)
        wire_cut(far->wire, TRANSPORT_RESET);
    far->wire = NULL;
}

static void dialled(void *ctx, struct wire *x)
{
    struct scene *scene = ctx;
    far_begin(&scene->servers[scene->accepted++ % FARS], x);
}

/* ---- what happens ---- */

static void speak(struct far *far, struct slice text)
{
    struct buf out = {0};
    bool clear = far->wire && far->wire->t.kind != TRANSPORT_KIND_TLS;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '%')
            buf_add_str(&out, far->scene->previd);
        else if (text.p[i] == '~')
            buf_add_str(&out, clear ? IN_CLEAR : INSIDE);
        else
            buf_append(&out, text.p + i, 1);
    }
    say(far, buf_slice(&out));
    buf_free(&out);
}

static void connect_client(struct scene *scene)
{
    struct context *cx = &scene->world.worker[scene->worker];
    scene->worker = (scene->worker + 1) % WORLD_WORKERS;
    struct wire *x = wire_new(&scene->world, cx);
    far_begin(&scene->clients[scene->connected++ % FARS], x);
    scene->world.client_legs++;
    client_leg_new(cx, &x->t);
}

static void say_in_turn(struct scene *scene, const char *const *lines)
{
    for (; *lines; lines++) {
        say_str(client_of(scene), *lines);
        world_run(&scene->world);
    }
}

static void login(struct scene *scene)
{
    static const char *const clear[] = {HEADER "<starttls xmlns='" NS_TLS "'/>", NULL};
    static const char *const lines[] = {
        HEADER, "<auth xmlns='" NS_SASL "' mechanism='PLAIN'>AHJvbWVvAHNlY3JldA==</auth>", HEADER, NULL};
    scene->automatic = true;
    connect_client(scene);
    world_run(&scene->world);
    if (scene->world.settings.tls_required)
        say_in_turn(scene, clear);
    say_in_turn(scene, lines);
}

static void enter(struct scene *scene)
{
    static const char *const lines[] = {"<iq type='set' id='b'><bind xmlns='" NS_BIND "'/></iq>",
                                        "<enable xmlns='urn:xmpp:sm:3' resume='true'/><presence/>", NULL};
    login(scene);
    say_in_turn(scene, lines);
}

static void hold(struct far *far)
{
    if (!far->wire)
        return;
    far->wire->stuck = !far->wire->stuck;
    far->wire->window = far->wire->stuck ? 100 : 0;
}

static void happen(struct scene *scene, char what, struct slice text)
{
    struct far *client = client_of(scene), *server = server_of(scene);
    if (what == 'C')
        speak(client, text);
    else if (what == 'S')
        speak(server, text);
    else if (what == 'c')
        far_cut(client);
    else if (what == 's')
        far_cut(server);
    else if (what == 'e' && client->wire)
        wire_end(client->wire);
    else if (what == 'E' && server->wire)
        wire_end(server->wire);
    else if (what == 'z')
        hold(client);
    else if (what == 'Z')
        hold(server);
    else if (what == 'n')
        connect_client(scene);
    else if (what == 'L')
        enter(scene);
    else if (what == 'R')
        login(scene);
    else if (what == '.')
        world_wait(&scene->world, (text.n ? (unsigned char)(text.p[0] - '0') % 64 : 1) * USEC_S);
    world_run(&scene->world);
}

static void set_weather(struct world *w, char option)
{
    struct settings *set = &w->settings;
    w->login_late = option == 'l' ? 2 * USEC_S : w->login_late;
    w->login_refused |= option == 'f';
    switch (option) {
    case 'q':
        set->sm.queue_stanzas = 3;
        set->sm.queue_bytes = 1500;
        break;
    case 'm':
        set->limits.memory = 2000;
        break;
    case 'r':
        set->limits.stanzas_per_second = 1;
        set->limits.bytes_per_second = 100;
        break;
    case 'w':
        set->sm.detached_presence = PRESENCE_AWAY;
        break;
    case 'k':
        set->sm.confirm = CONFIRM_NONE;
        break;
    case 'e':
        set->sm.sessions_per_account = 1;
        break;
    }
}

static void set_options(struct scene *scene, struct slice options)
{
    struct settings *set = &scene->world.settings;
    for (size_t i = 0; i < options.n; i++) {
        set->tls_available |= options.p[i] == 't' || options.p[i] == 'T';
        set->tls_required |= options.p[i] == 'T';
        scene->automatic |= options.p[i] == 'a';
        if (options.p[i] == 'u')
            set->upstream_tls = UPSTREAM_TLS_STARTTLS;
        set_weather(&scene->world, options.p[i]);
    }
}

static void leave(struct scene *scene)
{
    for (int i = 0; i < FARS; i++)
        far_cut(&scene->clients[i]);
    world_run(&scene->world);
    world_free(&scene->world);
    for (int i = 0; i < FARS; i++) {
        stream_free(scene->clients[i].stream);
        stream_free(scene->servers[i].stream);
    }
    parser_pool_free(scene->parsers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = slice_of((const char *)data, n), line = SLICE_NONE;
    struct scene scene = {.automatic = false};
    if (!fuzz_line(&in, &line))
        return 0;
    world_init(&scene.world);
    scene.parsers = parser_pool_new();
    for (int i = 0; i < FARS; i++) {
        scene.clients[i].scene = scene.servers[i].scene = &scene;
        scene.servers[i].is_server = true;
    }
    scene.world.server = &scene;
    scene.world.dialled = dialled;
    scene.forged = memmem(data, n, "SAID", 4) != NULL;
    set_options(&scene, line);
    connect_client(&scene);
    for (int lines = 0; lines < 60 && fuzz_line(&in, &line); lines++)
        if (line.n)
            happen(&scene, line.p[0], slice_skip(line, 1));
    leave(&scene);
    return 0;
}

/* What cmocka's assertions in the world find, ends the run like what is found here. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    setenv("CMOCKA_TEST_ABORT", "1", 1);
    return 0;
}

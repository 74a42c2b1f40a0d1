/* load: many XMPP clients in one thread, told what to do by lines on stdin. Started and asked by bench.py. */
#include "base/mem.h"
#include "common/sockets.h"
#include "load/commands.h"
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1024 };

static void command_watch(struct load *l, char **arguments, struct buf *out)
{
    watch_add(&l->watch, arguments[0], atoi(arguments[1]));
    report_number(out, "counters", l->watch.counts);
}

static void command_memory(struct load *l, char **arguments, struct buf *out)
{
    (void)arguments;
    report_memory(out, &l->watch);
}

static const struct command commands[] = {
    {"watch", "NAME PID", 2, command_watch},
    {"memory", "", 0, command_memory},
    {"login", "FIRST COUNT AT_ONCE", 3, command_login},
    {"logout", "FIRST COUNT", 2, command_logout},
    {"storm", "FIRST COUNT AT_ONCE", 3, command_storm},
    {"cut", "FIRST COUNT", 2, command_cut},
    {"move", "FIRST COUNT AT_ONCE PORT", 4, command_move},
    {"pairs", "PAIRS BODY IN_FLIGHT WARM_MS MS", 5, command_pairs},
    {"open", "PAIRS BODY RATE WARM_MS MS", 5, command_open},
    {"post", "PAIRS BODY COUNT IN_FLIGHT RECEIPTS", 5, command_post},
    {"hold", "PAIRS", 1, command_hold},
    {"release", "PAIRS COUNT STEP", 3, command_release},
    {"greet", "PAIRS", 1, command_greet},
    {"slow", "PAIRS BODY", 2, command_slow},
    {"intrude", "FIRST COUNT", 2, command_intrude},
    {"trickle", "FIRST COUNT", 2, command_trickle},
};

void commands_need(const struct load *l, unsigned first, unsigned count)
{
    if (first > l->count || count > l->count - first)
        die("there are only %u clients", l->count);
}

bool commands_until(struct load *l, uint64_t deadline, bool (*done)(struct load *l))
{
    while (!done(l)) {
        if (now_ns() >= deadline)
            return false;
        load_turn(l, deadline);
    }
    return true;
}

unsigned commands_number(const char *argument)
{
    char *end;
    unsigned long value = strtoul(argument, &end, 10);
    if (*end || end == argument || value > UINT32_MAX)
        die("%s is no number", argument);
    return (unsigned)value;
}

static void run_line(struct load *l, char *line)
{
    char *arguments[ARGUMENTS_MAX], *rest = NULL, *name = strtok_r(line, " \n", &rest);
    unsigned count = 0;
    while (name && count < ARGUMENTS_MAX && (arguments[count] = strtok_r(NULL, " \n", &rest)))
        count++;
    for (unsigned i = 0; name && i < sizeof(commands) / sizeof(*commands); i++) {
        if (strcmp(name, commands[i].name) != 0 || count != commands[i].count)
            continue;
        struct buf out = {0};
        unsigned failed = l->failed, misordered = l->misordered;
        commands[i].run(l, arguments, &out);
        report_number(&out, "failed", l->failed - failed);
        report_number(&out, "misordered", l->misordered - misordered);
        printf("{%.*s}\n", SLICE_ARG(buf_slice(&out)));
        fflush(stdout);
        buf_free(&out);
        return;
    }
    die("no such command, or not so many arguments: %s", name ? name : "");
}

static SSL_CTX *new_tls(bool over_web)
{
    static const unsigned char xmpp[] = "\x0bxmpp-client", http[] = "\x08http/1.1";
    SSL_CTX *ssl = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION);
    SSL_CTX_set_mode(ssl,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF); /* each login is a full handshake */
    SSL_CTX_set_alpn_protos(ssl, over_web ? http : xmpp, (over_web ? sizeof(http) : sizeof(xmpp)) - 1);
    return ssl;
}

static void parse(struct load *l, int argc, char **argv)
{
    static const struct option options[] = {{"port", required_argument, NULL, 'p'},
                                            {"domain", required_argument, NULL, 'd'},
                                            {"clients", required_argument, NULL, 'n'},
                                            {"tls", no_argument, NULL, 't'},
                                            {"starttls", no_argument, NULL, 's'},
                                            {"websocket", no_argument, NULL, 'w'},
                                            {"sm", no_argument, NULL, 'm'},
                                            {"first-account", required_argument, NULL, 'f'},
                                            {"ask-every", required_argument, NULL, 'a'},
                                            {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (option) {
        case 'p':
            l->port = commands_number(optarg);
            break;
        case 'f':
            l->first_account = commands_number(optarg);
            break;
        case 'd':
            l->domain = optarg;
            break;
        case 'n':
            l->count = commands_number(optarg);
            break;
        case 't':
            l->tls = TLS_DIRECT;
            break;
        case 's':
            l->tls = TLS_STARTTLS;
            break;
        case 'w':
            l->over_web = true;
            break;
        case 'm':
            l->stream_management = true;
            break;
        case 'a':
            l->ask_every = commands_number(optarg);
            break;
        default:
            die("usage: load --port=N --domain=NAME --clients=N [--first-account=N] [--tls | --starttls] "
                "[--websocket] [--sm] [--ask-every=N]");
        }
}

static void make_clients(struct load *l)
{
    l->clients = mem_zalloc(l->count * sizeof(*l->clients));
    for (unsigned i = 0; i < l->count; i++) {
        l->clients[i].load = l;
        l->clients[i].number = i;
        l->clients[i].account = l->first_account + i;
        l->clients[i].next_number = 1;
        list_init(&l->clients[i].dirty);
    }
}

static void free_clients(struct load *l)
{
    for (unsigned i = 0; i < l->count; i++) {
        client_cut(&l->clients[i]);
        free(l->clients[i].jid);
        free(l->clients[i].previd);
    }
    free(l->clients);
}

int main(int argc, char **argv)
{
    struct load l = {.domain = "localhost", .ask_every = 5, .epoll = epoll_create1(EPOLL_CLOEXEC)};
    char line[LINE_MAX_BYTES];
    parse(&l, argc, argv);
    signal(SIGPIPE, SIG_IGN);
    if (descriptors_raise() < l.count + 64)
        die("not enough descriptors for %u clients", l.count);
    list_init(&l.dirty);
    l.ssl = new_tls(l.over_web);
    make_clients(&l);
    struct epoll_event event = {.events = EPOLLIN};
    if (epoll_ctl(l.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event))
        die("stdin: %m");
    setvbuf(stdin, NULL, _IONBF, 0); /* what is buffered here epoll would not tell of */
    for (;;) {
        while (!l.command_waits)
            load_turn(&l, UINT64_MAX);
        l.command_waits = false;
        if (!fgets(line, sizeof(line), stdin))
            break;
        run_line(&l, line);
    }
    free_clients(&l);
    SSL_CTX_free(l.ssl);
    close(l.epoll);
    return 0;
}

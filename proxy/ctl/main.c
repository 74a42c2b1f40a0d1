/* holdfastctl: shows a running Holdfast, and gives it orders, over its control socket. */
#include "answer.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_SOCKET "/run/holdfast/control"

static const char usage[] =
    "usage: holdfastctl [-s PATH] [--json] COMMAND\n"
    "  status                  what it does right now\n"
    "  sessions [JID]          sessions, of all or of one account\n"
    "      --state STATE       only attached, detached or unmanaged ones\n"
    "      --sort ORDER        unacked, oldest, slow, age or sid\n"
    "      --limit N           so many at most (1000)\n"
    "  message ID              what became of the stanzas with that id, as far as this node remembers\n"
    "  drain [--no-wait]       sends all clients away and stops; shows how far it is until it has ended\n"
    "  reload                  reads the configuration again; tells what is wrong with it\n"
    "  disconnect SID|JID      cuts the client's connection; its session waits for it\n"
    "      --end               ends the session\n"
    "  purge JID               removes what is kept for an account, and ends its detached sessions\n"
    "options:\n"
    "  -s, --socket PATH       the control socket; else the environment's HOLDFAST_LISTEN_CONTROL, else " DEFAULT_SOCKET
    "\n"
    "  --json                  prints answers as they come\n"
    "  -V, --version           prints the version\n"
    "  -h, --help              prints this\n"
    "exit status: 0 done; 1 holdfast was asked, and it was not done; 2 wrong usage, or holdfast cannot be reached\n";

enum { TAKES_STATE = 1, TAKES_SORT = 2, TAKES_LIMIT = 4, TAKES_NO_WAIT = 8, TAKES_END = 16 };

static const struct command {
    const char *name;
    enum exit_status (*run)(const struct options *o, const char *object);
    enum { NO_OBJECT, MAY_HAVE_OBJECT, NEEDS_OBJECT } object;
    int takes;         /* options of its own */
    const char *wants; /* the object, for NEEDS_OBJECT */
} commands[] = {
    {"status", command_status, NO_OBJECT, 0, NULL},
    {"sessions", command_sessions, MAY_HAVE_OBJECT, TAKES_STATE | TAKES_SORT | TAKES_LIMIT, NULL},
    {"message", command_message, NEEDS_OBJECT, 0, "the id of a stanza"},
    {"drain", command_drain, NO_OBJECT, TAKES_NO_WAIT, NULL},
    {"reload", command_reload, NO_OBJECT, 0, NULL},
    {"disconnect", command_disconnect, NEEDS_OBJECT, TAKES_END, "a JID or a session's id"},
    {"purge", command_purge, NEEDS_OBJECT, 0, "a JID"},
};
#define COMMANDS (sizeof commands / sizeof *commands)

struct line {
    struct options options;
    int given; /* TAKES_... */
    enum { RUN, SHOW_HELP, SHOW_VERSION, BAD } action;
};

static void take_option(struct line *l, int option)
{
    static const struct option_of {
        int letter, takes;
    } of[] = {{'S', TAKES_STATE}, {'O', TAKES_SORT}, {'L', TAKES_LIMIT}, {'N', TAKES_NO_WAIT}, {'E', TAKES_END}};
    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
        l->given |= of[i].letter == option ? of[i].takes : 0;
    switch (option) {
    case 's':
        l->options.socket = optarg;
        break;
    case 'J':
        l->options.json = true;
        break;
    case 'S':
        l->options.state = optarg;
        break;
    case 'O':
        l->options.sort = optarg;
        break;
    case 'L':
        l->options.limit = optarg;
        break;
    case 'N':
        l->options.no_wait = true;
        break;
    case 'E':
        l->options.end = true;
        break;
    case 'V':
        l->action = SHOW_VERSION;
        break;
    case 'h':
        l->action = SHOW_HELP;
        break;
    default:
        l->action = BAD;
    }
}

static struct line parse(int argc, char **argv)
{
    static const struct option names[] = {
        {"socket", required_argument, NULL, 's'}, {"json", no_argument, NULL, 'J'},
        {"state", required_argument, NULL, 'S'},  {"sort", required_argument, NULL, 'O'},
        {"limit", required_argument, NULL, 'L'},  {"no-wait", no_argument, NULL, 'N'},
        {"end", no_argument, NULL, 'E'},          {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
    const char *set = getenv("HOLDFAST_LISTEN_CONTROL");
    struct line l = {.options.socket = set && *set ? set : DEFAULT_SOCKET};
    for (int c; (c = getopt_long(argc, argv, "s:Vh", names, NULL)) != -1;) {
        take_option(&l, c);
        if (l.action == BAD)
            break;
    }
    return l;
}

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(name, commands[i].name) == 0)
            return &commands[i];
    return NULL;
}

/* NULL when the words do not make a command; that has been told. */
static const struct command *choose(const struct line *l, int words, char **word)
{
    const struct command *c = words ? find(word[0]) : NULL;
    if (!words)
        fputs(usage, stderr);
    else if (!c)
        complain("there is no command %s; holdfastctl --help lists them", word[0]);
    else if (words > 1 && c->object == NO_OBJECT)
        complain("%s takes nothing behind it: remove %s", c->name, word[1]);
    else if (words > 2)
        complain("one at a time: remove %s", word[2]);
    else if (c->object == NEEDS_OBJECT && (words < 2 || !*word[1]))
        complain("%s: say which, %s", c->name, c->wants);
    else if (l->given & ~c->takes)
        complain("%s does not take that option; see holdfastctl --help", c->name);
    else
        return c;
    return NULL;
}

int main(int argc, char **argv)
{
    struct line l = parse(argc, argv);
    switch (l.action) {
    case RUN:
        break;
    case SHOW_HELP:
        fputs(usage, stdout);
        return EXIT_DONE;
    case SHOW_VERSION:
        puts("holdfastctl " HOLDFAST_VERSION);
        return EXIT_DONE;
    case BAD:
        fputs(usage, stderr);
        return EXIT_NOT_ASKED;
    }
    const struct command *c = choose(&l, argc - optind, argv + optind);
    return c ? (int)c->run(&l.options, argc - optind > 1 ? argv[optind + 1] : NULL) : EXIT_NOT_ASKED;
}

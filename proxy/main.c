/* Holdfast: reads its arguments and its configuration, then runs the node. */
#include "base/counters.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/tls_memory.h"
#include "run/config.h"
#include "run/node.h"
#include "run/process_metrics.h"
#include "run/upstream_metrics.h"
#include "run/versions.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum action { RUN, CHECK, PRINT, VERSION, VERSIONS, HELP, HELP_CONFIG, DESCRIBE_METRICS, BAD_USAGE };

struct command {
    enum action action;
    const char *file;
    const char **options; /* NULL-terminated, of -o */
    size_t option_count;
};

static const char usage[] =
    "usage: holdfast [-c FILE] [-o section.key=value]... [-t | -T]\n"
    "  -c FILE               read the configuration from FILE\n"
    "  -o section.key=value  set a key, over the file and the environment (HOLDFAST_SECTION_KEY)\n"
    "  -t                    check the configuration and exit\n"
    "  -T                    print the configuration in force, with the origin of each value, and exit\n"
    "  -V                    print the version (-vv: those of all libraries too)\n"
    "  -h, --help            print this\n"
    "  --help-config         print all keys of the configuration, with their defaults\n"
    "  --describe-metrics    print all metrics of the stats port\n"
    "signals: HUP reloads, TERM and INT drain and stop, a second one stops at once\n";

static void add_option(struct command *command, const char *option)
{
    command->options = mem_realloc(command->options, (command->option_count + 2) * sizeof *command->options);
    command->options[command->option_count++] = option;
    command->options[command->option_count] = NULL;
}

static struct command parse_arguments(int argc, char **argv)
{
    enum { LONG_HELP_CONFIG = 256, LONG_DESCRIBE_METRICS };
    static const struct option long_options[] = {{"help", no_argument, NULL, 'h'},
                                                 {"help-config", no_argument, NULL, LONG_HELP_CONFIG},
                                                 {"describe-metrics", no_argument, NULL, LONG_DESCRIBE_METRICS},
                                                 {"version", no_argument, NULL, 'V'},
                                                 {NULL, 0, NULL, 0}};
    struct command command = {.action = RUN};
    for (int c; (c = getopt_long(argc, argv, "c:o:tTVvh", long_options, NULL)) != -1;) {
        switch (c) {
        case 'c':
            command.file = optarg;
            break;
        case 'o':
            add_option(&command, optarg);
            break;
        case 't':
            command.action = CHECK;
            break;
        case 'T':
            command.action = PRINT;
            break;
        case 'V':
            command.action = VERSION;
            break;
        case 'v': /* -v is -V, -vv tells more */
            command.action = command.action == VERSION ? VERSIONS : VERSION;
            break;
        case 'h':
            command.action = HELP;
            break;
        case LONG_HELP_CONFIG:
            command.action = HELP_CONFIG;
            break;
        case LONG_DESCRIBE_METRICS:
            command.action = DESCRIBE_METRICS;
            break;
        default:
            command.action = BAD_USAGE;
            return command;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "holdfast: unexpected argument %s\n", argv[optind]);
        command.action = BAD_USAGE;
    }
    return command;
}

/* Writes and frees the text; returns the exit status. */
static int print(struct buf *text)
{
    size_t n = text->n, written = fwrite(buf_slice(text).p, 1, n, stdout);
    buf_free(text);
    return written == n && fflush(stdout) == 0 ? 0 : 1;
}

/* Tells problems: as plain lines to the one who checks or cannot start, as log lines once the proxy runs. */
static void tell_problems(const struct config_problems *problems, bool running)
{
    for (size_t i = 0; i < problems->n; i++) {
        const struct config_problem *p = &problems->list[i];
        if (running)
            LOG(p->warning ? LOG_WARN : LOG_ERROR, "configuration", LF("detail", p->text));
        else
            fprintf(stderr, "%s%s\n", p->text, p->warning ? " (warning)" : "");
    }
}

static int print_config(const struct config *config)
{
    struct buf text = {0};
    config_print(config, &text);
    return print(&text);
}

/* The configuration for this command, NULL with its problems told. */
static struct config *load_config(const struct command *command)
{
    struct config_sources sources = {command->file, environ, (char *const *)command->options};
    struct config_problems problems = {0};
    struct config *config;
    if (config_load(&sources, &config, &problems) && command->action != PRINT) {
        config_check_tls(config, &problems);
        config_check_seal(config, &problems);
    }
    if (problems.errors) {
        config_free(config);
        config = NULL;
    }
    bool run = config && command->action == RUN;
    if (run)
        log_configure(config->log.level, config->log.format);
    tell_problems(&problems, run);
    config_problems_free(&problems);
    return config;
}

static int run_configured(const struct command *command, int argc, char **argv)
{
    struct config *config = load_config(command);
    int status = 0;
    if (!config)
        return 1;
    if (command->action == RUN)
        return node_run(argc, argv, config);
    if (command->action == PRINT)
        status = print_config(config);
    else
        puts("the configuration is valid");
    config_free(config);
    return status;
}

static int run_command(const struct command *command, int argc, char **argv)
{
    struct buf text = {0};
    switch (command->action) {
    case RUN:
    case CHECK:
    case PRINT:
        return run_configured(command, argc, argv);
    case VERSION:
        BUF_LIT(&text, "holdfast " HOLDFAST_VERSION "\n");
        break;
    case VERSIONS:
        versions_describe(&text);
        break;
    case HELP:
        buf_add_str(&text, usage);
        break;
    case HELP_CONFIG:
        config_describe(&text);
        break;
    case DESCRIBE_METRICS:
        counters_describe(&text);
        upstream_metrics_describe(&text);
        process_metrics_describe(&text);
        break;
    case BAD_USAGE:
        fputs(usage, stderr);
        return 1;
    }
    return print(&text);
}

int main(int argc, char **argv)
{
    tls_memory_init();
    struct command command = parse_arguments(argc, argv);
    int status = run_command(&command, argc, argv);
    free(command.options);
    return status;
}

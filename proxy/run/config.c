/* Loading: defaults, file, environment, options, each over the one before; then the checks of config_check.c. */
#include "run/config.h"
#include "base/mem.h"
#include "config_row.h"
#include "run/ini.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX   (1 << 20)
#define ENV_PREFIX "HOLDFAST_"

struct loader {
    struct config *config;
    struct config_problems *problems;
    enum config_source source;
    int line;
    const char *section; /* of the file's current line; NULL in an unknown one */
};

/* --- rows -------------------------------------------------------------------------------------------------------- */

const struct config_row *config_row_find(const char *section, const char *name)
{
    for (const struct config_row *row = config_rows; row < config_rows + config_row_count; row++)
        if (strcmp(row->key.section, section) == 0 && strcmp(row->key.name, name) == 0)
            return row;
    return NULL;
}

static const char *section_find(struct slice name)
{
    for (const struct config_row *row = config_rows; row < config_rows + config_row_count; row++)
        if (slice_eq_str(name, row->key.section))
            return row->key.section;
    return NULL;
}

static struct config_entry *entry_of(const struct config *config, const struct config_row *row)
{
    return &config->origins->entry[row - config_rows];
}

const struct config_key *config_key_at(size_t i)
{
    return i < config_row_count ? &config_rows[i].key : NULL;
}

/* --- problems ---------------------------------------------------------------------------------------------------- */

/* Takes text. What came from outside must not steer the terminal. */
static void add_problem(struct config_problems *problems, bool warning, char *text)
{
    for (char *p = text; *p; p++)
        if (iscntrl((unsigned char)*p))
            *p = '?';
    problems->list = mem_realloc(problems->list, (problems->n + 1) * sizeof *problems->list);
    problems->list[problems->n++] = (struct config_problem){warning, text};
    problems->errors += !warning;
}

static char *vprint(const char *format, va_list args)
{
    char *text;
    return vasprintf(&text, format, args) < 0 ? mem_strdup(format) : text;
}

void config_problem_add(struct config_problems *problems, bool warning, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_problem(problems, warning, vprint(format, args));
    va_end(args);
}

void config_problems_free(struct config_problems *problems)
{
    for (size_t i = 0; i < problems->n; i++)
        free(problems->list[i].text);
    free(problems->list);
    *problems = (struct config_problems){0};
}

static void add_environment_name(struct buf *out, const struct config_key *key)
{
    char *name = mem_printf(ENV_PREFIX "%s_%s", key->section, key->name);
    for (char *p = name; *p; p++)
        *p = (char)toupper((unsigned char)*p);
    buf_add_str(out, name);
    free(name);
}

static void add_origin(struct buf *out, const struct config *config, const struct config_row *row)
{
    const struct config_entry *entry = entry_of(config, row);
    switch (entry->source) {
    case FROM_DEFAULT:
        BUF_LIT(out, "default");
        break;
    case FROM_FILE:
        buf_printf(out, "%s:%d", config->origins->file, entry->line);
        break;
    case FROM_ENVIRONMENT:
        BUF_LIT(out, "environment ");
        add_environment_name(out, &row->key);
        break;
    case FROM_OPTION:
        BUF_LIT(out, "option -o");
        break;
    }
}

/* As add_origin, for problems: a default is at fault only together with something that is missing, in the file. */
static char *place_at_fault(const struct config *config, const struct config_row *row)
{
    struct buf place = {0};
    if (entry_of(config, row)->source == FROM_DEFAULT)
        buf_add_str(&place, config->origins->file ? config->origins->file : "configuration");
    else
        add_origin(&place, config, row);
    return buf_steal(&place);
}

void config_problem_at(const struct config *config, struct config_problems *problems, bool warning, const char *section,
                       const char *name, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *reason = vprint(format, args), *place = place_at_fault(config, config_row_find(section, name));
    va_end(args);
    config_problem_add(problems, warning, "%s: %s.%s: %s", place, section, name, reason);
    free(reason);
    free(place);
}

/* --- suggestions for what is misspelled -------------------------------------------------------------------------- */

/* Edit distance (insert, delete, replace), case aside; long texts are as good as far away. */
static size_t distance(const char *a, const char *b)
{
    enum { MOST = 64 };
    size_t n = strlen(a), m = strlen(b), row[MOST + 1];
    if (n > MOST || m > MOST)
        return MOST;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t replace = diagonal + (tolower((unsigned char)a[i - 1]) != tolower((unsigned char)b[j - 1]));
            diagonal = row[j];
            size_t shift = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = replace < shift ? replace : shift;
        }
    }
    return row[m];
}

/* The row that was probably meant: a near spelling, or the same name in another section; NULL when nothing is near. */
static const struct config_row *nearest(const char *section, const char *name)
{
    const struct config_row *best = NULL;
    size_t least = 4, n = strlen(name);
    for (const struct config_row *row = config_rows; row < config_rows + config_row_count; row++) {
        size_t d = distance(section, row->key.section) + distance(name, row->key.name);
        if (strcasecmp(name, row->key.name) == 0 && d > 1)
            d = 1;
        if (d < least && d <= n / 2 + 1) {
            best = row;
            least = d;
        }
    }
    return best;
}

/* "; did you mean …?" or where to look. */
static char *key_hint(const char *section, const char *name)
{
    const struct config_row *row = nearest(section, name);
    return row ? mem_printf("did you mean %s.%s?", row->key.section, row->key.name)
               : mem_strdup("see holdfast --help-config for the keys");
}

static char *section_hint(const char *name)
{
    const struct config_row *best = NULL;
    struct buf all = {0};
    for (const struct config_row *row = config_rows; row < config_rows + config_row_count; row++) {
        if (row > config_rows && strcmp(row->key.section, row[-1].key.section) == 0)
            continue;
        if (distance(name, row->key.section) <= 2)
            best = row;
        buf_printf(&all, "%s%s", all.n ? ", " : "take one of ", row->key.section);
    }
    if (!best)
        return buf_steal(&all);
    buf_free(&all);
    return mem_printf("did you mean [%s]?", best->key.section);
}

/* --- setting values ---------------------------------------------------------------------------------------------- */

/* Where the loader is, for problems: "FILE:LINE", "environment NAME", "option -o". */
static char *place_of(const struct loader *l, const char *section, const char *name)
{
    struct buf out = {0};
    if (l->source == FROM_FILE)
        return mem_printf("%s:%d", l->config->origins->file, l->line);
    if (l->source == FROM_OPTION)
        return mem_strdup("option -o");
    BUF_LIT(&out, "environment ");
    add_environment_name(&out, &(struct config_key){.section = section, .name = name});
    return buf_steal(&out);
}

static void complain(struct loader *l, bool warning, const char *section, const char *name, const char *reason)
{
    char *place = place_of(l, section, name);
    config_problem_add(l->problems, warning, "%s: %s.%s: %s", place, section, name, reason);
    free(place);
}

/* Puts the value in force; the text must fit the row. */
static bool put(struct config *config, const struct config_row *row, const char *text, struct buf *reason)
{
    struct config_entry *entry = entry_of(config, row);
    if (!row->type->set(config, row, text, reason))
        return false;
    char *copy = mem_strdup(text); /* text may be entry->text */
    free(entry->text);
    entry->text = copy;
    return true;
}

/* Why the row cannot take text at all; false when it can. */
static bool is_refused(const struct loader *l, const struct config_row *row, const char *text, struct buf *reason)
{
    const struct config_entry *entry = entry_of(l->config, row);
    if (l->source == FROM_FILE && entry->source == FROM_FILE)
        buf_printf(reason, "was set before, in line %d; remove one of the two", entry->line);
    else if (row->only && strcmp(text, row->only) != 0)
        buf_printf(reason, "anything but %s is not built yet; remove it", row->only);
    else if (!row->key.built && !row->only)
        BUF_LIT(reason, "is not built yet; remove it");
    return reason->n > 0;
}

static void refuse_unknown(struct loader *l, const char *section, const char *name)
{
    char *hint = key_hint(section, name), *reason = mem_printf("unknown key; %s", hint);
    /* The environment is not ours alone: a cluster manager names its services there too. */
    complain(l, l->source == FROM_ENVIRONMENT, section, name, reason);
    free(reason);
    free(hint);
}

static void assign(struct loader *l, const char *section, const char *name, const char *text)
{
    const struct config_row *row = config_row_find(section, name);
    if (!row) {
        refuse_unknown(l, section, name);
        return;
    }
    struct buf reason = {0};
    struct config_entry *entry = entry_of(l->config, row);
    bool good = !is_refused(l, row, text, &reason) && put(l->config, row, text, &reason);
    if (!good && (strstr(text, " #") || strstr(text, " ;")))
        BUF_LIT(&reason, " (a comment needs a line of its own)");
    entry->source = l->source;
    entry->line = l->line;
    entry->bad |= !good;
    char *why = buf_steal(&reason);
    if (!good)
        complain(l, false, section, name, why);
    free(why);
}

/* --- sources ----------------------------------------------------------------------------------------------------- */

static void set_default(struct config *config, const char *section, const char *name, char *text)
{
    struct buf reason = {0};
    put(config, config_row_find(section, name), text, &reason);
    buf_free(&reason);
    free(text);
}

static unsigned processors(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

/* Host name and process id, in what a node's name may consist of. */
static char *default_node(void)
{
    char host[48] = "";
    gethostname(host, sizeof host - 1);
    for (char *p = host; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr(".-", *p))
            *p = '-';
    return mem_printf("%s-%ld", *host ? host : "node", (long)getpid());
}

static void set_defaults(struct config *config)
{
    for (const struct config_row *row = config_rows; row < config_rows + config_row_count; row++)
        if (row->key.initial)
            set_default(config, row->key.section, row->key.name, mem_strdup(row->key.initial));
    set_default(config, "proxy", "node", default_node());
    set_default(config, "proxy", "workers", mem_printf("%u", processors()));
    /* Fixed: no operator has a reason to change these. */
    config->settings.limits.stream.tag_bytes = 16 << 10;
    config->settings.limits.stream.attributes = 256;
    config->settings.limits.stream.namespace_bytes = 1024;
    config->settings.limits.login_bytes = 64 << 10;
}

static void on_section(void *ctx, int line, struct slice name)
{
    struct loader *l = ctx;
    l->section = section_find(name);
    if (!l->section) {
        char *text = mem_dup(name), *hint = section_hint(text);
        config_problem_add(l->problems, false, "%s:%d: [%s]: unknown section; %s", l->config->origins->file, line, text,
                           hint);
        free(hint);
        free(text);
    }
}

static void on_value(void *ctx, int line, struct slice key, struct slice value)
{
    struct loader *l = ctx;
    if (!l->section)
        return;
    char *name = mem_dup(key), *text = mem_dup(value);
    l->line = line;
    assign(l, l->section, name, text);
    free(name);
    free(text);
}

static void on_error(void *ctx, int line, const char *reason)
{
    struct loader *l = ctx;
    config_problem_add(l->problems, false, "%s:%d: %s", l->config->origins->file, line, reason);
}

/* All of a file; 0 or an errno. */
static int read_file(const char *path, struct buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = -1;
    while (fd >= 0 && out->n <= FILE_MAX && (n = read(fd, buf_reserve(out, 4096), 4096)) > 0)
        buf_commit(out, (size_t)n);
    int error = n < 0 ? errno : n > 0 ? EFBIG : 0;
    if (fd >= 0)
        close(fd);
    return error;
}

static void load_file(struct loader *l)
{
    static const struct ini_events events = {on_section, on_value, on_error};
    const char *path = l->config->origins->file;
    struct buf text = {0};
    int error = path ? read_file(path, &text) : 0;
    l->source = FROM_FILE;
    if (error)
        config_problem_add(l->problems, false, "%s: cannot read the configuration: %s; name a readable file with -c",
                           path, strerror(error));
    else
        ini_parse(buf_slice(&text), &events, l);
    buf_free(&text);
}

/* Names of the environment are ours if they have a section of ours in them. */
static void load_environment(struct loader *l)
{
    l->source = FROM_ENVIRONMENT;
    for (char **p = l->config->origins->environment; *p; p++) {
        char *section = mem_strdup(*p + strlen(ENV_PREFIX)), *value = strchr(section, '='), *name;
        if (value)
            *value++ = '\0';
        for (char *c = section; *c; c++)
            *c = (char)tolower((unsigned char)*c);
        name = strchr(section, '_');
        if (name)
            *name++ = '\0';
        if (name && value && *value && section_find(slice_str(section)))
            assign(l, section, name, value);
        free(section);
    }
}

/* White space at both ends taken off, in place. */
static char *trim(char *text)
{
    size_t n = strlen(text);
    while (n && isspace((unsigned char)text[n - 1]))
        text[--n] = '\0';
    return text + strspn(text, " \t");
}

static void load_options(struct loader *l)
{
    l->source = FROM_OPTION;
    for (char **p = l->config->origins->options; *p; p++) {
        char *copy = mem_strdup(*p), *value = strchr(copy, '='), *name = strchr(copy, '.');
        if (value && name && name < value) {
            *value++ = *name++ = '\0';
            assign(l, trim(copy), trim(name), trim(value));
        } else {
            copy[strcspn(copy, "=")] = '\0'; /* the value may be a secret */
            config_problem_add(l->problems, false, "option -o %s: write section.key=value, e.g. -o log.level=debug",
                               copy);
        }
        free(copy);
    }
}

/* A copy of those that begin with prefix. */
static char **copy_strings(char *const *from, const char *prefix)
{
    char **copy = MEM_NEW(char *);
    size_t n = 0;
    for (; from && *from; from++) {
        if (strncmp(*from, prefix, strlen(prefix)) == 0) {
            copy = mem_realloc(copy, (n + 2) * sizeof *copy);
            copy[n++] = mem_strdup(*from);
            copy[n] = NULL;
        }
    }
    return copy;
}

static void free_strings(char **list)
{
    for (char **p = list; *p; p++)
        free(*p);
    free(list);
}

/* --- the module's face ------------------------------------------------------------------------------------------- */

static struct config *load(const struct config_sources *sources, struct config_problems *problems)
{
    struct config *config = MEM_NEW(struct config);
    struct loader l = {.config = config, .problems = problems};
    config->origins = MEM_NEW(struct config_origins);
    config->origins->entry = mem_zalloc(config_row_count * sizeof *config->origins->entry);
    config->origins->file = mem_strdup(sources->file);
    config->origins->environment = copy_strings(sources->environment, ENV_PREFIX);
    config->origins->options = copy_strings(sources->options, "");
    set_defaults(config);
    load_file(&l);
    load_environment(&l);
    load_options(&l);
    return config;
}

static bool finish(struct config *config, struct config **config_r, struct config_problems *problems)
{
    config_check(config, problems);
    if (problems->errors) {
        config_free(config);
        config = NULL;
    }
    *config_r = config;
    return config != NULL;
}

bool config_load(const struct config_sources *sources, struct config **config_r, struct config_problems *problems)
{
    return finish(load(sources, problems), config_r, problems);
}

/* Puts back the values that a running process cannot change. */
static void keep_fixed(const struct config *running, struct config *config, struct config_problems *problems)
{
    for (const struct config_row *row = config_rows; row < config_rows + config_row_count; row++) {
        const struct config_entry *old = entry_of(running, row);
        struct config_entry *entry = entry_of(config, row);
        struct buf unused = {0};
        if (row->key.reloadable || !old->text || (entry->text && strcmp(entry->text, old->text) == 0))
            continue;
        char *place = place_at_fault(config, row);
        config_problem_add(problems, true, "%s: %s.%s: changes with a restart only; the running process keeps %s",
                           place, row->key.section, row->key.name, row->secret ? "its own" : old->text);
        free(place);
        put(config, row, old->text, &unused);
        buf_free(&unused);
        entry->source = old->source;
        entry->line = old->line;
    }
}

bool config_reload(const struct config *running, struct config **config_r, struct config_problems *problems)
{
    const struct config_origins *origins = running->origins;
    struct config_sources sources = {origins->file, origins->environment, origins->options};
    struct config *config = load(&sources, problems);
    if (!problems->errors)
        keep_fixed(running, config, problems);
    return finish(config, config_r, problems);
}

void config_free(struct config *config)
{
    if (!config)
        return;
    for (const struct config_row *row = config_rows; row < config_rows + config_row_count; row++) {
        if (row->type->release)
            row->type->release(config, row);
        free(entry_of(config, row)->text);
    }
    free_strings(config->origins->environment);
    free_strings(config->origins->options);
    free(config->origins->file);
    free(config->origins->entry);
    free(config->origins);
    free(config->tls.pairs);
    free(config);
}

const char *config_value(const struct config *config, const char *section, const char *name, char **origin_r)
{
    const struct config_row *row = config_row_find(section, name);
    struct buf origin = {0};
    if (!row)
        return NULL;
    if (origin_r) {
        add_origin(&origin, config, row);
        *origin_r = buf_steal(&origin);
    }
    return entry_of(config, row)->text;
}

/* `scheme://user:password@host` without the password. */
static void add_masked(struct buf *out, const char *url)
{
    const char *at = strrchr(url, '@'), *scheme = strstr(url, "://");
    const char *colon = scheme && at > scheme + 3 ? memchr(scheme + 3, ':', (size_t)(at - scheme) - 3) : NULL;
    if (colon)
        buf_printf(out, "%.*s:***%s", (int)(colon - url), url, at);
    else
        buf_add_str(out, url);
}

void config_print(const struct config *config, struct buf *out)
{
    for (const struct config_row *row = config_rows; row < config_rows + config_row_count; row++) {
        const char *text = entry_of(config, row)->text;
        buf_printf(out, "%s.%s = ", row->key.section, row->key.name);
        if (row->secret)
            add_masked(out, text);
        else
            buf_add_str(out, *text ? text : "none");
        BUF_LIT(out, "  # ");
        add_origin(out, config, row);
        buf_add_str(out, row->key.built ? "\n" : ", not built yet\n");
    }
}

void config_describe(struct buf *out)
{
    for (const struct config_row *row = config_rows; row < config_rows + config_row_count; row++) {
        const struct config_key *key = &row->key;
        if (!key->built) {
            buf_printf(out, "%s.%s (not built yet)\n    %s\n", key->section, key->name, key->help);
            continue;
        }
        buf_printf(out, "%s.%s = %s", key->section, key->name, row->words ? row->words : row->type->name);
        if (key->initial)
            buf_printf(out, ", default %s", key->initial);
        buf_printf(out, "%s\n    %s\n", key->reloadable ? ", reloadable" : "", key->help);
    }
}

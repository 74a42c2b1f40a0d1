/* What the files of the configuration share: the rows of the table, the kinds of values, and how problems are noted. */
#ifndef HOLDFAST_RUN_CONFIG_ROW_H
#define HOLDFAST_RUN_CONFIG_ROW_H

#include "run/config.h"
#include <stdint.h>

struct config_row;

/* A kind of value. */
struct config_type {
    const char *name;
    /* Puts text into the row's field of config (releasing what was there); on false nothing has changed, and reason
     * tells why and what to do. */
    bool (*set)(struct config *config, const struct config_row *row, const char *text, struct buf *reason);
    void (*release)(struct config *config, const struct config_row *row); /* NULL: nothing to free */
};

extern const struct config_type config_text, config_file, config_node, config_location, config_domains, config_paths,
    config_addresses, config_sources, config_networks, config_upstream, config_resolver, config_duration, config_size,
    config_count, config_large_count, config_bool, config_word, config_later, config_socket, config_url_path,
    config_web_origins, config_ws_url, config_mode, config_store;

struct config_row {
    struct config_key key;
    const struct config_type *type;
    size_t offset;     /* of the field in struct config */
    int64_t min, max;  /* of numbers, in base units */
    const char *words; /* of config_word: "none|starttls|direct", in the order of the enum */
    const char *only;  /* the only value that is built yet; NULL = all, or none if !key.built */
    bool secret;       /* a URL that may hold a password */
    bool is_file;      /* names files that must be readable (config_file or config_paths) */
};

extern const struct config_row config_rows[];
extern const size_t config_row_count;

const struct config_row *config_row_find(const char *section, const char *name);
static inline void *config_field(const struct config *config, const struct config_row *row)
{
    return (char *)config + row->offset;
}

enum config_source { FROM_DEFAULT, FROM_FILE, FROM_ENVIRONMENT, FROM_OPTION };

struct config_entry {
    char *text; /* NULL while not set */
    enum config_source source;
    int line;
    bool bad; /* some source had a wrong value: checks across keys leave it alone */
};

struct config_origins {
    struct config_entry *entry; /* parallel to config_rows */
    char *file;
    char **environment, **options;
};

void config_problem_add(struct config_problems *problems, bool warning, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* With the origin of that key ahead of it. */
void config_problem_at(const struct config *config, struct config_problems *problems, bool warning, const char *section,
                       const char *name, const char *format, ...) __attribute__((format(printf, 6, 7)));

/* Fills what follows from several keys, and checks what concerns more than one, and the files. */
void config_check(struct config *config, struct config_problems *problems);

/* Splits "host:port", "host" or "[v6]:port"; *port_r keeps its value when there is none. False with a reason. */
bool config_host_port(const char *text, char **host_r, int *port_r, struct buf *reason);
/* Splits a listen address; the host is "*" where only the port is given. The text must have passed config_addresses. */
void config_address_split(const char *text, struct slice *host_r, int *port_r);

#endif

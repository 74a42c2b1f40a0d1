#include "ports.h"
#include "base/log.h"
#include "base/mem.h"
#include "run/systemd.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct passed {
    struct systemd_socket *list; /* taken ones have fd -1 */
    size_t n;
};

const char *port_kind_name(enum port_kind kind)
{
    static const char *const name[PORT_KINDS] = {"starttls", "tls", "ws", "wss", "peer"};
    return name[kind];
}

static void log_port(const char *address, enum port_kind kind, const char *bound_by)
{
    static const char *const what[PORT_KINDS] = {"STARTTLS and clear", "direct TLS", "WebSocket", "WebSocket over TLS",
                                                 "other nodes"};
    LOG(LOG_INFO, "listening", LF("address", address), LF("for", what[kind]), LF("bound_by", bound_by));
}

bool port_add(struct proxy_node *node, const char *address, enum port_kind kind, char **error_r)
{
    struct listener *first = listener_open(address, error_r);
    char text[ENDPOINT_TEXT];
    if (!first)
        return false;
    for (unsigned i = 0; i < node->worker_count; i++) {
        struct listener *l = i == 0 ? first : listener_clone(first, error_r);
        if (!l)
            return false;
        worker_add_listener(node->workers[i], l, kind, false);
    }
    log_port(listener_address(first, text), kind, "holdfast");
    return true;
}

/* --- Socket activation --- */

struct passed *passed_new(char **error_r)
{
    static const char *const kinds[] = {"starttls", "tls", "ws", "wss", "stats"};
    struct passed *p = MEM_NEW(struct passed);
    *error_r = NULL;
    p->n = systemd_sockets(&p->list);
    for (size_t i = 0; i < p->n && !*error_r; i++) {
        bool known = false;
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
            known |= strcmp(p->list[i].name, kinds[k]) == 0;
        if (!known)
            *error_r = mem_printf("\"%s\" is no kind of port; set FileDescriptorName= of the socket unit to starttls, "
                                  "tls, ws, wss or stats",
                                  p->list[i].name);
    }
    if (*error_r) {
        passed_free(p);
        return NULL;
    }
    return p;
}

void passed_free(struct passed *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n; i++) {
        if (p->list[i].fd >= 0)
            close(p->list[i].fd);
        free(p->list[i].name);
    }
    free(p->list);
    free(p);
}

static struct systemd_socket *find(const struct passed *p, const char *kind)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->list[i].fd >= 0 && strcmp(p->list[i].name, kind) == 0)
            return &p->list[i];
    return NULL;
}

bool passed_has(const struct passed *p, const char *kind)
{
    return find(p, kind) != NULL;
}

int passed_take(struct passed *p, const char *kind)
{
    struct systemd_socket *s = find(p, kind);
    int fd = s ? s->fd : -1;
    if (s)
        s->fd = -1;
    return fd;
}

/* How many of the n are on the same address as this one, and how many of these come before it. */
static unsigned count_same(struct listener *const *list, size_t n, size_t which, unsigned *before_r)
{
    char text[ENDPOINT_TEXT], other[ENDPOINT_TEXT];
    unsigned same = 0;
    listener_address(list[which], text);
    for (size_t i = 0; i < n; i++) {
        if (i == which)
            *before_r = same;
        same += strcmp(listener_address(list[i], other), text) == 0;
    }
    return same;
}

/* All sockets of that kind as listeners; NULL with *error_r. */
static struct listener **adopt_all(struct passed *p, const char *kind, size_t *n_r, char **error_r)
{
    struct listener **list = mem_zalloc(p->n * sizeof *list);
    size_t n = 0;
    for (int fd; (fd = passed_take(p, kind)) >= 0; n++) {
        list[n] = listener_adopt(fd, error_r);
        if (!list[n]) {
            close(fd);
            while (n)
                listener_free(list[--n]);
            free(list);
            return NULL;
        }
    }
    *n_r = n;
    return list;
}

bool passed_add_ports(struct passed *p, struct proxy_node *node, enum port_kind kind, char **error_r)
{
    const struct settings *set = &node->config->settings;
    const char *name = port_kind_name(kind);
    bool secure = kind == PORT_TLS || kind == PORT_WSS || (kind == PORT_STARTTLS && set->tls_required);
    if (secure && !set->tls_available) {
        *error_r = mem_printf("%s needs a certificate; set tls.certificate and tls.key", name);
        return false;
    }
    size_t n;
    struct listener **list = adopt_all(p, name, &n, error_r);
    if (!list)
        return false;
    for (size_t i = 0; i < n; i++) {
        unsigned before = 0, same = count_same(list, n, i, &before);
        char text[ENDPOINT_TEXT];
        worker_add_listener(node->workers[before % node->worker_count], list[i], kind, same < node->worker_count);
        log_port(listener_address(list[i], text), kind, "service manager");
    }
    free(list);
    return true;
}

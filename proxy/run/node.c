/* The node: starts the workers, then waits for signals; reload, drain and stop. */
#include "run/node.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/slab.h"
#include "certificate_watch.h"
#include "config_row.h"
#include "drain.h"
#include "memory_trim.h"
#include "net/listener.h"
#include "net/tls_tickets.h"
#include "node_control.h"
#include "node_orders.h"
#include "node_stats.h"
#include "ports.h"
#include "run/systemd.h"
#include "run/worker.h"
#include "seal.h"
#include "session/answered.h"
#include "session/echoes.h"
#include "session/session.h"
#include "storage.h"
#include "store/memory.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define LOGIN_GUARD_PLACES (32 << 10)           /* 1 MiB */
#define WAKE_SIGNAL        SIGUSR1              /* of our own, to the main thread */
#define TICK_MS            100                  /* how often the main thread looks around while nothing is signalled */
#define TICKET_KEY_AGE     (12 * 3600 * USEC_S) /* of the key that seals; it opens for as long once more */

struct running {
    struct proxy_node node;
    struct stats_http **stats; /* NULL-terminated; NULL = none */
    size_t stats_count;
    struct passed *passed; /* NULL after the start */
    struct list retired;   /* struct retired.link */
    usec fed;              /* the watchdog */
    usec rotated;          /* the ticket keys */
    struct memory_trim trim;
    struct certificate_watch *certificates;
    struct drain drain;
    struct stats_http *control; /* NULL: no control socket */
    pthread_t thread;           /* the main one */
};

/* A configuration that a reload has replaced, until no worker looks at it any more. */
struct retired {
    struct list link;
    struct config *config;
    unsigned users;
};

static usec mono_now(void)
{
    struct clock now;
    clock_read(&now);
    return now.mono;
}

/* ---- start ---- */

/* The configuration line that an error comes from. */
static void tell(const struct config *config, const char *section, const char *key, char *error)
{
    char *origin = NULL;
    config_value(config, section, key, &origin);
    const char *cure = strstr(error, "in use") ? "; choose another port, or stop what uses it" : "";
    fprintf(stderr, "%s: %s.%s: %s%s\n", origin ? origin : "default", section, key, error, cure);
    free(origin);
    free(error);
}

/* Sockets that the service manager has passed have no line in the configuration. */
static void tell_passed(char *error)
{
    fprintf(stderr, "passed sockets: %s\n", error);
    free(error);
}

static bool take_passed(struct running *r)
{
    char *error = NULL;
    r->passed = passed_new(&error);
    if (!r->passed)
        tell_passed(error);
    return r->passed != NULL;
}

/* What the configuration binds, or what the service manager has bound of that kind. */
static bool add_ports(struct running *r, char **addresses, enum port_kind kind)
{
    const char *key = port_kind_name(kind);
    struct proxy_node *node = &r->node;
    char *error = NULL;
    if (passed_has(r->passed, key)) {
        if (passed_add_ports(r->passed, node, kind, &error))
            return true;
        tell_passed(error);
        return false;
    }
    for (char **a = addresses; *a; a++) {
        if (!port_add(node, *a, kind, &error)) {
            tell(node->config, "listen", key, error);
            return false;
        }
    }
    return true;
}

static bool make_workers(struct proxy_node *node)
{
    node->workers = mem_zalloc(node->config->proxy.workers * sizeof *node->workers);
    for (unsigned i = 0; i < node->config->proxy.workers; i++) {
        char *error = NULL;
        node->workers[i] = worker_new(node, i, &error);
        if (!node->workers[i]) {
            tell(node->config, "tls", "certificate", error);
            return false;
        }
        node->worker_count++;
    }
    return true;
}

static void note_stats(struct running *r, struct stats_http *h)
{
    r->stats = mem_realloc(r->stats, (r->stats_count + 2) * sizeof *r->stats);
    r->stats[r->stats_count++] = h;
    r->stats[r->stats_count] = NULL;
    LOG(LOG_INFO, "stats port", LF_INT("port", stats_http_port(h)));
}

static bool start_passed_stats(struct running *r, const struct stats_source *source)
{
    for (int fd; (fd = passed_take(r->passed, "stats")) >= 0;) {
        char *error = NULL;
        struct stats_http *h = stats_http_adopt(fd, source, &error);
        if (!h) {
            tell_passed(error);
            return false;
        }
        note_stats(r, h);
    }
    return true;
}

static bool start_stats(struct running *r)
{
    struct stats_source source = node_stats_source(&r->node);
    if (passed_has(r->passed, "stats"))
        return start_passed_stats(r, &source);
    for (char **address = r->node.config->listen.stats; *address; address++) {
        char *error = NULL;
        struct stats_http *h = stats_http_start(*address, &source, &error);
        if (!h) {
            tell(r->node.config, "listen", "stats", error);
            return false;
        }
        note_stats(r, h);
    }
    return true;
}

static bool start_control(struct running *r)
{
    const char *path = r->node.config->listen.control;
    if (!path)
        return true;
    struct stats_source source = node_stats_source(&r->node);
    struct control_actions actions = node_control_actions(&r->node);
    char *error = NULL;
    r->control = control_http_start(path, r->node.config->listen.control_mode, &source, &actions, &error);
    if (!r->control) {
        tell(r->node.config, "listen", "control", error);
        return false;
    }
    LOG(LOG_INFO, "control socket", LF("path", path));
    return true;
}

/* A session takes two descriptors. As many as the system lets us have. */
static void raise_descriptors(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    getrlimit(RLIMIT_NOFILE, &files);
    LOG(LOG_INFO, "descriptors", LF_INT("limit", files.rlim_cur), LF_INT("sessions_at_most", files.rlim_cur / 2));
}

static void note_config(struct proxy_node *node, struct config *config)
{
    node->config = config;
    node->limits.memory = config->settings.limits.memory;
    node->limits.connections = config->settings.limits.connections;
    node->limits.connections_per_ip = config->settings.limits.connections_per_ip;
    node->limits.sessions_per_account = config->settings.sm.sessions_per_account;
    node->limits.queue_stanzas = config->settings.sm.queue_stanzas;
    node->limits.queue_bytes = config->settings.sm.queue_bytes;
    node->confirm_none = config->settings.sm.confirm == CONFIRM_NONE;
    if (node->confirm_none)
        LOG(LOG_WARN,
            "sm.confirm = none: a stanza is acked when the server's TCP has it; a crash of the server can lose it");
}

static void note_certificates(struct running *r, const struct config *config, const struct tls_context *server)
{
    struct clock now;
    clock_read(&now);
    atomic_store(&r->node.certificate_expiry, certificate_watch_note(r->certificates, config, server, &now));
}

static bool make_tickets(struct running *r)
{
    char *error = NULL;
    r->node.tickets = tls_tickets_new(r->node.config->tls.ticket_key_file, &error);
    r->rotated = mono_now();
    if (!r->node.tickets)
        tell(r->node.config, "tls", "ticket_key_file", error);
    return r->node.tickets != NULL;
}

static struct storage *make_storage(struct proxy_node *node)
{
    char *error = NULL;
    struct storage *s = storage_new(node->config, node->name, &node->memory, &error);
    if (error)
        LOG(LOG_ERROR, "cannot start", LF("reason", error));
    free(error);
    return s;
}

static bool load_store(struct proxy_node *node)
{
    const char *file = node->config->store.file;
    char *error = file ? memory_store_load(storage_memory(node->storage), file) : NULL;
    if (error) {
        tell(node->config, "store", "file", error);
        return false;
    }
    struct memory_store_figures figures = memory_store_figures(storage_memory(node->storage));
    if (file)
        LOG(LOG_INFO, "store file read", LF("file", file), LF_INT("messages", figures.messages),
            LF_INT("sessions", figures.sessions));
    count_add(node->counters, METRIC_restored_mail, (int64_t)figures.messages);
    count_add(node->counters, METRIC_restored_out, (int64_t)figures.outbox);
    return true;
}

/* The sessions of the last run, shared out among the workers, whose threads have not begun. */
static void thaw_sessions(struct proxy_node *node)
{
    struct store *store = memory_store_get(storage_memory(node->storage));
    char sid[SID_SIZE];
    unsigned next = 0;
    for (struct buf record = {0}; store->ops->session_take(store, sid, &record);) {
        session_thaw(worker_context(node->workers[next++ % node->worker_count]), sid, buf_slice(&record));
        buf_free(&record);
    }
}

static void check_upstreams(void *ctx)
{
    struct proxy_node *node = ctx;
    worker_check_upstreams(node->workers[0]);
}

/* A message for the main thread has come: next_signal() returns. */
static void wake_main(void *ctx)
{
    struct running *r = ctx;
    pthread_kill(r->thread, WAKE_SIGNAL);
}

static bool start(struct running *r)
{
    struct proxy_node *node = &r->node;
    const struct config *config = node->config;
    raise_descriptors();
    r->thread = pthread_self();
    list_init(&r->retired);
    node->inbox = inbox_new_woken(wake_main, r, r);
    node->started = mono_now();
    node->admission = admission_new();
    node->login_guard = login_guard_new(LOGIN_GUARD_PLACES);
    node->answered = answered_new();
    node->echoes = echoes_new();
    node->fates_key = hash_key_new();
    r->certificates = certificate_watch_new();
    node->counters = counters_new();
    node->name = mem_strdup(config->proxy.node);
    node->storage = make_storage(node);
    if (!node->storage)
        return false;
    node->owner = owner_new(storage_is_shared(node->storage));
    node->upstreams = upstreams_new(check_upstreams, node);
    if (!load_store(node))
        return false;
    if (!take_passed(r) || !make_tickets(r) || !make_workers(node))
        return false;
    note_certificates(r, config, worker_tls_server(node->workers[0]));
    if (!add_ports(r, config->listen.starttls, PORT_STARTTLS) || !add_ports(r, config->listen.tls, PORT_TLS) ||
        !add_ports(r, config->listen.ws, PORT_WS) || !add_ports(r, config->listen.wss, PORT_WSS) ||
        !add_ports(r, config->listen.peer, PORT_PEER))
        return false;
    if (!start_stats(r) || !start_control(r))
        return false;
    thaw_sessions(node);
    for (unsigned i = 0; i < node->worker_count; i++)
        worker_start(node->workers[i]);
    return true;
}

/* ---- while it runs ---- */

static void each_worker(struct proxy_node *node, void (*tell_worker)(struct worker *w))
{
    for (unsigned i = 0; i < node->worker_count; i++)
        tell_worker(node->workers[i]);
}

/* New TLS contexts for all workers, or none: a bad certificate changes nothing. */
static void discard(struct retired *old)
{
    list_remove(&old->link);
    config_free(old->config);
    free(old);
}

static void on_taken(void *running, void *arg)
{
    struct retired *old = arg;
    (void)running;
    if (--old->users == 0)
        discard(old);
}

/* The one in force will be the workers' no more. */
static struct retired *retire(struct running *r)
{
    struct retired *old = MEM_NEW(struct retired);
    old->config = r->node.config;
    old->users = r->node.worker_count;
    list_append(&r->retired, &old->link);
    return old;
}

static bool reload_workers(struct running *r, const struct config *config, char **error_r)
{
    struct proxy_node *node = &r->node;
    struct tls_context **server = mem_zalloc(node->worker_count * sizeof *server);
    struct tls_context **upstream = mem_zalloc(node->worker_count * sizeof *upstream);
    unsigned made = 0;
    while (made < node->worker_count && worker_tls(config, node->tickets, &server[made], &upstream[made], error_r))
        made++;
    bool good = made == node->worker_count;
    struct retired *old = good ? retire(r) : NULL;
    if (good)
        note_certificates(r, config, server[0]);
    for (unsigned i = 0; i < made; i++) {
        if (good) {
            worker_reload(node->workers[i], config, server[i], upstream[i], on_taken, old);
        } else {
            tls_free(server[i]);
            tls_free(upstream[i]);
        }
    }
    free(server);
    free(upstream);
    return good;
}

static void log_problems(const struct config_problems *problems)
{
    for (size_t i = 0; i < problems->n; i++)
        LOG(problems->list[i].warning ? LOG_WARN : LOG_ERROR, "configuration", LF("detail", problems->list[i].text));
}

/* What is in force from here on. */
static void take_config(struct running *r, struct config *config)
{
    note_config(&r->node, config);
    memory_store_set_ttls(storage_memory(r->node.storage), config->settings.sm.mailbox_ttl,
                          config->settings.sm.tombstone_ttl);
    memory_store_set_limit(storage_memory(r->node.storage), config->settings.limits.memory);
    log_configure(config->log.level, config->log.format);
}

static void take_keys(struct proxy_node *node, struct seal_keys *keys)
{
    bool another = storage_set_keys(node->storage, keys);
    for (unsigned i = 0; another && i < node->worker_count; i++)
        worker_reseal(node->workers[i]);
}

static bool try_reload(struct running *r, struct config_problems *problems)
{
    struct config *config;
    char *error = NULL;
    bool good = config_reload(r->node.config, &config, problems);
    if (!good)
        return false;
    config_check_tls(config, problems);
    config_check_seal(config, problems);
    struct tls_tickets *tickets = problems->errors ? NULL : tls_tickets_new(config->tls.ticket_key_file, &error);
    struct seal_keys *keys = tickets ? seal_keys_new(config->store.encryption_key_file, &error) : NULL;
    good = keys && reload_workers(r, config, &error);
    if (good) {
        tls_tickets_replace(r->node.tickets, tickets);
        take_keys(&r->node, keys);
        take_config(r, config);
    } else {
        tls_tickets_free(tickets);
        seal_keys_free(keys);
        config_free(config);
    }
    if (error)
        config_problem_add(problems, false, "%s", error);
    free(error);
    return good;
}

bool node_reload(void *running, struct config_problems *problems)
{
    struct running *r = running;
    bool stopping = atomic_load(&r->node.drain.stage) != DRAIN_NONE;
    if (!stopping)
        systemd_notify_reloading();
    bool good = try_reload(r, problems);
    count(r->node.counters, good ? METRIC_reloads_ok : METRIC_reloads_failed);
    log_problems(problems);
    if (good)
        LOG(LOG_INFO, "configuration reloaded");
    else
        LOG(LOG_ERROR, "reload failed, nothing has changed");
    if (!stopping)
        systemd_notify_ready(good ? "reloaded" : "running; the last reload failed, see the log");
    return good;
}

void node_drain(void *running)
{
    struct running *r = running;
    if (atomic_load(&r->node.drain.stage) == DRAIN_NONE)
        drain_begin(&r->drain, &r->node, mono_now());
}

static void reload(struct running *r)
{
    struct config_problems problems = {0};
    node_reload(r, &problems);
    config_problems_free(&problems);
}

static void housekeeping(struct running *r)
{
    usec now = mono_now();
    usec watchdog = systemd_watchdog_interval();
    struct buf reasons = {0};
    struct clock clock;
    clock_read(&clock);
    slab_tidy();
    certificate_watch_look(r->certificates, &clock);
    if (now - r->rotated >= TICKET_KEY_AGE) {
        r->rotated = now;
        tls_tickets_rotate(r->node.tickets);
    }
    if (watchdog && now - r->fed >= watchdog / 2 && node_is_alive(&r->node, &reasons)) {
        r->fed = now;
        systemd_watchdog_feed();
    }
    buf_free(&reasons);
    if (memory_trim_due(&r->trim, admission_changes(r->node.admission), now)) {
        memory_trim();
        LOG(LOG_DEBUG, "free memory given back", LF_INT("took_us", mono_now() - now));
    }
}

/* The next signal of the set, 0 when none came within a tick. */
static int next_signal(const sigset_t *set)
{
    struct timespec tick = {.tv_nsec = TICK_MS * 1000000L};
    int signal = sigtimedwait(set, NULL, &tick);
    return signal > 0 ? signal : 0;
}

static bool is_stop(int signal)
{
    return signal == SIGTERM || signal == SIGINT;
}

/* Until it is drained, or told to stop for the second time. */
static void run_until_end(struct running *r, const sigset_t *set)
{
    do {
        int signal = next_signal(set);
        if (is_stop(signal) && atomic_load(&r->node.drain.stage) != DRAIN_NONE) {
            LOG(LOG_WARN, "told to stop again: stopping now", LF_INT("clients", admission_count(r->node.admission)));
            return;
        }
        if (is_stop(signal))
            node_drain(r);
        else if (signal == SIGHUP)
            reload(r);
        inbox_run(r->node.inbox);
        housekeeping(r);
    } while (!drain_step(&r->drain, &r->node, mono_now()));
}

/* ---- the end ---- */

/* What the mailboxes hold, by now also what sessions had not delivered. */
static void save(struct proxy_node *node)
{
    struct memory_store_figures mail = memory_store_figures(storage_memory(node->storage));
    const char *file = node->config->store.file;
    char *error = file ? memory_store_save(storage_memory(node->storage), file) : NULL;
    if (error)
        LOG(LOG_ERROR, "store file", LF("detail", error));
    if (mail.messages && (!file || error))
        LOG(LOG_WARN, "messages lost: the memory store ends with the process", LF_INT("messages", mail.messages));
    else if (file)
        LOG(LOG_INFO, "store file written", LF("file", file), LF_INT("messages", mail.messages),
            LF_INT("sessions", mail.sessions));
    free(error);
}

/* The control socket first: whoever waits for an answer gets one before the main thread hears nothing any more. */
static void stop_http(struct running *r)
{
    if (r->node.inbox)
        inbox_close(r->node.inbox);
    stats_http_stop(r->control);
    for (struct stats_http **h = r->stats; h && *h; h++)
        stats_http_stop(*h);
}

static void stop(struct running *r)
{
    struct proxy_node *node = &r->node;
    stop_http(r);
    each_worker(node, worker_stop);
    each_worker(node, worker_join);
    each_worker(node, worker_free);
    save(node);
    LOG(LOG_INFO, "stopped");
}

static void free_all(struct running *r)
{
    struct proxy_node *node = &r->node;
    certificate_watch_free(r->certificates);
    tls_tickets_free(node->tickets);
    storage_free(node->storage);
    owner_free(node->owner);
    admission_free(node->admission);
    login_guard_free(node->login_guard);
    answered_free(node->answered);
    echoes_free(node->echoes);
    inbox_free(node->inbox);
    counters_free(node->counters);
    free(node->workers);
    free(node->name);
    upstreams_free(node->upstreams);
    free(r->stats);
    passed_free(r->passed);
    for (struct list *it; (it = list_first(&r->retired));)
        discard(CONTAINER_OF(it, struct retired, link));
    config_free(node->config);
}

/* A start that failed: no worker runs yet. What was read from the store's file goes back there. */
static void abandon(struct running *r)
{
    stop_http(r);
    struct memory_store_figures kept = memory_store_figures(storage_memory(r->node.storage));
    if (kept.messages || kept.outbox || kept.sessions || kept.tombstones)
        save(&r->node);
    each_worker(&r->node, worker_free);
    free_all(r);
}

int node_run(int argc, char **argv, struct config *config)
{
    struct running r = {0};
    sigset_t set;
    (void)argc;
    (void)argv;
    /* blocked before any thread begins, so that only next_signal() gets them */
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, WAKE_SIGNAL);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    note_config(&r.node, config);
    if (!start(&r)) {
        abandon(&r);
        return 1;
    }
    LOG(LOG_INFO, "started", LF("version", HOLDFAST_VERSION), LF("node", r.node.name),
        LF_INT("workers", r.node.worker_count), LF("upstream", r.node.config->settings.upstream),
        LF("store", storage_is_shared(r.node.storage) ? "redis" : "memory"));
    systemd_notify_ready("running");
    run_until_end(&r, &set);
    stop(&r);
    free_all(&r);
    return 0;
}

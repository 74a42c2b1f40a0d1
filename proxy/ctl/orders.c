/* Commands that change something. */
#include "answer.h"
#include "ask.h"
#include "base/mem.h"
#include "table.h"
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <time.h>
#include <unistd.h>

#define SID_LENGTH 48
#define LOOK_MS    500
#define END_MS     15000 /* for the process to end when its socket is gone */

/* ---- drain ---- */

/* Descriptor of the process that is asked, -1 if it cannot be had (another name space for processes). */
static int open_process(const struct options *o)
{
    struct options quiet = *o;
    enum exit_status status;
    quiet.json = false;
    json_t *a = answer_get(&quiet, "GET", "/stats.json", &status);
    int pid = (int)number_of(a, "pid");
    json_decref(a);
    return pid > 0 ? pidfd_open(pid, 0) : -1;
}

static void print_progress(const json_t *a, char *last, size_t size)
{
    char text[160];
    char *left = human_duration(number_of(a, "drain_seconds_left"));
    snprintf(text, sizeof text, "%.0f clients left, %.0f sessions", number_of(a, "clients"),
             number_of(a, "sessions{state=\"attached\"}") + number_of(a, "sessions{state=\"detached\"}") +
                 number_of(a, "sessions{state=\"unmanaged\"}"));
    if (strcmp(text, last) != 0)
        printf("draining (%s): %s; %s at most\n", text_of(a, "drain"), text, left);
    fflush(stdout);
    snprintf(last, size, "%s", text);
    free(left);
}

/* Until nobody answers any more. */
static void follow_drain(const struct options *o)
{
    char last[160] = "";
    struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
    for (;;) {
        struct reply r = {0};
        char *error = NULL;
        if (!ask(o->socket, "GET", "/stats.json", &r, &error, NULL)) {
            free(error);
            return;
        }
        json_t *a = json_loads(r.body, 0, NULL);
        if (a && !o->json)
            print_progress(a, last, sizeof last);
        json_decref(a);
        reply_free(&r);
        nanosleep(&pause, NULL);
    }
}

static enum exit_status wait_for_end(const struct options *o, int process)
{
    follow_drain(o);
    struct pollfd end = {.fd = process, .events = POLLIN};
    if (process >= 0 && poll(&end, 1, END_MS) != 1) {
        complain("its socket is gone, but the process still runs; see its log");
        return EXIT_NOT_DONE;
    }
    if (!o->json)
        puts("drained: holdfast has stopped");
    return EXIT_DONE;
}

enum exit_status command_drain(const struct options *o, const char *object)
{
    enum exit_status status;
    (void)object;
    int process = o->no_wait ? -1 : open_process(o);
    json_t *a = answer_get(o, "POST", "/drain", &status);
    if (a && !o->json && o->no_wait)
        printf("draining: %.0f clients; holdfast stops when they are gone\n", number_of(a, "clients"));
    if (a && !o->no_wait)
        status = wait_for_end(o, process);
    json_decref(a);
    if (process >= 0)
        close(process);
    return status;
}

/* ---- reload ---- */

static void print_all(const json_t *list, const char *prefix)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        fprintf(stderr, "%s%s\n", prefix, json_string_value(json_array_get(list, i)));
}

enum exit_status command_reload(const struct options *o, const char *object)
{
    enum exit_status status;
    (void)object;
    json_t *a = answer_get(o, "POST", "/reload", &status);
    if (!a)
        return status;
    print_all(json_object_get(a, "errors"), "");
    print_all(json_object_get(a, "warnings"), "warning: ");
    if (status == EXIT_NOT_DONE)
        complain("the configuration has errors; nothing has changed");
    else if (!o->json)
        puts("the configuration is reloaded");
    json_decref(a);
    return status;
}

/* ---- disconnect ---- */

static bool is_sid(const char *text)
{
    return strlen(text) == SID_LENGTH && strspn(text, "0123456789abcdef") == SID_LENGTH;
}

static enum exit_status disconnect_one(const struct options *o, const char *sid)
{
    enum exit_status status;
    char *target = mem_printf("/sessions/%s/disconnect%s", sid, o->end ? "?end=yes" : "");
    json_t *a = answer_get(o, "POST", target, &status);
    if (a && !o->json)
        printf(o->end ? "session %s has ended\n" : "session %s: its connection is cut\n", sid);
    json_decref(a);
    free(target);
    return status;
}

/* Those that a client can be cut from, or all that can be ended. */
static bool is_meant(const struct options *o, const json_t *session)
{
    return o->end || has_value(session, "peer");
}

static enum exit_status disconnect_all(const struct options *o, const json_t *list, const char *jid)
{
    enum exit_status status = EXIT_DONE;
    size_t i, n = 0;
    const json_t *session;
    json_array_foreach(list, i, session)
    {
        if (!is_meant(o, session))
            continue;
        enum exit_status one = disconnect_one(o, text_of(session, "sid"));
        status = one > status ? one : status;
        n++;
    }
    if (n)
        return status;
    if (json_array_size(list))
        complain("%s has no connection: its sessions wait for their clients; --end ends them", jid);
    else
        complain("%s has no session here", jid);
    return EXIT_NOT_DONE;
}

enum exit_status command_disconnect(const struct options *o, const char *object)
{
    if (is_sid(object))
        return disconnect_one(o, object);
    enum exit_status status;
    struct options quiet = *o;
    quiet.json = false;
    char *jid = url_encode(object), *target = mem_printf("/sessions?format=json&limit=999999999&jid=%s", jid);
    json_t *list = answer_get(&quiet, "GET", target, &status);
    if (list)
        status = disconnect_all(o, list, object);
    json_decref(list);
    free(target);
    free(jid);
    return status;
}

/* ---- purge ---- */

enum exit_status command_purge(const struct options *o, const char *object)
{
    enum exit_status status;
    char *jid = url_encode(object), *target = mem_printf("/purge?jid=%s", jid);
    json_t *a = answer_get(o, "POST", target, &status);
    if (a && !o->json) {
        printf("%s: %.0f messages removed, %.0f detached sessions ended\n", text_of(a, "account"),
               number_of(a, "messages"), number_of(a, "sessions"));
        if (number_of(a, "lent") > 0)
            printf(
                "%.0f more are on their way to a client of the account right now; what it does not take is removed\n",
                number_of(a, "lent"));
    }
    json_decref(a);
    free(target);
    free(jid);
    return status;
}

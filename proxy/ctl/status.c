/* What people want to know at a glance. */
#include "answer.h"
#include "base/mem.h"
#include "table.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void line(const char *head, char *text)
{
    printf("%-12s %s\n", head, text);
    free(text);
}

/* "12 stanzas, 3.4 KB, the oldest for 0.25 s" */
static char *queue_text(const json_t *a, const char *stanzas, const char *bytes, const char *oldest)
{
    double n = number_of(a, stanzas);
    char *size = human_bytes(number_of(a, bytes)), *age = human_duration(number_of(a, oldest));
    char *text = n > 0 ? mem_printf("%.0f stanzas, %s, the oldest for %s", n, size, age) : mem_strdup("none");
    free(size);
    free(age);
    return text;
}

static char *bytes_of_limit(double bytes, double limit)
{
    char *is = human_bytes(bytes), *most = human_bytes(limit);
    char *text = limit > 0 ? mem_printf("%s of %s", is, most) : mem_printf("%s, no limit", is);
    free(is);
    free(most);
    return text;
}

static char *drain_text(const json_t *a)
{
    char *left = human_duration(number_of(a, "drain_seconds_left"));
    char *text = mem_printf("%s: %.0f clients left, at most %s", text_of(a, "drain"), number_of(a, "clients"), left);
    free(left);
    return text;
}

static char *certificate_text(double until)
{
    char day[32];
    time_t end = (time_t)until;
    struct tm parts;
    double left = difftime(end, time(NULL));
    strftime(day, sizeof day, "%Y-%m-%d", gmtime_r(&end, &parts));
    char *span = human_duration(left > 0 ? left : -left);
    char *text =
        left > 0 ? mem_printf("valid until %s, %s", day, span) : mem_printf("EXPIRED on %s, %s ago", day, span);
    free(span);
    return text;
}

/* One line for each reason that there is. */
static void print_ready(const json_t *a)
{
    const char *reasons = text_of(a, "reasons");
    if (json_is_true(json_object_get(a, "ready"))) {
        line("ready", mem_strdup("yes"));
        return;
    }
    for (const char *head = "not ready"; *reasons; head = "") {
        const char *end = reasons;
        while (*end && *end != '\n')
            end++;
        printf("%-12s %.*s\n", head, (int)(end - reasons), reasons);
        reasons = *end ? end + 1 : end;
    }
}

static void print_servers(const json_t *servers)
{
    size_t i;
    const json_t *s;
    json_array_foreach(servers, i, s)
    {
        const char *state = json_is_false(json_object_get(s, "listed"))   ? "no longer listed"
                            : json_is_true(json_object_get(s, "drained")) ? "drained"
                            : json_is_true(json_object_get(s, "up"))      ? "up"
                                                                          : "DOWN";
        line(i ? "" : "upstream",
             mem_printf("%s, %s, %.0f sessions", text_of(s, "server"), state, number_of(s, "sessions")));
    }
}

static void print_work(const json_t *a)
{
    line("clients", mem_printf("%.0f, limit %.0f; %.0f of them log in", number_of(a, "clients"),
                               number_of(a, "connections_limit"), number_of(a, "connections_logging_in")));
    line("sessions",
         mem_printf("%.0f attached, %.0f detached, %.0f without stream management",
                    number_of(a, "sessions{state=\"attached\"}"), number_of(a, "sessions{state=\"detached\"}"),
                    number_of(a, "sessions{state=\"unmanaged\"}")));
    line("unacked", queue_text(a, "unacked_stanzas", "unacked_bytes", "unacked_oldest_seconds"));
    line("unconfirmed", queue_text(a, "unconfirmed_stanzas", "unconfirmed_bytes", "unconfirmed_oldest_seconds"));
    char *size = human_bytes(number_of(a, "mailbox_bytes"));
    line("mailboxes", mem_printf("%.0f messages, %s", number_of(a, "mailbox_messages"), size));
    free(size);
    line("memory", bytes_of_limit(number_of(a, "memory_bytes"), number_of(a, "memory_limit_bytes")));
}

enum exit_status command_status(const struct options *o, const char *object)
{
    enum exit_status status;
    (void)object;
    json_t *a = answer_get(o, "GET", "/stats.json", &status);
    if (!a || o->json) {
        json_decref(a);
        return status;
    }
    char *up = human_duration(number_of(a, "uptime_seconds"));
    printf("Holdfast %s, node %s, %.0f workers, up for %s\n", text_of(a, "version"), text_of(a, "node"),
           number_of(a, "workers"), up);
    free(up);
    print_ready(a);
    if (number_of(a, "draining") > 0)
        line("drain", drain_text(a));
    print_servers(json_object_get(a, "servers"));
    print_work(a);
    if (number_of(a, "certificate_expiry_timestamp_seconds") > 0)
        line("certificate", certificate_text(number_of(a, "certificate_expiry_timestamp_seconds")));
    if (number_of(a, "promise_weak") > 0)
        line("promise", mem_strdup("WEAK: acks rest on the TCP of the server alone; see the log"));
    json_decref(a);
    return status;
}

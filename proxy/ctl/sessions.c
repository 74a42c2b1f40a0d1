#include "answer.h"
#include "ask.h"
#include "base/buf.h"
#include "base/mem.h"
#include "table.h"
#include <stdio.h>
#include <stdlib.h>

static void add_argument(struct buf *target, const char *name, const char *value)
{
    if (!value)
        return;
    char *encoded = url_encode(value);
    buf_printf(target, "&%s=%s", name, encoded);
    free(encoded);
}

static char *cell(const json_t *session, const char *name)
{
    return has_value(session, name) ? mem_strdup(text_of(session, name)) : NULL;
}

static char *count_cell(const json_t *session, const char *name)
{
    return mem_printf("%.0f", number_of(session, name));
}

static char *time_cell(const json_t *session, const char *name)
{
    return has_value(session, name) ? human_duration(number_of(session, name)) : NULL;
}

static void add_row(struct table *t, const json_t *s)
{
    bool waits = number_of(s, "unacked") > 0;
    table_add(t, cell(s, "sid"));
    table_add(t, cell(s, "state"));
    table_add(t, time_cell(s, "state_seconds"));
    table_add(t, count_cell(s, "unacked"));
    table_add(t, waits ? time_cell(s, "oldest_unacked_seconds") : NULL);
    table_add(t, time_cell(s, "ack_seconds"));
    table_add(t, count_cell(s, "unconfirmed"));
    table_add(t, count_cell(s, "resumes"));
    table_add(t, cell(s, "transport"));
    table_add(t, cell(s, "peer"));
    table_add(t, cell(s, "jid"));
}

static void print_sessions(const json_t *list)
{
    static const char *const heads[] = {"SID",     "STATE",    ">FOR", ">UNACKED", ">OLDEST", ">ACK TIME",
                                        ">UNCONF", ">RESUMES", "VIA",  "PEER",     "JID",     NULL};
    struct table *t = table_new(heads);
    for (size_t i = 0; i < json_array_size(list); i++)
        add_row(t, json_array_get(list, i));
    table_print(t);
    table_free(t);
}

enum exit_status command_sessions(const struct options *o, const char *object)
{
    enum exit_status status;
    struct buf target = {0};
    BUF_LIT(&target, "/sessions?format=json");
    add_argument(&target, "jid", object);
    add_argument(&target, "state", o->state);
    add_argument(&target, "sort", o->sort);
    add_argument(&target, "limit", o->limit);
    char *text = buf_steal(&target);
    json_t *list = answer_get(o, "GET", text, &status);
    free(text);
    if (list && !o->json)
        print_sessions(list);
    json_decref(list);
    return status;
}

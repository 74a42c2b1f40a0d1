#include "answer.h"
#include "ask.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void complain(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("holdfastctl: ", stderr);
    vfprintf(stderr, format, args);
    fputs("\n", stderr);
    va_end(args);
}

double number_of(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

bool has_value(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return value && !json_is_null(value);
}

/* Errors are JSON where an order was given, and a line of text else. */
static void complain_of(const struct reply *r, const json_t *answer)
{
    if (has_value(answer, "error"))
        complain("%s", text_of(answer, "error"));
    else
        complain("%.*s", (int)strcspn(r->body, "\n"), r->body);
}

/* Whether the answer says all there is to say: then it is not an error to be told here. */
static json_t *judge(const struct options *o, const struct reply *r, json_t *answer, enum exit_status *status_r)
{
    bool good = r->status >= 200 && r->status < 300;
    *status_r = good ? EXIT_DONE : EXIT_NOT_DONE;
    if (o->json && answer)
        fputs(r->body, stdout);
    if (answer && (good || !json_is_object(answer) || !has_value(answer, "error")))
        return answer;
    complain_of(r, answer);
    json_decref(answer);
    *status_r = EXIT_NOT_DONE;
    return NULL;
}

json_t *answer_get(const struct options *o, const char *method, const char *target, enum exit_status *status_r)
{
    struct reply r = {0};
    char *error = NULL;
    if (!ask(o->socket, method, target, &r, &error, NULL)) {
        complain("%s", error);
        free(error);
        *status_r = EXIT_NOT_ASKED;
        return NULL;
    }
    json_t *answer = judge(o, &r, json_loads(r.body, JSON_DECODE_ANY, NULL), status_r);
    reply_free(&r);
    return answer;
}

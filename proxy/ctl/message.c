/* Where is a message. */
#include "answer.h"
#include "ask.h"
#include "base/mem.h"
#include "table.h"
#include <stdio.h>
#include <stdlib.h>

static char *cell(const json_t *step, const char *name)
{
    return has_value(step, name) ? mem_strdup(text_of(step, name)) : NULL;
}

static char *number_cell(const json_t *step, const char *name)
{
    return has_value(step, name) ? mem_printf("%.0f", number_of(step, name)) : NULL;
}

/* "discarded (expired)": the second is why its session has ended. */
static char *step_cell(const json_t *step)
{
    const char *word = text_of(step, "step");
    return has_value(step, "reason") ? mem_printf("%s (%s)", word, text_of(step, "reason")) : mem_strdup(word);
}

static void print_steps(const json_t *list)
{
    static const char *const heads[] = {"TIME", "DIRECTION", "STEP", "CLASS", ">LEG", ">NUMBER", "SID", NULL};
    struct table *t = table_new(heads);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *step = json_array_get(list, i);
        table_add(t, cell(step, "time"));
        table_add(t, cell(step, "direction"));
        table_add(t, step_cell(step));
        table_add(t, cell(step, "class"));
        table_add(t, number_cell(step, "leg"));
        table_add(t, number_cell(step, "number"));
        table_add(t, cell(step, "sid"));
    }
    table_print(t);
    table_free(t);
}

static void print_rest(const json_t *answer)
{
    if (number_of(answer, "left_out") > 0)
        printf("%.0f older steps are left out\n", number_of(answer, "left_out"));
    printf("This is what node %s remembers", text_of(answer, "node"));
    if (has_value(answer, "since"))
        printf(" of what passed since %s", text_of(answer, "since"));
    puts(json_is_true(json_object_get(answer, "other_nodes")) ? "; ask the other nodes too." : ".");
}

enum exit_status command_message(const struct options *o, const char *object)
{
    enum exit_status status;
    char *id = url_encode(object), *target = mem_printf("/messages/%s", id);
    json_t *answer = answer_get(o, "GET", target, &status);
    if (answer && !o->json) {
        print_steps(json_object_get(answer, "steps"));
        print_rest(answer);
    }
    json_decref(answer);
    free(target);
    free(id);
    return status;
}

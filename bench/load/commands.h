/* What the program can be told on stdin: one command a line, one line of JSON as its answer. */
#ifndef BENCH_COMMANDS_H
#define BENCH_COMMANDS_H

#include "load/report.h"

enum { ARGUMENTS_MAX = 8 };

struct command {
    const char *name;
    const char *arguments; /* for the usage */
    unsigned count;        /* of arguments, all of them numbers but those of `watch` */
    void (*run)(struct load *l, char **arguments, struct buf *out);
};

/* sessions.c */
void command_login(struct load *l, char **arguments, struct buf *out);
void command_logout(struct load *l, char **arguments, struct buf *out);
void command_storm(struct load *l, char **arguments, struct buf *out);
void command_cut(struct load *l, char **arguments, struct buf *out);
void command_move(struct load *l, char **arguments, struct buf *out);
/* traffic.c */
void command_pairs(struct load *l, char **arguments, struct buf *out);
void command_open(struct load *l, char **arguments, struct buf *out);
void command_post(struct load *l, char **arguments, struct buf *out);
/* recipients.c */
void command_hold(struct load *l, char **arguments, struct buf *out);
void command_release(struct load *l, char **arguments, struct buf *out);
void command_greet(struct load *l, char **arguments, struct buf *out);
/* attacks.c; these go on until the next line on stdin */
void command_slow(struct load *l, char **arguments, struct buf *out);
void command_intrude(struct load *l, char **arguments, struct buf *out);
void command_trickle(struct load *l, char **arguments, struct buf *out);

/* All of the clients first .. first + count - 1 exist; ends the program otherwise. */
void commands_need(const struct load *l, unsigned first, unsigned count);
/* Gives up at `deadline`; false then. `done` is asked behind each turn. */
bool commands_until(struct load *l, uint64_t deadline, bool (*done)(struct load *l));
unsigned commands_number(const char *argument);

#endif

/* The commands of holdfastctl. */
#ifndef HOLDFAST_CTL_COMMANDS_H
#define HOLDFAST_CTL_COMMANDS_H

#include <stdbool.h>

enum exit_status {
    EXIT_DONE = 0,
    EXIT_NOT_DONE = 1, /* holdfast was asked, and it was not done */
    EXIT_NOT_ASKED = 2 /* a wrong command line, or holdfast cannot be reached */
};

struct options {
    const char *socket;
    bool json;                        /* answers as they come */
    bool no_wait;                     /* drain */
    bool end;                         /* disconnect */
    const char *state, *sort, *limit; /* sessions; NULL = not given */
};

/* object: what the command is about, NULL where it takes none or none was given. */
enum exit_status command_status(const struct options *o, const char *object);
enum exit_status command_sessions(const struct options *o, const char *object);
enum exit_status command_message(const struct options *o, const char *object);
enum exit_status command_drain(const struct options *o, const char *object);
enum exit_status command_reload(const struct options *o, const char *object);
enum exit_status command_disconnect(const struct options *o, const char *object);
enum exit_status command_purge(const struct options *o, const char *object);

#endif

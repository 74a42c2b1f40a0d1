#include "ask.h"
#include "base/buf.h"
#include "base/mem.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_SECONDS 60 /* more than the longest order may take */

static char *connect_error(const char *path, int error)
{
    switch (error) {
    case ENOENT:
        return mem_printf("%s: there is no control socket; is holdfast running, with that path as listen.control? "
                          "-s PATH names another one",
                          path);
    case ECONNREFUSED:
        return mem_printf("%s: nobody listens there: holdfast has ended; start it first", path);
    case EACCES:
        return mem_printf("%s: permission denied; run this as root or as holdfast's user, or set listen.control_mode",
                          path);
    default:
        return mem_printf("%s: %s", path, strerror(error));
    }
}

/* -1 with *error_r. */
static int dial(const char *path, char **error_r, bool *gone_r)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = ANSWER_SECONDS};
    if (strlen(path) >= sizeof to.sun_path) {
        *error_r = mem_printf("%s: too long for a socket's path", path);
        return -1;
    }
    memcpy(to.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    }
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        *gone_r = errno == ENOENT || errno == ECONNREFUSED;
        *error_r = connect_error(path, errno);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return fd;
}

static bool send_request(int fd, const char *method, const char *target)
{
    /* HTTP/1.0: the answer ends with the connection, and comes in one piece */
    char *request = mem_printf("%s %s HTTP/1.0\r\nHost: holdfast\r\nContent-Length: 0\r\n\r\n", method, target);
    size_t n = strlen(request);
    bool sent = send(fd, request, n, MSG_NOSIGNAL) == (ssize_t)n;
    free(request);
    return sent;
}

static bool receive(int fd, struct buf *all)
{
    ssize_t n;
    while ((n = recv(fd, buf_reserve(all, 65536), 65536, 0)) > 0)
        buf_commit(all, (size_t)n);
    return n == 0;
}

static bool parse(struct buf *all, struct reply *r)
{
    char *text = buf_steal(all), *end = strstr(text, "\r\n\r\n");
    bool good = end && sscanf(text, "HTTP/1.%*1d %3d", &r->status) == 1;
    r->body = good ? mem_strdup(end + 4) : NULL;
    free(text);
    return good;
}

bool ask(const char *socket_path, const char *method, const char *target, struct reply *reply_r, char **error_r,
         bool *gone_r)
{
    bool unused = false;
    struct buf all = {0};
    gone_r = gone_r ? gone_r : &unused;
    *gone_r = false;
    int fd = dial(socket_path, error_r, gone_r);
    if (fd < 0)
        return false;
    bool heard = send_request(fd, method, target) && receive(fd, &all);
    int error = errno;
    close(fd);
    if (heard && parse(&all, reply_r))
        return true;
    *gone_r = heard || error == EPIPE || error == ECONNRESET; /* ended in the middle: it stops */
    *error_r = *gone_r ? mem_printf("%s: holdfast ended without an answer; see its log", socket_path)
               : error == EAGAIN
                   ? mem_printf("%s: no answer within %d s; see the log of holdfast", socket_path, ANSWER_SECONDS)
                   : mem_printf("%s: %s", socket_path, strerror(error));
    buf_free(&all);
    return false;
}

void reply_free(struct reply *r)
{
    free(r->body);
    *r = (struct reply){0};
}

char *url_encode(const char *text)
{
    struct buf out = {0};
    for (const char *p = text; *p; p++) {
        if (isalnum((unsigned char)*p) || strchr("-._~@", *p))
            buf_append(&out, p, 1);
        else
            buf_printf(&out, "%%%02X", (unsigned char)*p);
    }
    return buf_steal(&out);
}

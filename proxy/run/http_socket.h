/* Listening sockets for HTTP: a TCP port, or a file. */
#ifndef HOLDFAST_RUN_HTTP_SOCKET_H
#define HOLDFAST_RUN_HTTP_SOCKET_H

/* As stats_http_start has it. -1 with a reason. */
int http_listen_tcp(const char *address, int backlog, const char **reason);
int http_port_of(int fd); /* 0 if it has none */

struct http_unix; /* the file of a socket */

/* What a dead process left at the path is replaced; the socket of a live one is not. -1 with *error_r (free it). */
int http_listen_unix(const char *path, unsigned mode, int backlog, struct http_unix **file_r, char **error_r);
/* Unless somebody else has put a file of his own there meanwhile. NULL is fine. */
void http_remove_unix(struct http_unix *file);

#endif

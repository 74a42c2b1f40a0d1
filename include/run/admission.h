/* How many client connections there are, in all and per address (IPv6: per /64): limits.connections,
 * limits.connections_per_ip. Thread-safe. */
#ifndef HOLDFAST_RUN_ADMISSION_H
#define HOLDFAST_RUN_ADMISSION_H

#include <stddef.h>

struct admission;

enum admission_result { ADMISSION_OK, ADMISSION_FULL, ADMISSION_ADDRESS_FULL };

struct admission *admission_new(void);
void admission_free(struct admission *a);
/* peer as in struct transport: its port does not matter. 0 = no limit. After ADMISSION_OK admission_leave must follow.
 */
enum admission_result admission_enter(struct admission *a, const char *peer, size_t limit, size_t limit_per_address);
void admission_leave(struct admission *a, const char *peer);
size_t admission_count(struct admission *a);
/* How often one has come or gone. */
size_t admission_changes(struct admission *a);

#endif

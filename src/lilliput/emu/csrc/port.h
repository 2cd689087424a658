/* What the harness needs from where it runs: two byte streams, an exit, and the stack.
 * port_host.c implements it with stdio, port_target.c with semihosting. */
#ifndef LL_PORT_H
#define LL_PORT_H

#include <stdint.h>

#define LL_NOINLINE __attribute__((noinline))

/* Opens both streams; 0 on failure. */
int ll_port_open(void);
/* Fills `data` from the request; 0 when it ends early. */
int ll_port_read(void *data, uint32_t bytes);
/* Appends to the response; 0 on failure. */
int ll_port_write(const void *data, uint32_t bytes);
/* Closes both streams and ends the program. */
void ll_port_exit(uint32_t failed);
/* Fills the free stack with a pattern; does nothing on a host. */
void ll_port_paint_stack(void);
/* Bytes of stack below the caller of ll_port_paint_stack that lost the pattern; 0 on a host. */
uint32_t ll_port_stack_used(void);

#endif

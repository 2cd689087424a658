/* A guard by fill: the free stack gets a pattern, and what still has it was never used. */
#ifndef LL_STACK_H
#define LL_STACK_H

#include <stdint.h>

/* Fills everything below the caller's frame. */
void ll_stack_fill(void);
/* Bytes at the end of the stack that still have the pattern; 0: the stack was too small. */
uint32_t ll_stack_free(void);
/* Bytes between the top of the stack and the end of that pattern. */
uint32_t ll_stack_used(void);

#endif

/* Cycles of the core from one point to another: the DWT's counter where there is one, else
 * SysTick.  Interrupts, wait states and caches are in the number; that is what it is for. */
#ifndef LL_CYCLES_H
#define LL_CYCLES_H

#include <stdint.h>

void ll_cycles_start(void);
/* Cycles since ll_cycles_start, or UINT32_MAX where SysTick's 24 bits were not enough. */
uint32_t ll_cycles(void);
/* "DWT" or "SysTick". */
const char *ll_cycles_source(void);

#endif

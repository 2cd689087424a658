/* Where checkpoints are kept: two slots of a flash.  Yours to adapt: see flash.c. */
#ifndef LL_FLASH_H
#define LL_FLASH_H

#include "@prefix@.h"

/* What the part erases at once, in whole pages, at least @PREFIX@_SLOT_BYTES. */
#ifndef LL_FLASH_SLOT_BYTES
#define LL_FLASH_SLOT_BYTES @PREFIX@_SLOT_BYTES
#endif
/* What the part writes at once: a power of two, at most 256. */
#ifndef LL_FLASH_WRITE_SIZE
#define LL_FLASH_WRITE_SIZE 8u
#endif

/* Whether flash.c keeps the slots in RAM where you define no functions.  0 where they did not fit:
 * then the test of main.c saves nothing, and without your functions nothing that saves links. */
#ifndef LL_FLASH_IN_RAM
#define LL_FLASH_IN_RAM @in_ram@
#endif

/* Of slot bytes 0 to 2 * LL_FLASH_SLOT_BYTES - 1; 0 where it is done. */
int ll_flash_read(void *ctx, uint32_t offset, void *data, uint32_t bytes);
int ll_flash_erase(void *ctx, uint32_t offset, uint32_t bytes);
int ll_flash_write(void *ctx, uint32_t offset, const void *data, uint32_t bytes);

extern const @prefix@_flash ll_flash;

#endif

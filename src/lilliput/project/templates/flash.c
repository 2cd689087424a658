/* A flash that is none: two slots in RAM, so that saving can be tried before there is a driver.
 * What is in it is lost with the power.
 *
 * Define the three functions in a file of yours, for the flash of your part: these are weak and go
 * away, with their RAM.  docs/porting.md of lilliput says what each has to do. */
#include "flash.h"

const @prefix@_flash ll_flash = {
    .read = ll_flash_read,
    .erase = ll_flash_erase,
    .write = ll_flash_write,
    .ctx = 0,
    .slot_bytes = LL_FLASH_SLOT_BYTES,
    .write_size = LL_FLASH_WRITE_SIZE,
};

#if LL_FLASH_IN_RAM
static uint8_t slots[2u * LL_FLASH_SLOT_BYTES];

__attribute__((weak)) int ll_flash_read(void *ctx, uint32_t offset, void *data, uint32_t bytes) {
    (void)ctx;
    __builtin_memcpy(data, &slots[offset], bytes);
    return 0;
}

__attribute__((weak)) int ll_flash_erase(void *ctx, uint32_t offset, uint32_t bytes) {
    (void)ctx;
    __builtin_memset(&slots[offset], 0xFF, bytes);
    return 0;
}

__attribute__((weak)) int ll_flash_write(void *ctx, uint32_t offset, const void *data,
                                         uint32_t bytes) {
    (void)ctx;
    __builtin_memcpy(&slots[offset], data, bytes);
    return 0;
}
#endif

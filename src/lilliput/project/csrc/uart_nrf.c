/* The UART of Nordic's nRF51 and nRF52, without DMA.  The pin is chosen by the board's set-up. */
#include "uart.h"

#define LL_START LL_UART(0x008u)
#define LL_READY LL_UART(0x11Cu)
#define LL_ENABLE LL_UART(0x500u)
#define LL_TXD LL_UART(0x51Cu)
#define LL_BAUDRATE LL_UART(0x524u)
#define LL_ENABLED 4u

/* The rate is a fraction of the port's clock in 32 bits, rounded to multiples of 4096. */
#define LL_RATE                                                                                    \
    ((uint32_t)((((uint64_t)LL_UART_BAUD << 32) / LL_UART_CLOCK_HZ + 0x800u) >> 12) << 12)

void ll_uart_open(void) {
    LL_BAUDRATE = LL_RATE;
    LL_ENABLE = LL_ENABLED;
    LL_START = 1u;
}

/* The event belongs to the byte that was written last: waiting after it leaves nothing to flush. */
void ll_uart_byte(uint8_t byte) {
    LL_READY = 0u;
    LL_TXD = byte;
    while (LL_READY == 0u) {
    }
}

void ll_uart_flush(void) {
}

/* The UART of Arm's Cortex-M System Design Kit: MPS2 and MPS3 boards. */
#include "uart.h"

#define LL_DATA LL_UART(0x00u)
#define LL_STATE LL_UART(0x04u)
#define LL_CTRL LL_UART(0x08u)
#define LL_BAUDDIV LL_UART(0x10u)
#define LL_STATE_FULL 1u
#define LL_CTRL_TRANSMIT 1u

/* The hardware takes no divider below 16. */
void ll_uart_open(void) {
    LL_BAUDDIV = LL_UART_DIVIDER < 16u ? 16u : LL_UART_DIVIDER;
    LL_CTRL = LL_CTRL_TRANSMIT;
}

void ll_uart_byte(uint8_t byte) {
    while ((LL_STATE & LL_STATE_FULL) != 0u) {
    }
    LL_DATA = byte;
}

/* The port tells of its buffer only, so what is being shifted out cannot be waited for. */
void ll_uart_flush(void) {
    while ((LL_STATE & LL_STATE_FULL) != 0u) {
    }
}

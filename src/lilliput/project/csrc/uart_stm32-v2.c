/* The USART of STM32F0, F3, F7, G0, G4, H7, L4 and later: control registers come first. */
#include "uart.h"

#define LL_CR1 LL_UART(0x00u)
#define LL_BRR LL_UART(0x0Cu)
#define LL_ISR LL_UART(0x1Cu)
#define LL_TDR LL_UART(0x28u)
#define LL_ISR_EMPTY (1u << 7)
#define LL_ISR_COMPLETE (1u << 6)
#define LL_CR1_ENABLE (1u << 0)
#define LL_CR1_TRANSMIT (1u << 3)

/* With 16 samples a bit, the register holds 16 times the divider: clock over baud rate. */
void ll_uart_open(void) {
    LL_BRR = LL_UART_DIVIDER;
    LL_CR1 = LL_CR1_ENABLE | LL_CR1_TRANSMIT;
}

void ll_uart_byte(uint8_t byte) {
    while ((LL_ISR & LL_ISR_EMPTY) == 0u) {
    }
    LL_TDR = byte;
}

void ll_uart_flush(void) {
    while ((LL_ISR & LL_ISR_COMPLETE) == 0u) {
    }
}

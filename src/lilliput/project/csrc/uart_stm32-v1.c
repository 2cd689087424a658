/* The USART of STM32F1, F2, F4 and L1: status and data are registers 0 and 1. */
#include "uart.h"

#define LL_SR LL_UART(0x00u)
#define LL_DR LL_UART(0x04u)
#define LL_BRR LL_UART(0x08u)
#define LL_CR1 LL_UART(0x0Cu)
#define LL_SR_EMPTY (1u << 7)
#define LL_SR_COMPLETE (1u << 6)
#define LL_CR1_ENABLE (1u << 13)
#define LL_CR1_TRANSMIT (1u << 3)

/* With 16 samples a bit, the register holds 16 times the divider: clock over baud rate. */
void ll_uart_open(void) {
    LL_BRR = LL_UART_DIVIDER;
    LL_CR1 = LL_CR1_ENABLE | LL_CR1_TRANSMIT;
}

void ll_uart_byte(uint8_t byte) {
    while ((LL_SR & LL_SR_EMPTY) == 0u) {
    }
    LL_DR = byte;
}

void ll_uart_flush(void) {
    while ((LL_SR & LL_SR_COMPLETE) == 0u) {
    }
}

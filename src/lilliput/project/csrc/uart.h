/* A serial port that sends: 8 data bits, no parity, one stop bit, LL_UART_BAUD.  Polled. */
#ifndef LL_UART_H
#define LL_UART_H

#include <stdint.h>

#include "board.h"

#define LL_UART(offset) (*(volatile uint32_t *)(uintptr_t)(LL_UART_ADDRESS + (offset)))
#define LL_UART_DIVIDER ((LL_UART_CLOCK_HZ + LL_UART_BAUD / 2u) / LL_UART_BAUD)

void ll_uart_open(void);
/* Waits for room, then sends. */
void ll_uart_byte(uint8_t byte);
/* Returns when the last bit has left. */
void ll_uart_flush(void);

#endif

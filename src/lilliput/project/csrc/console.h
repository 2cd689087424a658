/* Text to whoever listens: a serial port, or a debugger by semihosting (LL_SEMIHOSTING, or a
 * board without a serial port in its board file). */
#ifndef LL_CONSOLE_H
#define LL_CONSOLE_H

#include <stdint.h>

/* Makes the board ready to be heard; before any other function here. */
void ll_console_open(void);
void ll_console_text(const char *text);
/* In decimal. */
void ll_console_number(uint32_t number);
/* Waits until everything is out.  Under semihosting this ends the program. */
void ll_console_close(uint32_t failed);

#endif

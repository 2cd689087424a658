/* Text and numbers, a byte at a time; see console.h. */
#include "console.h"
#include "board.h"

#if defined(LL_SEMIHOSTING) || !defined(LL_UART_ADDRESS)

/* Arm semihosting: the debugger or the emulator serves this breakpoint. */
#define LL_SYS_WRITEC 0x03u
#define LL_SYS_EXIT 0x18u
#define LL_EXIT_OK 0x20026u
#define LL_EXIT_ERROR 0x20023u

static void ll_semihost(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

static void ll_open(void) {
}

static void ll_byte(char byte) {
    ll_semihost(LL_SYS_WRITEC, &byte);
}

static void ll_close(uint32_t failed) {
    ll_semihost(LL_SYS_EXIT, (const void *)(uintptr_t)(failed ? LL_EXIT_ERROR : LL_EXIT_OK));
}

#else

#include "uart.h"

static void ll_open(void) {
    ll_uart_open();
}

/* Terminals want a carriage return, too. */
static void ll_byte(char byte) {
    if (byte == '\n') {
        ll_uart_byte('\r');
    }
    ll_uart_byte((uint8_t)byte);
}

static void ll_close(uint32_t failed) {
    (void)failed;
    ll_uart_flush();
}

#endif

#if defined(LL_BOARD_SETUP)
typedef struct ll_write {
    uint32_t address, clear, set;
} ll_write;

static const ll_write ll_setup[] = {LL_BOARD_SETUP};

/* Read back, because a peripheral may need some cycles after its clock was switched on. */
static void ll_board_setup(void) {
    for (uint32_t i = 0; i < sizeof ll_setup / sizeof ll_setup[0]; ++i) {
        volatile uint32_t *word = (volatile uint32_t *)(uintptr_t)ll_setup[i].address;
        *word = (*word & ~ll_setup[i].clear) | ll_setup[i].set;
        (void)*word;
    }
}
#else
static void ll_board_setup(void) {
}
#endif

void ll_console_open(void) {
    ll_board_setup();
    ll_open();
}

void ll_console_text(const char *text) {
    while (*text != '\0') {
        ll_byte(*text++);
    }
}

void ll_console_number(uint32_t number) {
    char digits[10];
    uint32_t count = 0;
    do {
        digits[count++] = (char)('0' + (char)(number % 10u));
        number /= 10u;
    } while (number != 0u);
    while (count != 0u) {
        ll_byte(digits[--count]);
    }
}

void ll_console_close(uint32_t failed) {
    ll_close(failed);
}

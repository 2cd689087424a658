/* Start-up for RISC-V machine mode: stack, memory, main; a trap ends the run. */
#include <stdint.h>

extern uint32_t ll_data_load[], ll_data_start[], ll_data_end[];
extern uint32_t ll_bss_start[], ll_bss_end[];

extern const uint32_t ll_failed[2];

/* Application exit with code 1. */
__attribute__((used)) const uint32_t ll_failed[2] = {0x20026u, 1u};

int main(void);
void ll_start(void);
void ll_start_c(void);
void ll_fault(void);

/* A trap ends the run through the semihosting exit call: the response then lacks its seal. */
__attribute__((naked, aligned(16), noreturn)) void ll_fault(void) {
    __asm__ volatile("la a1, ll_failed\n\tli a0, 0x20\n\t.balign 16\n\t.option push\n\t"
                     ".option norvc\n\tslli zero, zero, 0x1f\n\tebreak\n\t"
                     "srai zero, zero, 7\n\t.option pop\n1:\n\tj 1b");
}

/* Loops over volatile words: a compiler must not turn them into calls of memcpy. */
void ll_start_c(void) {
    volatile uint32_t *to = ll_data_start;
    const uint32_t *from = ll_data_load;
    while (to < ll_data_end) {
        *to++ = *from++;
    }
    for (to = ll_bss_start; to < ll_bss_end; to++) {
        *to = 0u;
    }
    (void)main();
    for (;;) {
    }
}

__attribute__((section(".vectors"), naked, used, noreturn)) void ll_start(void) {
    /* The encoded instruction is csrw mtvec, t0: assemblers want Zicsr in -march for its name. */
    __asm__ volatile("la sp, ll_stack_top\n\tla t0, ll_fault\n\t"
                     ".insn i 0x73, 1, zero, t0, 0x305\n\tj ll_start_c");
}

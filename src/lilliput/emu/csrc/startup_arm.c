/* Start-up for Arm M-profile cores: vector table, memory, floating-point unit, main.
 * No clocks, no interrupts: what runs here is a model and its harness. */
#include <stdint.h>

extern uint32_t ll_stack_top[];
extern uint32_t ll_data_load[], ll_data_start[], ll_data_end[];
extern uint32_t ll_bss_start[], ll_bss_end[];

int main(void);
void ll_start(void);
void ll_start_c(void);
void ll_fault(void);

typedef union ll_vector {
    void *stack;
    void (*handler)(void);
} ll_vector;

/* Loops over volatile words: a compiler must not turn them into calls of memcpy. */
void ll_start_c(void) {
    volatile uint32_t *to = ll_data_start;
    const uint32_t *from = ll_data_load;
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    *(volatile uint32_t *)0xE000ED88u |= 0x00F00000u;
    __asm__ volatile("dsb\n\tisb");
#endif
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

/* A fault ends in a breakpoint that no debugger serves, which every emulator reports with its
 * registers; r4 then holds the address that faulted, from the exception frame. */
__attribute__((naked, noreturn)) void ll_fault(void) {
    __asm__ volatile("ldr r4, [sp, #24]\n1:\n\tbkpt 0x00\n\tb 1b");
}

__attribute__((naked, noreturn)) void ll_start(void) {
    __asm__ volatile("ldr r0, =ll_stack_top\n\tmov sp, r0\n\tbl ll_start_c\n\t.ltorg");
}

__attribute__((section(".vectors"), used)) static const ll_vector ll_vectors[16] = {
    {.stack = ll_stack_top}, {.handler = ll_start}, {.handler = ll_fault}, {.handler = ll_fault},
    {.handler = ll_fault},   {.handler = ll_fault}, {.handler = ll_fault}, {.handler = ll_fault},
    {.handler = ll_fault},   {.handler = ll_fault}, {.handler = ll_fault}, {.handler = ll_fault},
    {.handler = ll_fault},   {.handler = ll_fault}, {.handler = ll_fault}, {.handler = ll_fault},
};

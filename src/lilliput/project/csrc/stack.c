/* The fill and its measure; see stack.h.  The linker script says where the stack is. */
#include "stack.h"

#define LL_PATTERN 0xC3C3C3C3u
#define LL_MARGIN_WORDS 16

extern uint32_t ll_stack_limit[];
extern uint32_t ll_stack_top[];

/* Volatile, so that no compiler makes it a call that uses the stack; the margin is this frame. */
__attribute__((noinline)) void ll_stack_fill(void) {
    uint32_t *end = (uint32_t *)__builtin_frame_address(0) - LL_MARGIN_WORDS;
    for (uint32_t *word = ll_stack_limit; word < end; ++word) {
        *(volatile uint32_t *)word = LL_PATTERN;
    }
}

uint32_t ll_stack_free(void) {
    const uint32_t *word = ll_stack_limit;
    while (word < ll_stack_top && *(const volatile uint32_t *)word == LL_PATTERN) {
        ++word;
    }
    return (uint32_t)((uintptr_t)word - (uintptr_t)ll_stack_limit);
}

uint32_t ll_stack_used(void) {
    return (uint32_t)((uintptr_t)ll_stack_top - (uintptr_t)ll_stack_limit) - ll_stack_free();
}

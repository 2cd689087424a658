/* The core's two counters; see cycles.h. */
#include "cycles.h"

#define LL_WORD(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define LL_SYSTICK_CONTROL LL_WORD(0xE000E010u)
#define LL_SYSTICK_RELOAD LL_WORD(0xE000E014u)
#define LL_SYSTICK_VALUE LL_WORD(0xE000E018u)
#define LL_SYSTICK_WRAPPED (1u << 16)
#define LL_SYSTICK_ON 5u
#define LL_SYSTICK_MAX 0x00FFFFFFu

#define LL_SYSTICK_PATIENCE 1000000u

static uint32_t ll_has_dwt;
static uint32_t ll_first;

#if !defined(__ARM_ARCH_6M__)
#define LL_DEBUG_CONTROL LL_WORD(0xE000EDFCu)
#define LL_DEBUG_TRACE (1u << 24)
#define LL_DWT_CONTROL LL_WORD(0xE0001000u)
#define LL_DWT_CYCLES LL_WORD(0xE0001004u)
#define LL_DWT_LOCK LL_WORD(0xE0001FB0u)
#define LL_DWT_KEY 0xC5ACCE55u

/* The counter is optional: only one that counts is there.  Some cores lock it. */
static uint32_t ll_dwt_start(void) {
    LL_DEBUG_CONTROL |= LL_DEBUG_TRACE;
    LL_DWT_LOCK = LL_DWT_KEY;
    LL_DWT_CONTROL |= 1u;
    LL_DWT_CYCLES = 0u;
    __asm__ volatile("nop\n\tnop\n\tnop\n\tnop");
    return LL_DWT_CYCLES != 0u;
}

static uint32_t ll_dwt_cycles(void) {
    return LL_DWT_CYCLES;
}

static void ll_dwt_clear(void) {
    LL_DWT_CYCLES = 0u;
}
#else
static uint32_t ll_dwt_start(void) {
    return 0u;
}

static uint32_t ll_dwt_cycles(void) {
    return 0u;
}

static void ll_dwt_clear(void) {
}
#endif

void ll_cycles_start(void) {
    ll_has_dwt = ll_dwt_start();
    if (ll_has_dwt != 0u) {
        ll_dwt_clear();
        return;
    }
    LL_SYSTICK_CONTROL = 0u;
    LL_SYSTICK_RELOAD = LL_SYSTICK_MAX;
    LL_SYSTICK_VALUE = 0u;
    LL_SYSTICK_CONTROL = LL_SYSTICK_ON;
    /* It counts down from what it loads at its first tick, and that load is no wrap. */
    for (uint32_t n = 0; n < LL_SYSTICK_PATIENCE && LL_SYSTICK_VALUE == 0u; ++n) {
    }
    (void)LL_SYSTICK_CONTROL;
    ll_first = LL_SYSTICK_VALUE;
}

uint32_t ll_cycles(void) {
    if (ll_has_dwt != 0u) {
        return ll_dwt_cycles();
    }
    {
        const uint32_t value = LL_SYSTICK_VALUE;
        const uint32_t wrapped = LL_SYSTICK_CONTROL & LL_SYSTICK_WRAPPED;
        return wrapped != 0u ? UINT32_MAX : ll_first - value;
    }
}

const char *ll_cycles_source(void) {
    return ll_has_dwt != 0u ? "DWT" : "SysTick";
}

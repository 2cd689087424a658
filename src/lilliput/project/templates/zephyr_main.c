/* Runs @name@ once on an input that is built in and compares the output to the bit. */
#include <zephyr/kernel.h>
#include <zephyr/sys/printk.h>

#include <@prefix@.h>

#include "self_test.h"

int main(void) {
    @prefix@_self_test_load();
    const uint32_t start = k_cycle_get_32();
    @call@;
    const uint32_t cycles = k_cycle_get_32() - start;
    const uint32_t wrong = @prefix@_self_test_differences();
    printk("cycles: %u\n", (unsigned int)cycles);
    if (wrong == 0u) {
        printk("lilliput @name@: exact\n");
    } else {
        printk("lilliput @name@: %u bytes differ\n", (unsigned int)wrong);
    }
    return 0;
}

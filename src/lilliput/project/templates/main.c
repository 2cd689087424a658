/* @name@ on @device@: runs the network once on an input that is built in, compares what
 * comes out with what must come out, and says so.  Yours to edit: see README.md. */
#include "@prefix@.h"
#include "board.h"
#include "console.h"
#include "cycles.h"
@includes@#include "self_test.h"
#include "stack.h"

static void tell(const char *what, uint32_t number, const char *unit) {
    ll_console_text(what);
    ll_console_number(number);
    ll_console_text(unit);
}

static void tell_cycles(uint32_t cycles) {
    if (cycles == UINT32_MAX) {
        ll_console_text("cycles: more than SysTick counts\n");
        return;
    }
    tell("cycles: ", cycles, " by ");
    ll_console_text(ll_cycles_source());
    tell(", at ", LL_CORE_HZ, " a second\n");
}

int main(void) {
    ll_console_open();
    ll_stack_fill();
    @prefix@_self_test_load();
    ll_cycles_start();
    @call@;
    const uint32_t cycles = ll_cycles();
    const uint32_t wrong = @prefix@_self_test_differences();
@learning@    tell_cycles(cycles);
    tell("stack: ", ll_stack_used(), " bytes used, ");
    tell("", ll_stack_free(), " bytes never\n");
    ll_console_text("lilliput @name@: ");
    if (ll_stack_free() == 0u) {
        ll_console_text("the stack was too small\n");
    } else if (wrong != 0u) {
        tell("", wrong, " of the output's ");
        tell("", @PREFIX@_SELF_TEST_BYTES, " bytes differ\n");
@unlike@    } else {
        ll_console_text("exact\n");
    }
    ll_console_close(wrong != 0u || @failed@ll_stack_free() == 0u);
    return 0;
}

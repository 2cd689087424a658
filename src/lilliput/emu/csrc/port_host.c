/* The harness's streams on a host: standard input and output, in binary. */
#include "port.h"

#include <stdio.h>
#include <stdlib.h>
#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#endif

int ll_port_open(void) {
#ifdef _WIN32
    return _setmode(_fileno(stdin), _O_BINARY) != -1 && _setmode(_fileno(stdout), _O_BINARY) != -1;
#else
    return 1;
#endif
}

int ll_port_read(void *data, uint32_t bytes) {
    return fread(data, 1, bytes, stdin) == bytes;
}

int ll_port_write(const void *data, uint32_t bytes) {
    return fwrite(data, 1, bytes, stdout) == bytes;
}

void ll_port_exit(uint32_t failed) {
    exit(fflush(stdout) != 0 || failed != 0u ? 1 : 0);
}

void ll_port_paint_stack(void) {
}

uint32_t ll_port_stack_used(void) {
    return 0u;
}

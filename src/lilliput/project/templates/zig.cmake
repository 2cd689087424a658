# Zig's C compiler for @core@.  -DLL_ZIG="python3;-m;ziglang" where zig is a Python package.
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR arm)
set(LL_ZIG zig CACHE STRING "Zig's command, as a list")
set(CMAKE_C_COMPILER ${LL_ZIG} cc)
# CMake would look for an archiver to try the compiler with; Zig's is a command of its own.
set(CMAKE_C_COMPILER_FORCED TRUE)
set(CMAKE_C_FLAGS_INIT "@zig_core@")
set(LL_COMPILE_OPTIONS @zig_flags@)
set(LL_RUNTIME_OPTIONS @zig_runtime@)
set(LL_LINK_OPTIONS -nodefaultlibs)
set(LL_LIBRARIES)

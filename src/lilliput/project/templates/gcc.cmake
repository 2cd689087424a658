# GCC for @core@.
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR arm)
find_program(LL_GCC @gcc@ REQUIRED)
set(CMAKE_C_COMPILER ${LL_GCC})
# No C library is linked, so the program that CMake would try cannot be.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_C_FLAGS_INIT "@gcc_core@")
set(LL_COMPILE_OPTIONS @gcc_flags@)
set(LL_RUNTIME_OPTIONS @gcc_runtime@)
set(LL_LINK_OPTIONS -nostdlib)
set(LL_LIBRARIES gcc)

# @name@ as a Zephyr module: CONFIG_LILLIPUT_@PREFIX@=y compiles it in.
if(CONFIG_LILLIPUT_@PREFIX@)
  zephyr_library_named(lilliput_@prefix@)
  zephyr_library_sources(@sources@)
  zephyr_library_compile_options(-ffp-contract=off)
  zephyr_include_directories(src)
endif()

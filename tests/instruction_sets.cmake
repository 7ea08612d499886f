# dca_isa_<name>: the golden cases, compiled for another instruction set and run where the CPU has it.
# Only for x86-64 hosts that build for themselves, with compilers that take GCC's flags.
set(dca_cpu_flags "")
if(EXISTS /proc/cpuinfo)
  file(STRINGS /proc/cpuinfo dca_cpu_flags REGEX "^flags" LIMIT_COUNT 1)
endif()

function(dca_add_instruction_set name cpu_flags)
  foreach(flag IN LISTS cpu_flags)
    if(NOT "${dca_cpu_flags} " MATCHES " ${flag} ")
      add_test(NAME dca_isa_${name} COMMAND ${CMAKE_COMMAND} -E echo "SKIPPED: this CPU has no ${flag}")
      set_tests_properties(dca_isa_${name} PROPERTIES SKIP_REGULAR_EXPRESSION "SKIPPED:")
      return()
    endif()
  endforeach()
  dca_add_kernels(dca_isa_kernels_${name})
  target_compile_options(dca_isa_kernels_${name} PUBLIC ${ARGN})
  add_executable(
    dca_isa_${name}
    golden_runner/instruction_set_main.cpp
    golden_runner/cached_paths_bfloat16.cpp
    golden_runner/cached_paths_half.cpp
    golden_runner/cached_paths_int4.cpp
    golden_runner/cached_paths_int8.cpp
    golden_runner/cached_paths_scalar.cpp
    golden_runner/golden_case.cpp
    golden_runner/operator_path.cpp
    golden_runner/report.cpp
    golden_runner/storage_error.cpp
    support/attend_dual_chunk.cpp)
  target_link_libraries(dca_isa_${name} PRIVATE dca_isa_kernels_${name} dca_test_reference dca_warnings Threads::Threads)
  target_compile_definitions(dca_isa_${name} PRIVATE EIGEN_USE_THREADS)
  # One file each: headers take as long to parse as all else.
  set_target_properties(dca_isa_kernels_${name} dca_isa_${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0)
  add_test(NAME dca_isa_${name} COMMAND dca_isa_${name} ${CMAKE_CURRENT_SOURCE_DIR}/golden)
endfunction()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" AND NOT CMAKE_CROSSCOMPILING AND NOT MSVC AND dca_cpu_flags)
  dca_add_instruction_set(scalar "" -DEIGEN_DONT_VECTORIZE)
  dca_add_instruction_set(sse2 "sse2" -march=x86-64)
  dca_add_instruction_set(avx2 "avx2;fma" -march=x86-64 -mavx2 -mfma)
  # As above with what reads rows of half; without, they are decoded.
  dca_add_instruction_set(avx2_f16c "avx2;fma;f16c" -march=x86-64 -mavx2 -mfma -mf16c)
  dca_add_instruction_set(avx512 "avx512f;avx512dq;avx512bw;avx512vl" -march=x86-64 -mavx2 -mfma -mavx512f -mavx512dq
                          -mavx512bw -mavx512vl)
else()
  message(STATUS "dca_isa_*: left out, no x86-64 host whose CPU is known")
endif()

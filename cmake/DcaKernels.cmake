# dca::kernels: the kernels, compiled once for several instruction sets. A call takes those for the processor at work.
#
# All that is compiled for an instruction set is joined into one object in which only its table of functions is visible:
# templates and inline functions compiled for two of them have the same names, and a linker would keep any of them.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(DCA_INSTRUCTION_SETS "sse2;avx2;avx512;avx512vnni" CACHE STRING
      "Instruction sets of dca::kernels, from the lowest one on; or native, that of this machine alone")
else()
  set(DCA_INSTRUCTION_SETS "baseline" CACHE STRING
      "Instruction set of dca::kernels: baseline, the compiler's default, or native, that of this machine")
endif()
set(DCA_FLAGS_native $<TARGET_PROPERTY:dca_native,INTERFACE_COMPILE_OPTIONS>)
set(DCA_FLAGS_sse2 -march=x86-64 -mtune=generic)
set(DCA_FLAGS_avx2 ${DCA_FLAGS_sse2} -mavx2 -mfma -mf16c)
set(DCA_FLAGS_avx512 ${DCA_FLAGS_avx2} -mavx512f -mavx512dq -mavx512bw -mavx512vl)
set(DCA_FLAGS_avx512vnni ${DCA_FLAGS_avx512} -mavx512vnni)

# Not lld, which clang's toolchain brings: before its version 19 it cannot merge groups of sections.
find_program(DCA_LD NAMES ld.bfd ld REQUIRED)
find_program(DCA_OBJCOPY NAMES objcopy llvm-objcopy REQUIRED)

set(DCA_KERNEL_SOURCES ${PROJECT_SOURCE_DIR}/src/kernels)
set(DCA_KERNEL_FOLDER ${PROJECT_BINARY_DIR}/kernels)
set(DCA_KERNEL_OBJECTS)
set(DCA_KERNEL_TABLE "")
foreach(set IN LISTS DCA_INSTRUCTION_SETS)
  if(NOT set STREQUAL baseline AND NOT DEFINED DCA_FLAGS_${set})
    message(FATAL_ERROR "dca: DCA_INSTRUCTION_SETS: ${set}; must be of sse2, avx2, avx512, avx512vnni, baseline and native")
  endif()
  add_library(dca_kernels_${set} OBJECT ${DCA_KERNEL_SOURCES}/float.cpp ${DCA_KERNEL_SOURCES}/double.cpp
                                        ${DCA_KERNEL_SOURCES}/instruction_set.cpp)
  target_link_libraries(dca_kernels_${set} PRIVATE dca::dca $<TARGET_NAME_IF_EXISTS:dca_warnings>)
  target_compile_definitions(dca_kernels_${set} PRIVATE DCA_KERNELS_OF=dca_kernels_${set})
  # GCC's AVX-512 intrinsics start from a register that is deliberately undefined, and warn wherever Eigen inlines them.
  target_compile_options(
    dca_kernels_${set}
    PRIVATE ${DCA_FLAGS_${set}} -fno-lto $<$<CXX_COMPILER_ID:GNU>:-fno-gnu-unique
            -Wno-uninitialized
            -Wno-maybe-uninitialized>)
  set_target_properties(
    dca_kernels_${set}
    PROPERTIES POSITION_INDEPENDENT_CODE ON
               CXX_VISIBILITY_PRESET hidden
               VISIBILITY_INLINES_HIDDEN ON)
  set(joined ${DCA_KERNEL_FOLDER}/${set}_joined${CMAKE_CXX_OUTPUT_EXTENSION})
  set(object ${DCA_KERNEL_FOLDER}/${set}${CMAKE_CXX_OUTPUT_EXTENSION})
  add_custom_command(
    OUTPUT ${object}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${DCA_KERNEL_FOLDER}
    COMMAND ${DCA_LD} -r --force-group-allocation -o ${joined} $<TARGET_OBJECTS:dca_kernels_${set}>
    COMMAND ${DCA_OBJCOPY} --keep-global-symbol=dca_kernels_${set} ${joined} ${object}
    DEPENDS $<TARGET_OBJECTS:dca_kernels_${set}>
    COMMENT "Hiding all but the table of the kernels for ${set}"
    COMMAND_EXPAND_LISTS VERBATIM)
  list(PREPEND DCA_KERNEL_OBJECTS ${object})
  string(PREPEND DCA_KERNEL_TABLE "DCA_INSTRUCTION_SET(${set})\n")
endforeach()
file(GENERATE OUTPUT ${DCA_KERNEL_FOLDER}/instruction_sets.inc CONTENT "${DCA_KERNEL_TABLE}")

# The choice of kernels and the compiled operator, for the lowest processor: all that they compute they ask of the
# kernels. Nothing is visible but what headers declare, for the templates in it have the names of the program's.
set(DCA_COMPILED_SOURCES ${PROJECT_SOURCE_DIR}/src/compiled)
add_library(
  dca_compiled_objects OBJECT
  ${DCA_KERNEL_SOURCES}/kernels.cpp
  ${DCA_COMPILED_SOURCES}/attention.cpp
  ${DCA_COMPILED_SOURCES}/caches.cpp
  ${DCA_COMPILED_SOURCES}/tensor.cpp
  ${DCA_COMPILED_SOURCES}/threads.cpp)
target_include_directories(dca_compiled_objects PRIVATE ${DCA_KERNEL_FOLDER})
target_link_libraries(dca_compiled_objects PRIVATE dca::dca $<TARGET_NAME_IF_EXISTS:dca_warnings>)
target_compile_definitions(dca_compiled_objects PRIVATE DCA_COMPILED_KERNELS DCA_VERSION="${PROJECT_VERSION}")
target_compile_options(dca_compiled_objects PRIVATE -fno-lto $<$<CXX_COMPILER_ID:GNU>:-fno-gnu-unique>)
set_target_properties(
  dca_compiled_objects
  PROPERTIES POSITION_INDEPENDENT_CODE ON
             CXX_VISIBILITY_PRESET hidden
             VISIBILITY_INLINES_HIDDEN ON)
set(joined ${DCA_KERNEL_FOLDER}/compiled_joined${CMAKE_CXX_OUTPUT_EXTENSION})
set(DCA_COMPILED_OBJECT ${DCA_KERNEL_FOLDER}/compiled${CMAKE_CXX_OUTPUT_EXTENSION})
add_custom_command(
  OUTPUT ${DCA_COMPILED_OBJECT}
  COMMAND ${CMAKE_COMMAND} -E make_directory ${DCA_KERNEL_FOLDER}
  COMMAND ${DCA_LD} -r --force-group-allocation -o ${joined} $<TARGET_OBJECTS:dca_compiled_objects>
  COMMAND ${DCA_OBJCOPY} --localize-hidden --wildcard --keep-global-symbol=_ZN*3dca8compiled*
          --keep-global-symbol=_ZN3dca6detail7kernelsEv ${joined}
          ${DCA_COMPILED_OBJECT}
  DEPENDS $<TARGET_OBJECTS:dca_compiled_objects>
  COMMENT "Hiding all but the compiled operator"
  COMMAND_EXPAND_LISTS VERBATIM)

add_library(dca_kernels ${DCA_KERNEL_OBJECTS} ${DCA_COMPILED_OBJECT})
add_library(dca::kernels ALIAS dca_kernels)
set_target_properties(
  dca_kernels
  PROPERTIES EXPORT_NAME kernels
             VERSION ${PROJECT_VERSION}
             SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
             LINKER_LANGUAGE CXX)
find_package(Threads REQUIRED)
target_link_libraries(dca_kernels PUBLIC dca::dca Threads::Threads)
target_compile_definitions(dca_kernels INTERFACE DCA_COMPILED_KERNELS)

# For those who include the compiled operator alone: the library, and neither Eigen nor the templates.
add_library(dca_compiled INTERFACE)
add_library(dca::compiled ALIAS dca_compiled)
set_target_properties(dca_compiled PROPERTIES EXPORT_NAME compiled)
target_compile_features(dca_compiled INTERFACE cxx_std_20)
target_include_directories(dca_compiled INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                                  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(dca_compiled INTERFACE $<LINK_ONLY:dca::kernels>)

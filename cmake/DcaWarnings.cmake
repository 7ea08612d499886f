# dca_warnings: what the project's own code is compiled with. GCC 12's AVX-512 intrinsics and std::string warn about
# themselves wherever they are inlined (its bugs 105593 and 105651).
add_library(dca_warnings INTERFACE)
target_compile_options(
  dca_warnings
  INTERFACE $<$<CXX_COMPILER_ID:GNU,Clang,AppleClang>:-Wall
            -Wextra
            -Wpedantic
            -Wconversion
            -Wshadow
            $<$<BOOL:${DCA_WARNINGS_AS_ERRORS}>:-Werror>>
            $<$<CXX_COMPILER_ID:GNU>:-Wno-uninitialized
            -Wno-maybe-uninitialized
            -Wno-restrict>)

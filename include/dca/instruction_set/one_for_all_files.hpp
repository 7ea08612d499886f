// Lets a linker refuse files that were compiled for different instruction sets.
#pragma once

// Templates and inline functions, Eigen's and this library's, have the same names whatever they were compiled for: a
// linker keeps one of each, for all files, and a program may crash on a processor that lacks its instructions. So every
// file defines the same symbol, and its value says what the file was compiled for: linkers take a constant that is
// defined again with the same value, and no other.
#if defined(__ELF__) && defined(__GNUC__) && defined(__x86_64__)

#if defined(DCA_COMPILED_KERNELS)
#define DCA_FILE_HAS_KERNELS 1
#else
#define DCA_FILE_HAS_KERNELS 0
#endif
#if defined(EIGEN_DONT_VECTORIZE)
#define DCA_FILE_HAS_NO_VECTORS 1
#else
#define DCA_FILE_HAS_NO_VECTORS 0
#endif
#if defined(__SSE3__)
#define DCA_FILE_HAS_SSE3 1
#else
#define DCA_FILE_HAS_SSE3 0
#endif
#if defined(__SSE4_2__)
#define DCA_FILE_HAS_SSE4_2 1
#else
#define DCA_FILE_HAS_SSE4_2 0
#endif
#if defined(__AVX__)
#define DCA_FILE_HAS_AVX 1
#else
#define DCA_FILE_HAS_AVX 0
#endif
#if defined(__AVX2__)
#define DCA_FILE_HAS_AVX2 1
#else
#define DCA_FILE_HAS_AVX2 0
#endif
#if defined(__FMA__)
#define DCA_FILE_HAS_FMA 1
#else
#define DCA_FILE_HAS_FMA 0
#endif
#if defined(__F16C__)
#define DCA_FILE_HAS_F16C 1
#else
#define DCA_FILE_HAS_F16C 0
#endif
#if defined(__BMI2__)
#define DCA_FILE_HAS_BMI2 1
#else
#define DCA_FILE_HAS_BMI2 0
#endif
#if defined(__AVX512F__)
#define DCA_FILE_HAS_AVX512F 1
#else
#define DCA_FILE_HAS_AVX512F 0
#endif
#if defined(__AVX512VNNI__)
#define DCA_FILE_HAS_AVX512VNNI 1
#else
#define DCA_FILE_HAS_AVX512VNNI 0
#endif
#if defined(__AVX512BF16__)
#define DCA_FILE_HAS_AVX512BF16 1
#else
#define DCA_FILE_HAS_AVX512BF16 0
#endif

#define DCA_TEXT_OF(x) #x
#define DCA_TEXT(x) DCA_TEXT_OF(x)
#define DCA_FILE_DIGITS                                                                                  \
  DCA_FILE_HAS_KERNELS + 2 * DCA_FILE_HAS_NO_VECTORS + 4 * DCA_FILE_HAS_SSE3 + 8 * DCA_FILE_HAS_SSE4_2 + \
      16 * DCA_FILE_HAS_AVX + 32 * DCA_FILE_HAS_AVX2 + 64 * DCA_FILE_HAS_FMA + 128 * DCA_FILE_HAS_F16C + \
      256 * DCA_FILE_HAS_BMI2 + 512 * DCA_FILE_HAS_AVX512F + 1024 * DCA_FILE_HAS_AVX512VNNI +            \
      2048 * DCA_FILE_HAS_AVX512BF16
asm(".globl dca_files_of_a_program_need_one_instruction_set\n"
    ".hidden dca_files_of_a_program_need_one_instruction_set\n"
    ".set dca_files_of_a_program_need_one_instruction_set, " DCA_TEXT(DCA_FILE_DIGITS) "\n");

#endif

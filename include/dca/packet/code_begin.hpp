// No include guard: opens what code_end.hpp closes, around code that is made of packets. GCC's AVX-512
// intrinsics start from a register that is deliberately undefined, and warn wherever they are inlined; a packet loses
// its alignment attribute as a template argument, which does not matter where it only names a type. DCA_UNROLL_BY_4
// stands before loops that GCC, unlike Clang, would not unroll by itself, DCA_INLINE behind the parameters of lambdas
// for `unroll`, DCA_FLATTEN before functions that call Eigen's larger packet functions, which g++ -O2 would leave to
// pass their packets through memory.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wignored-attributes"
#define DCA_UNROLL_BY_4 _Pragma("GCC unroll 4")
#else
#define DCA_UNROLL_BY_4
#endif
#if defined(__GNUC__)
#define DCA_INLINE __attribute__((always_inline))
#define DCA_FLATTEN __attribute__((flatten))
#else
#define DCA_INLINE
#define DCA_FLATTEN
#endif

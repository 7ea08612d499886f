// No include guard: see code_begin.hpp.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#undef DCA_UNROLL_BY_4
#undef DCA_INLINE
#undef DCA_FLATTEN

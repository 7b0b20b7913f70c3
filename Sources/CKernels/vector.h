/* The 16-lane vector that every kernel is written in. The compiler lowers it to one AVX-512 register,
 * two AVX2 registers, or four of the baseline's.
 * The including file has defined CK_HAS_FMA to 1 where the target has fused multiply-add; elsewhere
 * `fma` is a product and a sum, because calling the library's for each lane would take 20 times as long.
 * CK_LEVEL is what ck_at calls the instruction set. */
#pragma once
#include <stdint.h>
#include <string.h>

#include "CKernels.h"

/* Vectors wider than a register change the calling convention; every function that passes one is
 * inlined, so there is no call. */
#pragma clang diagnostic ignored "-Wpsabi"

typedef float v16 __attribute__((vector_size(64), aligned(64)));
typedef float v16u __attribute__((vector_size(64), aligned(4)));
typedef int32_t i16 __attribute__((vector_size(64), aligned(64)));
typedef uint32_t u16 __attribute__((vector_size(64), aligned(64)));
typedef uint16_t h16 __attribute__((vector_size(32), aligned(32)));
typedef uint16_t h16u __attribute__((vector_size(32), aligned(2)));
typedef uint32_t u16u __attribute__((vector_size(64), aligned(4)));
typedef double d8 __attribute__((vector_size(64), aligned(64)));
typedef float v8 __attribute__((vector_size(32), aligned(32)));

#define CK_INLINE static inline __attribute__((always_inline, unused))

CK_INLINE v16 load(const float *p) { return *(const v16u *)p; }
CK_INLINE void store(float *p, v16 v) { *(v16u *)p = v; }
/* Sixteen bfloat16 values: the upper halves of float32 ones. */
CK_INLINE v16 load_narrow(const uint16_t *p) {
  return (v16)(__builtin_convertvector((h16)*(const h16u *)p, u16) << 16);
}
/* table[index & 15], lane by lane. */
CK_INLINE v16 lookup(v16 table, u16 index) {
#if CK_LEVEL >= 2
  return (v16)_mm512_permutexvar_ps((__m512i)index, (__m512)table);
#elif CK_LEVEL == 1
  const float *halves = (const float *)&table;
  const __m256 low = _mm256_load_ps(halves), high = _mm256_load_ps(halves + 8);
  v16 result;
  for (int half = 0; half < 2; half++) {
    const __m256i at = _mm256_load_si256((const __m256i *)&index + half);
    _mm256_store_ps((float *)&result + 8 * half,
                    _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, at), _mm256_permutevar8x32_ps(high, at),
                                     _mm256_castsi256_ps(_mm256_slli_epi32(at, 28))));
  }
  return result;
#else
  v16 result;
  for (int lane = 0; lane < 16; lane++) result[lane] = table[index[lane] & 15];
  return result;
#endif
}

/* Sixteen copies: spelled out, since adding to zero is not the same for -0 and costs an addition. */
CK_INLINE v16 splat(float s) { return (v16){s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s}; }

CK_INLINE v16 fma16(v16 a, v16 b, v16 c) {
#if CK_HAS_FMA
  return __builtin_elementwise_fma(a, b, c);
#else
  return a * b + c;
#endif
}

/* Copies fewer than 16 values in halves, which takes a fifth of a call to the library. */
CK_INLINE void copy_some(float *to, const float *from, ptrdiff_t count) {
  ptrdiff_t done = 0;
  if (count & 8) memcpy(to, from, 32), done = 8;
  if (count & 4) memcpy(to + done, from + done, 16), done += 4;
  if (count & 2) memcpy(to + done, from + done, 8), done += 2;
  if (count & 1) to[done] = from[done];
}

/* The first `count` of 16 values; zeros behind them. */
CK_INLINE v16 load_some(const float *p, ptrdiff_t count) {
  v16 v = {};
  copy_some((float *)&v, p, count);
  return v;
}

CK_INLINE void store_some(float *p, v16 v, ptrdiff_t count) { copy_some(p, (const float *)&v, count); }

/* All ones in the first `count` lanes. */
CK_INLINE i16 first_lanes(ptrdiff_t count) {
  const i16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return lane < (int32_t)count;
}

CK_INLINE v16 choose(i16 mask, v16 yes, v16 no) {
  return (v16)(((i16)yes & mask) | ((i16)no & ~mask));
}

/* The greater; `a` where it is not a number. */
CK_INLINE v16 max16(v16 a, v16 b) { return choose(b > a, b, a); }
CK_INLINE v16 abs16(v16 a) { return (v16)((i16)a & 0x7fffffff); }

CK_INLINE v8 low8(v16 v) { return __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7); }
CK_INLINE v8 high8(v16 v) { return __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15); }
CK_INLINE d8 widen_low(v16 v) { return __builtin_convertvector(low8(v), d8); }
CK_INLINE d8 widen_high(v16 v) { return __builtin_convertvector(high8(v), d8); }

/* Sums in one fixed order, the same on every instruction set. */
CK_INLINE float sum16(v16 v) {
  v8 a = low8(v) + high8(v);
  const float b0 = a[0] + a[4], b1 = a[1] + a[5], b2 = a[2] + a[6], b3 = a[3] + a[7];
  return (b0 + b2) + (b1 + b3);
}

CK_INLINE double sum8d(d8 a) {
  const double b0 = a[0] + a[4], b1 = a[1] + a[5], b2 = a[2] + a[6], b3 = a[3] + a[7];
  return (b0 + b2) + (b1 + b3);
}

/* Inputs rounded to bfloat16 for products with bfloat16 panels.
 * With CK_HAS_PAIRS two inputs and their weights go through one instruction: for each of 16 outputs
 * acc += x[k] w[k] + x[k + 1] w[k + 1]. That too is one chain in ascending order whatever the tile, so a row's bits do
 * not depend on the rows beside it; on other processors the rounded inputs go through the chain of tile.h. */
#pragma once
#include "vector.h"

#define CK_HAS_PAIRS (CK_LEVEL >= 4)

/* The upper half is the nearest bfloat16, ties to even. */
CK_INLINE uint32_t rounded_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return value != value ? bits | 0x400000 : bits + 0x7fff + (bits >> 16 & 1);
}

#if CK_HAS_PAIRS
typedef uint16_t narrowed_x;
typedef __bf16 b32 __attribute__((vector_size(64), aligned(64)));
typedef uint16_t h32 __attribute__((vector_size(64), aligned(64)));
typedef uint16_t h32u __attribute__((vector_size(64), aligned(2)));

/* A stretch of a row; an odd one is filled up with zero. */
static void round_row(const float *x, uint16_t *to, ptrdiff_t n) {
  for (ptrdiff_t i = 0; i < n; i++) to[i] = (uint16_t)(rounded_bits(x[i]) >> 16);
  if (n & 1) to[n] = 0;
}

/* Two inputs of a panel, 16 outputs each; zeros in place of the second where only one is left. */
CK_INLINE h32 load_pair(const uint16_t *p, ptrdiff_t left) {
  if (left > 1) return *(const h32u *)p;
  h32 v = {};
  memcpy(&v, p, 32);
  return v;
}

/* The two inputs of each output side by side. */
CK_INLINE h32 pair_up(h32 v) {
  return __builtin_shufflevector(v, v, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26,
                                 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

static void pair_panel(const uint16_t *from, uint16_t *to, ptrdiff_t k) {
  for (ptrdiff_t i = 0; i < k; i += 2)
    *(h32 *)(to + i * CK_PANEL) = pair_up(load_pair(from + i * CK_PANEL, k - i));
}

CK_INLINE v16 dot_pairs(v16 acc, const uint16_t *pair, h32 w) {
  int32_t x;
  memcpy(&x, pair, sizeof x);
  const i16 all = {x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
  return __builtin_ia32_dpbf16ps_512(acc, (b32)w, (b32)all);
}
#else
typedef float narrowed_x;

static void round_row(const float *x, float *to, ptrdiff_t n) {
  for (ptrdiff_t i = 0; i < n; i++) {
    const uint32_t bits = rounded_bits(x[i]) & 0xffff0000;
    memcpy(to + i, &bits, sizeof bits);
  }
}
#endif

/* Sums of products of small integers, exact on every instruction set: sixteen outputs by four inputs at a time. */
#pragma once
#include "vector.h"

/* What rounded inputs are held as: four of them are what dot_four multiplies a word's bytes by. */
#if CK_LEVEL >= 3
typedef int8_t steps;
CK_INLINE int place(int k) { return k; }
#else
/* First and third, then second and fourth: the even and the odd bytes of a word. */
typedef int16_t steps;
CK_INLINE int place(int k) { return (k & ~3) | (k & 1) << 1 | (k >> 1 & 1); }
#endif

/* A row's group of inputs: x = scale * q, and what the sum starts from, since a word's bytes are levels + 128. */
typedef struct {
  float scale;
  int32_t start;
} group;

/* sums += the four bytes of each word, times four inputs. */
CK_INLINE i16 dot_four(i16 sums, u16 words, const steps *q) {
#if CK_LEVEL >= 3
  int32_t four;
  memcpy(&four, q, sizeof four);
  return (i16)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)words, _mm512_set1_epi32(four));
#elif CK_LEVEL > 0
  int32_t even, odd;
  memcpy(&even, q, sizeof even);
  memcpy(&odd, q + 2, sizeof odd);
  i16 result;
  for (int half = 0; half < 2; half++) {
    const __m256i w = ((const __m256i *)&words)[half];
    const __m256i a = _mm256_madd_epi16(_mm256_and_si256(w, _mm256_set1_epi16(255)), _mm256_set1_epi32(even));
    const __m256i b = _mm256_madd_epi16(_mm256_srli_epi16(w, 8), _mm256_set1_epi32(odd));
    ((__m256i *)&result)[half] = _mm256_add_epi32(((const __m256i *)&sums)[half], _mm256_add_epi32(a, b));
  }
  return result;
#else
  for (int j = 0; j < 4; j++) sums += (i16)(words >> (uint32_t)(8 * j) & 255) * q[place(j)];
  return sums;
#endif
}

/* Levels + 128 of the four-bit indices in the lower halves of a word's bytes. */
CK_INLINE u16 expand(u16 words) {
#if CK_LEVEL >= 3
  return (u16)_mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_load_si128((const __m128i *)ck_int4_bytes)),
                                  (__m512i)(words & 0x0f0f0f0f));
#elif CK_LEVEL > 0
  const __m256i table = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)ck_int4_bytes));
  words &= 0x0f0f0f0f;
  u16 result;
  for (int half = 0; half < 2; half++)
    ((__m256i *)&result)[half] = _mm256_shuffle_epi8(table, ((const __m256i *)&words)[half]);
  return result;
#else
  const uint8_t *from = (const uint8_t *)&words;
  u16 result;
  for (int i = 0; i < 64; i++) ((uint8_t *)&result)[i] = ck_int4_bytes[from[i] & 15];
  return result;
#endif
}

/* Eight inputs' levels + 128: four in `first`, four in `second`. */
CK_INLINE void load_levels(const void *words, int format, u16 *first, u16 *second) {
  if (format == CK_INT8) {
    *first = ((const u16u *)words)[0];
    *second = ((const u16u *)words)[1];
  } else {
    const u16 both = *(const u16u *)words;
    *first = expand(both);
    *second = expand(both >> 4);
  }
}

/* The largest magnitude of 32 values in every lane. */
CK_INLINE v16 widest(v16 a, v16 b) {
  v16 m = max16(abs16(a), abs16(b));
  m = max16(m, __builtin_shufflevector(m, m, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
  m = max16(m, __builtin_shufflevector(m, m, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));
  m = max16(m, __builtin_shufflevector(m, m, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
  return max16(m, __builtin_shufflevector(m, m, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14));
}

/* To the nearest whole number, ties to even, below 2^22: 1.5 * 2^23 leaves no room for a fraction. */
CK_INLINE v16 nearest(v16 x) { return x + splat(12582912) - splat(12582912); }

/* Rounds a group of a row, `count` values and zeros behind them; what is not finite makes the group not a number. */
CK_INLINE void round_group(const float *x, ptrdiff_t count, steps *q, group *g) {
  v16 part[2];
  for (int h = 0; h < 2; h++) {
    const ptrdiff_t left = count - 16 * h;
    part[h] = left >= 16 ? load(x + 16 * h) : left > 0 ? load_some(x + 16 * h, left) : (v16){};
  }
  const float most = widest(part[0], part[1])[0];
  const float poison = sum16(part[0] * 0.0f + part[1] * 0.0f);
  const float scale = most / 127;
  const float inverse = poison == 0 && scale > 1e-30f ? 1 / scale : 0;
  i16 total = {};
  for (int h = 0; h < 2; h++) {
    const i16 level = __builtin_convertvector(inverse != 0 ? nearest(part[h] * inverse) : (v16){}, i16);
    total += level;
#if CK_LEVEL >= 3
    _mm_storeu_si128((__m128i *)(q + 16 * h), _mm512_cvtepi32_epi8((__m512i)level));
#else
    for (int i = 0; i < 16; i++) q[16 * h + place(i)] = (steps)level[i];
#endif
  }
  int32_t sum = 0;
  for (int i = 0; i < 16; i++) sum += total[i];
  g->scale = inverse != 0 ? scale : poison;
  g->start = -128 * sum;
}

/* Packing into the formats with scales, sixteen outputs at a time. */
#pragma once
#include "integer.h"

/* Rounded to bfloat16, to nearest, ties to even; what is not finite stays so. Too small a scale is none. */
CK_INLINE v16 round_scale(v16 scale) {
  const u16 bits = (u16)scale;
  const v16 rounded = (v16)((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000);
  return choose(abs16(scale) > 1e-30f, rounded, (v16){});
}

/* The nearest level of w / scale as a level's value, and for CK_INT4 its index. */
CK_INLINE v16 nearest_level(v16 w, v16 inverse, int format, v16 levels, v16 middles, u16 *index) {
  const v16 t = w * inverse;
  if (format == CK_INT8) {
    const v16 clipped = choose(t > 127.0f, splat(127), choose(t < -127.0f, splat(-127), t));
    return nearest(clipped);
  }
  u16 at = {};
  for (uint32_t step = 8; step; step /= 2) at += (u16)(t > lookup(middles, at + (step - 1))) & step;
  *index = at;
  return lookup(levels, at);
}

/* One group of 16 outputs: w[k] holds one input's. */
CK_INLINE void quantise_group(const v16 *w, int format, v16 levels, v16 middles, void *panel, uint16_t *scales) {
  v16 most = {}, poison = {};
  for (int k = 0; k < CK_GROUP; k++) {
    most = choose(abs16(w[k]) > abs16(most), w[k], most);
    poison += w[k] * 0.0f;
  }
  /* Where the value of the largest magnitude comes to lie: beyond the last level clips it for the others' good. */
  static const float places[2][8] = {{127, 126.5f, 126, 125.5f, 125, 124.5f, 124, 127.5f},
                                     {-102, -107, -112, -118, -123, -129, -134, -140}};
  v16 best = splat(__builtin_inff()), chosen = round_scale(most / splat(places[format == CK_INT4][0]));
  for (int candidate = 0; candidate < 8; candidate++) {
    v16 scale = round_scale(most / splat(places[format == CK_INT4][candidate]));
    for (int refined = 0; refined < 2; refined++) {
      const v16 inverse = choose(scale != 0, splat(1) / scale, (v16){});
      v16 error = {}, along = {}, squares = {};
      for (int k = 0; k < CK_GROUP; k++) {
        u16 index;
        const v16 level = nearest_level(w[k], inverse, format, levels, middles, &index);
        const v16 off = level * scale - w[k];
        error += off * off;
        along += level * w[k];
        squares += level * level;
      }
      const i16 better = error < best;
      best = choose(better, error, best);
      chosen = choose(better, scale, chosen);
      scale = round_scale(choose(squares != 0, along / squares, (v16){}));
    }
  }
  const v16 inverse = choose(chosen != 0, splat(1) / chosen, (v16){});
  const v16 kept = choose(poison == 0, chosen, splat(__builtin_nanf("")));
  for (int lane = 0; lane < CK_PANEL; lane++) scales[lane] = (uint16_t)(((u16)kept)[lane] >> 16);
  const int inputs = format == CK_INT8 ? 4 : 8;
  u16u *to = panel;
  for (int k = 0; k < CK_GROUP; k += inputs) {
    u16 words = {};
    for (int j = 0; j < inputs; j++) {
      u16 index;
      const v16 level = nearest_level(choose(poison == 0, w[k + j], (v16){}), inverse, format, levels, middles, &index);
      if (format == CK_INT8) index = (u16)(__builtin_convertvector(level, i16) + 128);
      words |= index << (uint32_t)(j < 4 ? 8 * j : 8 * (j - 4) + 4);
    }
    *to++ = words;
  }
}

static void quantise(const float *w, ptrdiff_t stride, ptrdiff_t outputs, ptrdiff_t inputs, int format, void *panels,
                     uint16_t *scales) {
  const v16 levels = load(ck_int4_levels);
  v16 middles = {}, block[CK_GROUP];
  for (int i = 0; i < 15; i++) middles[i] = (ck_int4_levels[i] + ck_int4_levels[i + 1]) / 2;
  const ptrdiff_t bytes = CK_GROUP * CK_PANEL * 8 >> (format + 1);
  char *to = panels;
  for (ptrdiff_t first = 0; first < outputs; first += CK_PANEL) {
    const ptrdiff_t lanes = outputs - first < CK_PANEL ? outputs - first : CK_PANEL;
    for (ptrdiff_t k = 0; k < inputs; k += CK_GROUP, to += bytes, scales += CK_PANEL) {
      const ptrdiff_t count = inputs - k < CK_GROUP ? inputs - k : CK_GROUP;
      memset(block, 0, sizeof block);
      for (ptrdiff_t lane = 0; lane < lanes; lane++)
        for (ptrdiff_t i = 0; i < count; i++) ((float *)&block[i])[lane] = w[(first + lane) * stride + k + i];
      if (format == CK_INT8) quantise_group(block, CK_INT8, levels, middles, to, scales);
      else quantise_group(block, CK_INT4, levels, middles, to, scales);
    }
  }
}

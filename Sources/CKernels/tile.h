/* The one microkernel of all products: an outer-product tile of up to CK_ROWS rows by `panels` times 16
 * columns. Each element of Y is a chain of multiply-adds over k, or over groups of k, in ascending order,
 * whatever the tile's size, so a row's bits do not depend on how many rows stand beside it.
 * The including file defines CK_ROWS and CK_HAS_FMA. */
#pragma once
#include "integer.h"
#include "pairs.h"

/* Where a tile starts from: nothing, what Y holds, the bias, or both. */
enum { FROM_Y = 1, FROM_BIAS = 2 };

typedef struct {
  const float *x; /* x[row * xRow + k * xK] */
  ptrdiff_t xRow, xK;
  const void *w; /* element panel * wPanel + k * wK + lane, of `format` */
  ptrdiff_t wPanel, wK;
  int format;
  /* In the formats with scales k is a multiple of CK_GROUP, and these take the place of x. */
  const uint16_t *scales; /* scales[panel * scalesPanel + k / CK_GROUP * CK_PANEL + lane] */
  ptrdiff_t scalesPanel;
  const steps *q; /* q[row * k + ...], groups[row * k / CK_GROUP + ...] */
  const group *groups;
  const uint16_t *pairs; /* in place of x where the format has pairs: pairs[row * pairsRow + k], k filled up to even */
  ptrdiff_t pairsRow;
  ptrdiff_t k;
  /* a second stretch of k that continues in the same accumulators: the shared columns */
  const float *z;
  ptrdiff_t zRow;
  const float *b;
  ptrdiff_t bPanel;
  ptrdiff_t extra;
  float *y;
  ptrdiff_t yRow;
  const float *bias;
  int from;
  float scale; /* used where `scaled`: Y = FROM_Y ? Y + scale * sum : scale * sum */
  int scaled;
} tile;

/* A tile's formats besides those of panels: bfloat16 for products of pairs, as it lies and made into pairs already. */
enum { PAIRS = CK_INT4 + 1, PAIRED };

CK_INLINE int has_scales(int format) { return format == CK_INT8 || format == CK_INT4; }

/* The address of an element of W, and 16 of its elements as float32 in the formats without scales. */
CK_INLINE const void *weight_at(const void *w, ptrdiff_t element, int format) {
  const char *bytes = w;
  switch (format) {
    case CK_FLOAT32: return bytes + element * 4;
    case CK_BFLOAT16: return bytes + element * 2;
    case CK_INT8: return bytes + element;
    case CK_INT4: return bytes + element / 2;
    default: return bytes + element * 2;
  }
}
CK_INLINE v16 load_weight(const void *w, ptrdiff_t element, int format) {
  w = weight_at(w, element, format);
  return format == CK_BFLOAT16 ? load_narrow(w) : load(w);
}

CK_INLINE void tile_chain(v16 (*acc)[CK_ROWS], int rows, int panels, const float *x, ptrdiff_t xRow,
                          ptrdiff_t xK, const void *w, ptrdiff_t wPanel, ptrdiff_t wK, int format,
                          ptrdiff_t k) {
#pragma clang loop unroll_count(4)
  for (ptrdiff_t i = 0; i < k; i++) {
    v16 column[4];
    for (int p = 0; p < panels; p++) column[p] = load_weight(w, p * wPanel, format);
    for (int r = 0; r < rows; r++) {
      const v16 value = splat(x[r * xRow]);
      for (int p = 0; p < panels; p++) acc[p][r] = fma16(value, column[p], acc[p][r]);
    }
    x += xK;
    w = weight_at(w, wK, format);
  }
}

/* Each group's sum is exact; then it is one link of the chain. */
#if CK_HAS_PAIRS
/* The same chain, two inputs at a time. */
CK_INLINE void pairs_chain(v16 (*acc)[CK_ROWS], int rows, int panels, const tile *t, int format) {
  const uint16_t *w = t->w, *x = t->pairs;
#pragma clang loop unroll_count(4)
  for (ptrdiff_t i = 0; i < t->k; i += 2) {
    h32 column[4];
    for (int p = 0; p < panels; p++) {
      const uint16_t *at = w + p * t->wPanel + i * CK_PANEL;
      column[p] = format == PAIRED ? *(const h32 *)at : pair_up(load_pair(at, t->k - i));
    }
    for (int r = 0; r < rows; r++)
      for (int p = 0; p < panels; p++) acc[p][r] = dot_pairs(acc[p][r], x + r * t->pairsRow + i, column[p]);
  }
}
#endif

CK_INLINE void groups_chain(v16 (*acc)[CK_ROWS], int rows, int panels, const tile *t, int format) {
  const ptrdiff_t groups = t->k / CK_GROUP;
  const void *w = t->w;
  for (ptrdiff_t g = 0; g < groups; g++) {
    i16 sums[4][CK_ROWS];
    for (int p = 0; p < panels; p++)
      for (int r = 0; r < rows; r++) sums[p][r] = (i16){} + t->groups[r * groups + g].start;
#pragma clang loop unroll(full)
    for (int i = 0; i < CK_GROUP; i += 8) {
      u16 first[4], second[4];
      for (int p = 0; p < panels; p++)
        load_levels(weight_at(w, p * t->wPanel + i * CK_PANEL, format), format, &first[p], &second[p]);
      for (int r = 0; r < rows; r++) {
        const steps *q = t->q + r * t->k + g * CK_GROUP + i;
        for (int p = 0; p < panels; p++)
          sums[p][r] = dot_four(dot_four(sums[p][r], first[p], q), second[p], q + 4);
      }
    }
    for (int p = 0; p < panels; p++) {
      const v16 scale = load_narrow(t->scales + p * t->scalesPanel + g * CK_PANEL);
      for (int r = 0; r < rows; r++)
        acc[p][r] = fma16(__builtin_convertvector(sums[p][r], v16), scale * t->groups[r * groups + g].scale,
                          acc[p][r]);
    }
    w = weight_at(w, CK_GROUP * CK_PANEL, format);
  }
}

CK_INLINE void tile_run(const tile *t, int rows, int panels, int format) {
  v16 acc[4][CK_ROWS];
  for (int p = 0; p < panels; p++)
    for (int r = 0; r < rows; r++) {
      v16 start = {};
      if (!t->scaled) {
        if (t->from & FROM_BIAS) start = load(t->bias + p * CK_PANEL);
        if (t->from & FROM_Y) start += load(t->y + r * t->yRow + p * CK_PANEL);
      }
      acc[p][r] = start;
    }
  if (has_scales(format))
    groups_chain(acc, rows, panels, t, format);
#if CK_HAS_PAIRS
  else if (format >= PAIRS)
    pairs_chain(acc, rows, panels, t, format);
#endif
  else if (t->xK == 1)
    tile_chain(acc, rows, panels, t->x, t->xRow, 1, t->w, t->wPanel, t->wK, format, t->k);
  else
    tile_chain(acc, rows, panels, t->x, t->xRow, t->xK, t->w, t->wPanel, t->wK, format, t->k);
  if (t->extra)
    tile_chain(acc, rows, panels, t->z, t->zRow, 1, t->b, t->bPanel, CK_PANEL, CK_FLOAT32, t->extra);
  for (int p = 0; p < panels; p++)
    for (int r = 0; r < rows; r++) {
      float *y = t->y + r * t->yRow + p * CK_PANEL;
      v16 value = acc[p][r];
      if (t->scaled) value = t->from & FROM_Y ? fma16(splat(t->scale), value, load(y)) : value * t->scale;
      store(y, value);
    }
}

/* Few rows leave the multiply-adds waiting for each other, so such tiles span several panels. */
static int tile_panels(ptrdiff_t rows) { return rows == 1 ? 4 : rows <= CK_ROWS / 2 ? 2 : 1; }

#define CK_FORMAT(NAME, FORMAT, ROWS, PANELS)                                     \
  static __attribute__((noinline)) void NAME##_##ROWS##x##PANELS(const tile *t) { \
    tile_run(t, ROWS, PANELS, FORMAT);                                            \
  }
#define CK_TILE(ROWS, PANELS)                  \
  CK_FORMAT(tile, CK_FLOAT32, ROWS, PANELS)    \
  CK_FORMAT(narrow, CK_BFLOAT16, ROWS, PANELS) \
  CK_FORMAT(int8, CK_INT8, ROWS, PANELS)       \
  CK_FORMAT(int4, CK_INT4, ROWS, PANELS)   \
  CK_PAIR_FORMATS(ROWS, PANELS)
#if CK_HAS_PAIRS
#define CK_PAIR_FORMATS(ROWS, PANELS) CK_FORMAT(pairs, PAIRS, ROWS, PANELS) CK_FORMAT(paired, PAIRED, ROWS, PANELS)
#else
#define CK_PAIR_FORMATS(ROWS, PANELS)
#endif

CK_TILE(1, 1) CK_TILE(2, 1) CK_TILE(3, 1) CK_TILE(4, 1) CK_TILE(5, 1) CK_TILE(6, 1)
CK_TILE(1, 2) CK_TILE(2, 2) CK_TILE(3, 2)
CK_TILE(1, 4)
#if CK_ROWS == 12
CK_TILE(7, 1) CK_TILE(8, 1) CK_TILE(9, 1) CK_TILE(10, 1) CK_TILE(11, 1) CK_TILE(12, 1)
CK_TILE(4, 2) CK_TILE(5, 2) CK_TILE(6, 2)
#endif

typedef void tile_function(const tile *);

#if CK_ROWS == 12
#define CK_TILES_ONE(F) F(1, 1), F(2, 1), F(3, 1), F(4, 1), F(5, 1), F(6, 1), F(7, 1), F(8, 1), \
  F(9, 1), F(10, 1), F(11, 1), F(12, 1)
#define CK_TILES_TWO(F) F(1, 2), F(2, 2), F(3, 2), F(4, 2), F(5, 2), F(6, 2)
#else
#define CK_TILES_ONE(F) F(1, 1), F(2, 1), F(3, 1), F(4, 1), F(5, 1), F(6, 1)
#define CK_TILES_TWO(F) F(1, 2), F(2, 2), F(3, 2)
#endif
#define CK_WIDE(ROWS, PANELS) tile_##ROWS##x##PANELS
#define CK_NARROW(ROWS, PANELS) narrow_##ROWS##x##PANELS
#define CK_EIGHT(ROWS, PANELS) int8_##ROWS##x##PANELS
#define CK_FOUR(ROWS, PANELS) int4_##ROWS##x##PANELS
#if CK_HAS_PAIRS
#define CK_PAIRS(ROWS, PANELS) pairs_##ROWS##x##PANELS
#define CK_PAIRED(ROWS, PANELS) paired_##ROWS##x##PANELS
#define CK_FORMATS(TILES) \
  {{TILES(CK_WIDE)}, {TILES(CK_NARROW)}, {TILES(CK_EIGHT)}, {TILES(CK_FOUR)}, {TILES(CK_PAIRS)}, {TILES(CK_PAIRED)}}
#else
#define CK_FORMATS(TILES) {{TILES(CK_WIDE)}, {TILES(CK_NARROW)}, {TILES(CK_EIGHT)}, {TILES(CK_FOUR)}}
#endif
#define CK_TILES_FOUR(F) F(1, 4)

/* By format and rows - 1. */
static tile_function *const tile_one[][CK_ROWS] = CK_FORMATS(CK_TILES_ONE);
static tile_function *const tile_two[][CK_ROWS / 2] = CK_FORMATS(CK_TILES_TWO);
static tile_function *const tile_four[][1] = CK_FORMATS(CK_TILES_FOUR);

/* One tile of rows by `columns` columns, at most `panels` times 16; a ragged last panel goes through a
 * copy, so nothing is read or written past a row's end. */
static void tile_apply(const tile *t, int rows, int panels, ptrdiff_t columns) {
  if (columns == CK_PANEL) {
    tile_one[t->format][rows - 1](t);
    return;
  }
  const int whole = (int)(columns / CK_PANEL);
  tile now = *t;
  for (int p = 0; p < whole;) {
    const int step = whole - p >= 4 && panels >= 4 && rows == 1 ? 4 : whole - p >= 2 && panels >= 2 ? 2 : 1;
    now.w = weight_at(t->w, p * t->wPanel, t->format);
    now.scales = t->scales ? t->scales + p * t->scalesPanel : 0;
    now.b = t->extra ? t->b + p * t->bPanel : t->b;
    now.y = t->y + p * CK_PANEL;
    now.bias = t->from & FROM_BIAS ? t->bias + p * CK_PANEL : t->bias;
    (step == 4 ? tile_four[t->format] : step == 2 ? tile_two[t->format] : tile_one[t->format])[rows - 1](&now);
    p += step;
  }
  const ptrdiff_t rest = columns - whole * CK_PANEL;
  if (!rest) return;
  v16 copy[CK_ROWS], bias = {};
  now = *t;
  if (t->from & FROM_Y)
    for (int r = 0; r < rows; r++) copy[r] = load_some(t->y + r * t->yRow + whole * CK_PANEL, rest);
  if (t->from & FROM_BIAS) bias = load_some(t->bias + whole * CK_PANEL, rest);
  now.w = weight_at(t->w, whole * t->wPanel, t->format);
  now.scales = t->scales ? t->scales + whole * t->scalesPanel : 0;
  now.b = t->extra ? t->b + whole * t->bPanel : t->b;
  now.y = (float *)copy;
  now.yRow = CK_PANEL;
  now.bias = (const float *)&bias;
  tile_one[t->format][rows - 1](&now);
  for (int r = 0; r < rows; r++) store_some(t->y + r * t->yRow + whole * CK_PANEL, copy[r], rest);
}

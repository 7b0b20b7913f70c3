/* The one microkernel of all products: an outer-product tile of up to CK_ROWS rows by `panels` times 16
 * columns. Each element of Y is a chain of multiply-adds over k in ascending order, whatever the tile's
 * size, so a row's bits do not depend on how many rows stand beside it.
 * The including file defines CK_ROWS and CK_HAS_FMA. */
#pragma once
#include "vector.h"

#ifndef CK_HAS_PAIRS
#define CK_HAS_PAIRS 0
#endif
#include "pairs.h"

/* What a panel holds: float32; bfloat16, widened where it is loaded; bfloat16 that is loaded for products of pairs, as it
 * lies or made into pairs already. */
enum { WIDE, NARROW, PAIRS, PAIRED };

/* Where a tile starts from: nothing, what Y holds, the bias, or both. */
enum { FROM_Y = 1, FROM_BIAS = 2 };

typedef struct {
  const float *x; /* x[row * xRow + k * xK] */
  ptrdiff_t xRow, xK;
  const void *w; /* w[panel * wPanel + k * wK + lane], of the kind's elements */
  ptrdiff_t wPanel, wK;
  int kind;
  ptrdiff_t k;
  const uint16_t *pairs; /* X in bfloat16, in place of x where the kind has pairs; filled up to an even k */
  ptrdiff_t pairsRow;
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

/* The address of an element of W, and 16 of its elements as float32. */
CK_INLINE const void *weight_at(const void *w, ptrdiff_t element, int kind) {
  return kind != WIDE ? (const void *)((const uint16_t *)w + element) : (const void *)((const float *)w + element);
}
CK_INLINE v16 load_weight(const void *w, ptrdiff_t element, int kind) {
  return kind == NARROW ? load_narrow((const uint16_t *)w + element) : load((const float *)w + element);
}

CK_INLINE void tile_chain(v16 (*acc)[CK_ROWS], int rows, int panels, const float *x, ptrdiff_t xRow,
                          ptrdiff_t xK, const void *w, ptrdiff_t wPanel, ptrdiff_t wK, int kind,
                          ptrdiff_t k) {
#pragma clang loop unroll_count(4)
  for (ptrdiff_t i = 0; i < k; i++) {
    v16 column[4];
    for (int p = 0; p < panels; p++) column[p] = load_weight(w, p * wPanel, kind);
    for (int r = 0; r < rows; r++) {
      const v16 value = splat(x[r * xRow]);
      for (int p = 0; p < panels; p++) acc[p][r] = fma16(value, column[p], acc[p][r]);
    }
    x += xK;
    w = weight_at(w, wK, kind);
  }
}

#if CK_HAS_PAIRS
/* The same chain, two inputs at a time. */
CK_INLINE void tile_pairs(v16 (*acc)[CK_ROWS], int rows, int panels, const tile *t, int kind) {
  const uint16_t *w = t->w, *x = t->pairs;
#pragma clang loop unroll_count(4)
  for (ptrdiff_t i = 0; i < t->k; i += 2) {
    h32 column[4];
    for (int p = 0; p < panels; p++) {
      const uint16_t *at = w + p * t->wPanel + i * CK_PANEL;
      column[p] = kind == PAIRED ? *(const h32 *)at : pair_up(load_pair(at, t->k - i));
    }
    for (int r = 0; r < rows; r++)
      for (int p = 0; p < panels; p++) acc[p][r] = dot_pairs(acc[p][r], x + r * t->pairsRow + i, column[p]);
  }
}
#endif

CK_INLINE void tile_run(const tile *t, int rows, int panels, int kind) {
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
#if CK_HAS_PAIRS
  if (kind >= PAIRS)
    tile_pairs(acc, rows, panels, t, kind);
  else
#endif
  if (t->xK == 1)
    tile_chain(acc, rows, panels, t->x, t->xRow, 1, t->w, t->wPanel, t->wK, kind, t->k);
  else
    tile_chain(acc, rows, panels, t->x, t->xRow, t->xK, t->w, t->wPanel, t->wK, kind, t->k);
  if (t->extra)
    tile_chain(acc, rows, panels, t->z, t->zRow, 1, t->b, t->bPanel, CK_PANEL, WIDE, t->extra);
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

#define CK_TILE_OF(NAME, KIND, ROWS, PANELS) \
  static __attribute__((noinline)) void NAME##_##ROWS##x##PANELS(const tile *t) { tile_run(t, ROWS, PANELS, KIND); }
#if CK_HAS_PAIRS
#define CK_TILE(ROWS, PANELS)                                               \
  CK_TILE_OF(wide, WIDE, ROWS, PANELS) CK_TILE_OF(narrow, NARROW, ROWS, PANELS) \
  CK_TILE_OF(pairs, PAIRS, ROWS, PANELS) CK_TILE_OF(paired, PAIRED, ROWS, PANELS)
#else
#define CK_TILE(ROWS, PANELS) CK_TILE_OF(wide, WIDE, ROWS, PANELS) CK_TILE_OF(narrow, NARROW, ROWS, PANELS)
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
#define CK_WIDE(ROWS, PANELS) wide_##ROWS##x##PANELS
#define CK_NARROW(ROWS, PANELS) narrow_##ROWS##x##PANELS
#if CK_HAS_PAIRS
#define CK_PAIRS(ROWS, PANELS) pairs_##ROWS##x##PANELS
#define CK_PAIRED(ROWS, PANELS) paired_##ROWS##x##PANELS
#define CK_KINDS(TILES) {TILES(CK_WIDE)}, {TILES(CK_NARROW)}, {TILES(CK_PAIRS)}, {TILES(CK_PAIRED)}
#else
#define CK_KINDS(TILES) {TILES(CK_WIDE)}, {TILES(CK_NARROW)}
#endif
#define CK_TILES_FOUR(F) F(1, 4)

/* By kind and rows - 1. */
static tile_function *const tile_one[][CK_ROWS] = {CK_KINDS(CK_TILES_ONE)};
static tile_function *const tile_two[][CK_ROWS / 2] = {CK_KINDS(CK_TILES_TWO)};
static tile_function *const tile_four[][1] = {CK_KINDS(CK_TILES_FOUR)};

/* One tile of rows by `columns` columns, at most `panels` times 16; a ragged last panel goes through a
 * copy, so nothing is read or written past a row's end. */
static void tile_apply(const tile *t, int rows, int panels, ptrdiff_t columns) {
  const int whole = (int)(columns / CK_PANEL);
  tile now = *t;
  for (int p = 0; p < whole;) {
    const int step = whole - p >= 4 && panels >= 4 && rows == 1 ? 4 : whole - p >= 2 && panels >= 2 ? 2 : 1;
    now.w = weight_at(t->w, p * t->wPanel, t->kind);
    now.b = t->extra ? t->b + p * t->bPanel : t->b;
    now.y = t->y + p * CK_PANEL;
    now.bias = t->from & FROM_BIAS ? t->bias + p * CK_PANEL : t->bias;
    (step == 4 ? tile_four[t->kind] : step == 2 ? tile_two[t->kind] : tile_one[t->kind])[rows - 1](&now);
    p += step;
  }
  const ptrdiff_t rest = columns - whole * CK_PANEL;
  if (!rest) return;
  v16 copy[CK_ROWS], bias = {};
  now = *t;
  if (t->from & FROM_Y)
    for (int r = 0; r < rows; r++) copy[r] = load_some(t->y + r * t->yRow + whole * CK_PANEL, rest);
  if (t->from & FROM_BIAS) bias = load_some(t->bias + whole * CK_PANEL, rest);
  now.w = weight_at(t->w, whole * t->wPanel, t->kind);
  now.b = t->extra ? t->b + whole * t->bPanel : t->b;
  now.y = (float *)copy;
  now.yRow = CK_PANEL;
  now.bias = (const float *)&bias;
  tile_one[t->kind][rows - 1](&now);
  for (int r = 0; r < rows; r++) store_some(t->y + r * t->yRow + whole * CK_PANEL, copy[r], rest);
}

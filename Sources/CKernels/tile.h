/* The one microkernel of all products: an outer-product tile of up to CK_ROWS rows by `panels` times 16
 * columns. Each element of Y is a chain of multiply-adds over k in ascending order, whatever the tile's
 * size, so a row's bits do not depend on how many rows stand beside it.
 * The including file defines CK_ROWS and CK_HAS_FMA. */
#pragma once
#include "vector.h"

/* Where a tile starts from: nothing, what Y holds, the bias, or both. */
enum { FROM_Y = 1, FROM_BIAS = 2 };

typedef struct {
  const float *x; /* x[row * xRow + k * xK] */
  ptrdiff_t xRow, xK;
  const float *w; /* w[panel * wPanel + k * wK + lane] */
  ptrdiff_t wPanel, wK;
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

CK_INLINE void tile_chain(v16 (*acc)[CK_ROWS], int rows, int panels, const float *x, ptrdiff_t xRow,
                          ptrdiff_t xK, const float *w, ptrdiff_t wPanel, ptrdiff_t wK, ptrdiff_t k) {
#pragma clang loop unroll_count(4)
  for (ptrdiff_t i = 0; i < k; i++) {
    v16 column[4];
    for (int p = 0; p < panels; p++) column[p] = load(w + p * wPanel);
    for (int r = 0; r < rows; r++) {
      const v16 value = splat(x[r * xRow]);
      for (int p = 0; p < panels; p++) acc[p][r] = fma16(value, column[p], acc[p][r]);
    }
    x += xK;
    w += wK;
  }
}

CK_INLINE void tile_run(const tile *t, int rows, int panels) {
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
  if (t->xK == 1)
    tile_chain(acc, rows, panels, t->x, t->xRow, 1, t->w, t->wPanel, t->wK, t->k);
  else
    tile_chain(acc, rows, panels, t->x, t->xRow, t->xK, t->w, t->wPanel, t->wK, t->k);
  if (t->extra)
    tile_chain(acc, rows, panels, t->z, t->zRow, 1, t->b, t->bPanel, CK_PANEL, t->extra);
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

#define CK_TILE(ROWS, PANELS) \
  static __attribute__((noinline)) void tile_##ROWS##x##PANELS(const tile *t) { tile_run(t, ROWS, PANELS); }

CK_TILE(1, 1) CK_TILE(2, 1) CK_TILE(3, 1) CK_TILE(4, 1) CK_TILE(5, 1) CK_TILE(6, 1)
CK_TILE(1, 2) CK_TILE(2, 2) CK_TILE(3, 2)
CK_TILE(1, 4)
#if CK_ROWS == 12
CK_TILE(7, 1) CK_TILE(8, 1) CK_TILE(9, 1) CK_TILE(10, 1) CK_TILE(11, 1) CK_TILE(12, 1)
CK_TILE(4, 2) CK_TILE(5, 2) CK_TILE(6, 2)
#endif

typedef void tile_function(const tile *);

static tile_function *const tile_one[CK_ROWS] = {
    tile_1x1, tile_2x1, tile_3x1, tile_4x1, tile_5x1, tile_6x1,
#if CK_ROWS == 12
    tile_7x1, tile_8x1, tile_9x1, tile_10x1, tile_11x1, tile_12x1,
#endif
};

static tile_function *const tile_two[] = {
    tile_1x2, tile_2x2, tile_3x2,
#if CK_ROWS == 12
    tile_4x2, tile_5x2, tile_6x2,
#endif
};

/* One tile of rows by `columns` columns, at most `panels` times 16; a ragged last panel goes through a
 * copy, so nothing is read or written past a row's end. */
static void tile_apply(const tile *t, int rows, int panels, ptrdiff_t columns) {
  const int whole = (int)(columns / CK_PANEL);
  tile now = *t;
  for (int p = 0; p < whole;) {
    const int step = whole - p >= 4 && panels >= 4 && rows == 1 ? 4 : whole - p >= 2 && panels >= 2 ? 2 : 1;
    now.w = t->w + p * t->wPanel;
    now.b = t->extra ? t->b + p * t->bPanel : t->b;
    now.y = t->y + p * CK_PANEL;
    now.bias = t->from & FROM_BIAS ? t->bias + p * CK_PANEL : t->bias;
    if (step == 4) tile_1x4(&now);
    else (step == 2 ? tile_two : tile_one)[rows - 1](&now);
    p += step;
  }
  const ptrdiff_t rest = columns - whole * CK_PANEL;
  if (!rest) return;
  v16 copy[CK_ROWS], bias = {};
  now = *t;
  if (t->from & FROM_Y)
    for (int r = 0; r < rows; r++) copy[r] = load_some(t->y + r * t->yRow + whole * CK_PANEL, rest);
  if (t->from & FROM_BIAS) bias = load_some(t->bias + whole * CK_PANEL, rest);
  now.w = t->w + whole * t->wPanel;
  now.b = t->extra ? t->b + whole * t->bPanel : t->b;
  now.y = (float *)copy;
  now.yRow = CK_PANEL;
  now.bias = (const float *)&bias;
  tile_one[rows - 1](&now);
  for (int r = 0; r < rows; r++) store_some(t->y + r * t->yRow + whole * CK_PANEL, copy[r], rest);
}

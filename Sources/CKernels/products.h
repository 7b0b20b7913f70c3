/* Loop nests around the tile. The reduction is cut into fixed blocks of CK_BLOCK so that a panel's
 * stretch stays in the first-level cache; sums pass from block to block through Y as float32, which is
 * what the accumulators hold anyway. */
#pragma once
#include "tile.h"

#define CK_BLOCK 384
/* Rows worked on before the next panel is fetched: their stretch of X stays in the second-level cache. */
#define CK_ROW_BLOCK 96
/* Inputs that are rounded at once: they and the group's figures take 60 or 108 KiB of the stack. */
#define CK_ROUNDED 49152
/* The unpacked products' block; it is part of their result's bits. */
#define CK_SMALL_BLOCK 256

CK_INLINE ptrdiff_t least(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

/* Splits rows into tiles as even as possible: 8 rows are 4 and 4, not 6 and 2. */
static int next_rows(ptrdiff_t left) {
  const ptrdiff_t tiles = (left + CK_ROWS - 1) / CK_ROWS;
  return (int)((left + tiles - 1) / tiles);
}

/* Inputs first ..< end of a panel that is not float32; `first` is a multiple of 8. */
static void widen_panel(const void *panel, const uint16_t *scales, int format, ptrdiff_t first, ptrdiff_t end,
                        float *to) {
  if (format == CK_BFLOAT16) {
    for (ptrdiff_t i = first; i < end; i++, to += CK_PANEL) store(to, load_weight(panel, i * CK_PANEL, format));
    return;
  }
  for (ptrdiff_t i = first; i < end; i += 8) {
    const v16 scale = load_narrow(scales + i / CK_GROUP * CK_PANEL);
    u16 words[2];
    load_levels(weight_at(panel, i * CK_PANEL, format), format, &words[0], &words[1]);
    for (ptrdiff_t j = 0, count = least(8, end - i); j < count; j++, to += CK_PANEL) {
      const i16 level = (i16)(words[j / 4] >> (uint32_t)(8 * (j % 4)) & 255) - 128;
      store(to, __builtin_convertvector(level, v16) * scale);
    }
  }
}

typedef struct {
  steps q[CK_ROUNDED] __attribute__((aligned(64)));
  group groups[CK_ROUNDED / CK_GROUP];
} rounded_rows;

static void linear_rows(const ck_linear *a, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t k, ptrdiff_t length,
                        int first, int last, const rounded_rows *rounded, narrowed_x *narrowed) {
  float widened[CK_BLOCK * CK_PANEL] __attribute__((aligned(64)));
  const int wide = rows <= CK_ROWS ? tile_panels(rows) : 1;
  const ptrdiff_t columns = wide * CK_PANEL, padded = ck_padded(a->inputs, a->format), even = (length + 1) / 2 * 2;
  if (narrowed)
    for (ptrdiff_t r = 0; r < rows; r++) round_row(a->x + (row + r) * a->xStride + k, narrowed + r * even, length);
  for (ptrdiff_t n = 0; n < a->outputs; n += columns) {
    tile t = {.xK = 1, .xRow = a->xStride, .wK = CK_PANEL, .wPanel = padded * CK_PANEL, .k = length,
              .zRow = a->zStride, .bPanel = a->extraInputs * CK_PANEL, .extra = last ? a->extra : 0,
              .yRow = a->yStride, .scale = 1, .format = a->format};
    const void *panel = weight_at(a->panels, n * padded, a->format);
    const ptrdiff_t bytes = CK_PANEL * (a->format == CK_FLOAT32 ? 4 : 2);
    t.w = weight_at(panel, k * CK_PANEL, a->format);
    if (rounded) {
      t.k = ck_padded(length, a->format);
      t.scales = a->scales + n * (padded / CK_GROUP) + k / CK_GROUP * CK_PANEL;
      t.scalesPanel = padded / CK_GROUP * CK_PANEL;
#if CK_HAS_PAIRS
    } else if (narrowed) {
      t.format = PAIRS;
      t.pairsRow = even;
      if (rows > 2 * CK_ROWS) {
        pair_panel(t.w, (uint16_t *)widened, length);
        t.w = widened;
        t.format = PAIRED;
      }
#endif
    } else if (a->format != CK_FLOAT32 && rows > CK_ROWS) {
      /* Where several tiles of rows read the panel it is widened once. */
      widen_panel(panel, 0, a->format, k, k + length, widened);
      t.w = widened;
      t.format = CK_FLOAT32;
    }
#if !CK_HAS_PAIRS
    if (narrowed) t.xRow = even;
#endif
    if (t.extra) t.b = a->extraPanels + n * a->extraInputs;
    t.from = first ? (a->accumulate ? FROM_Y : 0) | (a->bias ? FROM_BIAS : 0) : FROM_Y;
    t.bias = a->bias ? a->bias + n : 0;
    /* The next panel comes from memory while this one is multiplied. */
    const char *ahead = t.w == widened && n + columns < a->outputs ? (const char *)panel + (padded + k) * bytes : 0;
    const ptrdiff_t lines = (length * bytes + 63) / 64, share = (lines * CK_ROWS + rows - 1) / rows;
    for (ptrdiff_t r = 0; r < rows;) {
      const int count = next_rows(rows - r);
      for (ptrdiff_t i = 0; ahead && i < share; i++) __builtin_prefetch(ahead += 64);
      if (rounded) {
        t.q = rounded->q + r * t.k;
        t.groups = rounded->groups + r * (t.k / CK_GROUP);
      } else if (narrowed) {
#if CK_HAS_PAIRS
        t.pairs = narrowed + r * even;
#else
        t.x = narrowed + r * even;
#endif
      } else {
        t.x = a->x + (row + r) * a->xStride + k;
      }
      if (t.extra) t.z = a->z + (row + r) * a->zStride;
      t.y = a->y + (row + r) * a->yStride + n;
      tile_apply(&t, count, wide, least(columns, a->outputs - n));
      r += count;
    }
  }
}

/* With scales: rounds each row's stretch of X once for all panels. Sums pass from stretch to stretch through Y, as
 * they do between blocks, so a stretch is as long as the memory allows. */
static void linear_rounded(const ck_linear *a) {
  rounded_rows rounded;
  for (ptrdiff_t row = 0; row < a->rows; row += CK_ROW_BLOCK) {
    const ptrdiff_t rows = least(CK_ROW_BLOCK, a->rows - row);
    const ptrdiff_t block = CK_ROUNDED / rows / CK_GROUP * CK_GROUP;
    for (ptrdiff_t k = 0; k < a->inputs; k += block) {
      const ptrdiff_t length = least(block, a->inputs - k), padded = ck_padded(length, a->format);
      for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t i = 0; i < length; i += CK_GROUP)
          round_group(a->x + (row + r) * a->xStride + k + i, least(CK_GROUP, length - i),
                      rounded.q + r * padded + i, rounded.groups + (r * padded + i) / CK_GROUP);
      linear_rows(a, row, rows, k, length, k == 0, k + block >= a->inputs, &rounded, 0);
    }
  }
}

static void linear(const ck_linear *a) {
  if (has_scales(a->format)) {
    linear_rounded(a);
    return;
  }
  narrowed_x copy[CK_ROW_BLOCK * CK_BLOCK] __attribute__((aligned(64)));
  narrowed_x *const narrowed = a->rounded && a->format == CK_BFLOAT16 ? copy : 0;
  for (ptrdiff_t row = 0; row < a->rows; row += CK_ROW_BLOCK) {
    const ptrdiff_t rows = least(CK_ROW_BLOCK, a->rows - row);
    /* With one or two tiles of rows a panel is read once or twice, and blocks would only cost. */
    const int few = rows <= (a->format == CK_FLOAT32 || (narrowed && CK_HAS_PAIRS) ? 2 : 1) * CK_ROWS;
    const ptrdiff_t block = !few ? CK_BLOCK : narrowed ? CK_ROW_BLOCK * CK_BLOCK / (2 * CK_ROWS) : a->inputs;
    for (ptrdiff_t k = 0; k < a->inputs; k += block)
      linear_rows(a, row, rows, k, least(block, a->inputs - k), k == 0, k + block >= a->inputs, 0, narrowed);
  }
}

/* to[j * 16 + i] = from[i * stride + j] for 16 j and 16 i, the rows from `count` on taken as zeros. */
CK_INLINE void turn(const float *from, ptrdiff_t stride, float *to, ptrdiff_t count) {
  for (ptrdiff_t i = 0; i < 16; i += 8)
    for (ptrdiff_t o = 0; o < 16; o += 8) {
      v8 row[8], a[8], b[8];
      for (int j = 0; j < 8; j++) {
        row[j] = (v8){};
        if (i + j < count) memcpy(&row[j], from + (i + j) * stride + o, sizeof(v8));
      }
      for (int j = 0; j < 8; j += 2) {
        a[j] = __builtin_shufflevector(row[j], row[j + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        a[j + 1] = __builtin_shufflevector(row[j], row[j + 1], 2, 10, 3, 11, 6, 14, 7, 15);
      }
      for (int j = 0; j < 8; j += 4)
        for (int h = 0; h < 2; h++) {
          b[j + 2 * h] = __builtin_shufflevector(a[j + h], a[j + 2 + h], 0, 1, 8, 9, 4, 5, 12, 13);
          b[j + 2 * h + 1] = __builtin_shufflevector(a[j + h], a[j + 2 + h], 2, 3, 10, 11, 6, 7, 14, 15);
        }
      for (int j = 0; j < 4; j++) {
        const v8 low = __builtin_shufflevector(b[j], b[j + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        const v8 high = __builtin_shufflevector(b[j], b[j + 4], 4, 5, 6, 7, 12, 13, 14, 15);
        memcpy(to + (o + j) * 16 + i, &low, sizeof(v8));
        memcpy(to + (o + j + 4) * 16 + i, &high, sizeof(v8));
      }
    }
}

/* Sixteen input columns at a time: the panels' pieces are turned into a panel of W transposed on the
 * stack, once for all rows, and the forward tile does the rest. */
static void linear_backward(const ck_linear_backward *a) {
  float turned[CK_BLOCK * CK_PANEL] __attribute__((aligned(64)));
  float widened[CK_PANEL * CK_PANEL] __attribute__((aligned(64)));
  const ptrdiff_t padded = ck_padded(a->inputs, a->format);
  /* Inputs of a panel in a line of the cache. */
  const ptrdiff_t lines = 1 << a->format;
  for (ptrdiff_t k = 0; k < a->columns; k += CK_PANEL) {
    const ptrdiff_t inputs = least(CK_PANEL, a->columns - k);
    for (ptrdiff_t o = 0; o < a->outputs; o += CK_BLOCK) {
      const ptrdiff_t outputs = least(CK_BLOCK, a->outputs - o);
      for (ptrdiff_t p = 0; p < outputs; p += CK_PANEL) {
        const void *panel = weight_at(a->panels, (o + p) * padded, a->format);
        const float *piece = weight_at(panel, k * CK_PANEL, a->format);
        /* The next piece is pages away, where the processor does not look for it by itself. */
        if (p + CK_PANEL < outputs)
          for (ptrdiff_t line = 0; line < inputs; line += lines)
            __builtin_prefetch(weight_at(piece, (padded + line) * CK_PANEL, a->format));
        if (a->format != CK_FLOAT32) {
          widen_panel(panel, has_scales(a->format) ? a->scales + (o + p) * (padded / CK_GROUP) : 0, a->format, k,
                      k + inputs, widened);
          piece = widened;
        }
        if (inputs == CK_PANEL) turn(piece, CK_PANEL, turned + p * CK_PANEL, CK_PANEL);
        else turn(piece, CK_PANEL, turned + p * CK_PANEL, inputs);
      }
      tile t = {.xK = 1, .xRow = a->dYStride, .w = turned, .wK = CK_PANEL, .k = outputs,
                .yRow = a->dXStride, .from = o || a->accumulate ? FROM_Y : 0, .scale = 1};
      for (ptrdiff_t r = 0; r < a->rows;) {
        const int count = next_rows(a->rows - r);
        t.x = a->dY + r * a->dYStride + o;
        t.y = a->dX + r * a->dXStride + k;
        tile_apply(&t, count, 1, inputs);
        r += count;
      }
    }
  }
}

/* Copies a block of B into one panel: to[k * 16 + column] = b[k * kStride + column * columnStride]. */
static void gather(const float *b, ptrdiff_t kStride, ptrdiff_t columnStride, ptrdiff_t k,
                   ptrdiff_t columns, float *to) {
  ptrdiff_t i = 0;
  if (kStride == 1)
    for (; i + 16 <= k; i += 16) turn(b + i, columnStride, to + i * CK_PANEL, columns);
  for (; i < k; i++)
    for (ptrdiff_t j = 0; j < CK_PANEL; j++)
      to[i * CK_PANEL + j] = j < columns ? b[i * kStride + j * columnStride] : 0;
}

/* The three unpacked products differ in how A is walked and whether B's panel must be gathered. Where it need not be,
 * few rows span several panels. */
CK_INLINE void small_product(const ck_product *a, ptrdiff_t aRow, ptrdiff_t aK, ptrdiff_t bK,
                             ptrdiff_t bColumn) {
  float panel[CK_SMALL_BLOCK * CK_PANEL] __attribute__((aligned(64)));
  const int wide = a->padded && a->m <= CK_ROWS ? tile_panels(a->m) : 1;
  for (ptrdiff_t k = 0; k == 0 || k < a->k; k += CK_SMALL_BLOCK) {
    const ptrdiff_t length = least(CK_SMALL_BLOCK, a->k - k);
    for (ptrdiff_t n = 0; n < a->n; n += wide * CK_PANEL) {
      const ptrdiff_t columns = least(wide * CK_PANEL, a->n - n);
      tile t = {.xRow = aRow, .xK = aK, .wPanel = CK_PANEL, .k = length, .yRow = a->cStride, .scale = a->scale,
                .scaled = 1, .from = k || a->accumulate ? FROM_Y : 0};
      const float *b = a->b + k * bK + n * bColumn;
      if (bColumn == 1 && (columns == CK_PANEL || a->padded)) {
        t.w = b;
        t.wK = bK;
      } else {
        gather(b, bK, bColumn, length, columns, panel);
        t.w = panel;
        t.wK = CK_PANEL;
      }
      for (ptrdiff_t r = 0; r < a->m;) {
        const int count = next_rows(a->m - r);
        t.x = a->a + r * aRow + k * aK;
        t.y = a->c + r * a->cStride + n;
        tile_apply(&t, count, wide, columns);
        r += count;
      }
    }
  }
}

static void product_nt(const ck_product *a) { small_product(a, a->aStride, 1, 1, a->bStride); }
static void product_nn(const ck_product *a) { small_product(a, a->aStride, 1, a->bStride, 1); }
static void product_tn(const ck_product *a) { small_product(a, 1, a->aStride, a->bStride, 1); }

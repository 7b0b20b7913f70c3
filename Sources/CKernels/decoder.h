/* What decoders have besides: causal attention over paged keys, root mean square norm, gated units, rotations. */
#pragma once
#include "elementwise.h"
#include "products.h"

/* One tile call for each split of the rows: `t` is set for row 0. */
static void attention_rows(tile t, ptrdiff_t rows, ptrdiff_t columns) {
  const int wide = rows <= CK_ROWS ? tile_panels(rows) : 1;
  for (ptrdiff_t r = 0; r < rows;) {
    const int count = next_rows(rows - r);
    tile_apply(&t, count, wide, columns);
    t.x += count * t.xRow;
    t.y += count * t.yRow;
    r += count;
  }
}

/* What the processor does not look for by itself: a page's part that is read after this one. It goes to the second cache:
 * the first has few places for lines that are on their way, and the products wait for them. */
static void attention_ahead(const ck_attention *a, ptrdiff_t page, ptrdiff_t from, ptrdiff_t count) {
  const char *at = weight_at(a->pages[page], from, a->format), *end = weight_at(at, count, a->format);
  for (; at < end; at += 64) __builtin_prefetch(at, 0, 2);
}

static void attention(const ck_attention *a) {
  const ptrdiff_t keys = a->position + (a->rows - 1) / a->together + 1;
  const ptrdiff_t seen = a->window && a->position >= a->window ? a->position - a->window + 1 : 0;
  const ptrdiff_t start = seen / CK_PANEL * CK_PANEL;
  for (ptrdiff_t at = start; at < keys;) {
    const ptrdiff_t page = at / a->pageTokens, from = at - page * a->pageTokens;
    const ptrdiff_t count = least(a->pageTokens - from, (keys - at + CK_PANEL - 1) / CK_PANEL * CK_PANEL);
    const tile t = {.x = a->q, .xRow = a->qStride, .xK = 1,
                    .w = weight_at(a->pages[page], a->keyOffset + from * a->size, a->format),
                    .wPanel = a->size * CK_PANEL, .wK = CK_PANEL, .format = a->format, .k = a->size, .y = a->p + at, .yRow = a->pStride};
    if (at + count < keys)
      attention_ahead(a, page + 1, a->keyOffset, least(a->pageTokens, keys - at - count) * a->size);
    attention_rows(t, a->rows, count);
    at += count;
  }
  const ptrdiff_t end = (keys + CK_PANEL - 1) / CK_PANEL * CK_PANEL;
  for (ptrdiff_t r = 0; r < a->rows; r++) {
    float *p = a->p + r * a->pStride;
    const ptrdiff_t place = a->position + r / a->together;
    const ptrdiff_t first = a->window && place >= a->window ? place - a->window + 1 : 0;
    softmax(p + first, a->scale, p + first, place + 1 - first);
    memset(p + start, 0, (size_t)(first - start) * sizeof(float));
    memset(p + place + 1, 0, (size_t)(end - place - 1) * sizeof(float));
  }
  for (ptrdiff_t at = start; at < keys;) {
    const ptrdiff_t page = at / a->pageTokens, from = at - page * a->pageTokens;
    const ptrdiff_t count = least(a->pageTokens - from, keys - at);
    const tile t = {.x = a->p + at, .xRow = a->pStride, .xK = 1,
                    .w = weight_at(a->pages[page], a->valueOffset + from * a->valueStride, a->format),
                    .wPanel = CK_PANEL, .wK = a->valueStride, .format = a->format, .k = count, .y = a->o, .yRow = a->oStride,
                    .from = at > start ? FROM_Y : 0};
    if (at + count < keys)
      attention_ahead(a, page + 1, a->valueOffset, least(a->pageTokens, keys - at - count) * a->valueStride);
    attention_rows(t, a->rows, a->size);
    at += count;
  }
}

static void rms_norm(const float *x, const float *gain, float epsilon, float *y, ptrdiff_t n, float *inverse) {
  v16 squares = {};
#define BODY(GET, PUT, C) const v16 v = GET(x + i C); squares = fma16(v, v, squares);
  CK_EACH(n, BODY);
#undef BODY
  const float r = 1.0f / __builtin_sqrtf(sum16(squares) / (float)n + epsilon);
#define BODY(GET, PUT, C) PUT(y + i, GET(x + i C) * r * GET(gain + i C) C);
  CK_EACH(n, BODY);
#undef BODY
  *inverse = r;
}

/* dX = r (g - xhat mean(g xhat)), g = dY gain, xhat = x r. */
static void rms_norm_backward(const float *dY, const float *x, const float *gain, float inverse, int accumulate,
                              float *dX, ptrdiff_t n) {
  v16 product = {};
#define BODY(GET, PUT, C) product = fma16(GET(dY + i C) * GET(gain + i C), GET(x + i C) * inverse, product);
  CK_EACH(n, BODY);
#undef BODY
  const float b = sum16(product) / (float)n;
#define BODY(GET, PUT, C)                                                                     \
  v16 d = (GET(dY + i C) * GET(gain + i C) - GET(x + i C) * inverse * b) * inverse;           \
  if (accumulate) d += GET(dX + i C);                                                         \
  PUT(dX + i, d C);
  CK_EACH(n, BODY);
#undef BODY
}

CK_INLINE v16 sigmoid16(v16 x) { return 1.0f / (exp16(-x) + 1.0f); }

static void swiglu(const float *gate, const float *up, float *y, ptrdiff_t n) {
#define BODY(GET, PUT, C) const v16 g = GET(gate + i C); PUT(y + i, g * sigmoid16(g) * GET(up + i C) C);
  CK_EACH(n, BODY);
#undef BODY
}

static void swiglu_backward(const float *dY, const float *gate, const float *up, float *dGate, float *dUp,
                            ptrdiff_t n) {
#define BODY(GET, PUT, C)                                                                     \
  const v16 d = GET(dY + i C), g = GET(gate + i C), u = GET(up + i C), s = sigmoid16(g);      \
  PUT(dGate + i, d * u * s * fma16(g, 1.0f - s, splat(1.0f)) C);                              \
  PUT(dUp + i, d * g * s C);
  CK_EACH(n, BODY);
#undef BODY
}

static void rotate(float *x, const float *cosine, const float *sine, float sign, ptrdiff_t half,
                   ptrdiff_t heads) {
  for (ptrdiff_t head = 0; head < heads; head++) {
    float *low = x + head * 2 * half, *high = low + half;
#define BODY(GET, PUT, C)                                                                     \
  const v16 a = GET(low + i C), b = GET(high + i C);                                          \
  const v16 c = GET(cosine + i C), s = GET(sine + i C) * sign;                                \
  PUT(low + i, fma16(a, c, -(b * s)) C);                                                      \
  PUT(high + i, fma16(b, c, a * s) C);
    CK_EACH(half, BODY);
#undef BODY
  }
}

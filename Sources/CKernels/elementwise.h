/* Activations, norms, softmax and the optimiser's update. Polynomials are minimax fits of ours. */
#pragma once
#include "vector.h"

/* exp(x) to 1 unit in the last place or two: x = n ln 2 + r, e^r = 1 + r + r^2 P(r).
 * Below -87.3 the result is zero, above 88.3 it stays at e^88.3; what is not a number stays so. */
CK_INLINE v16 exp16(v16 x) {
  const i16 underflow = x < -87.3f;
  x = max16(x, splat(-87.3f));
  x = choose(x > 88.3f, splat(88.3f), x);
  const v16 magic = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
  const v16 shifted = fma16(x, splat(1.44269504f), magic);
  const v16 n = shifted - magic;
  v16 r = fma16(n, splat(-0.693359375f), x);
  r = fma16(n, splat(2.12194440e-4f), r);
  v16 p = splat(1.3814636e-3f);
  p = fma16(p, r, splat(8.36872775e-3f));
  p = fma16(p, r, splat(4.1668389e-2f));
  p = fma16(p, r, splat(1.66665211e-1f));
  p = fma16(p, r, splat(0.49999994f));
  p = fma16(p, r * r, r) + 1.0f;
  const i16 exponent = (i16)shifted << 23;
  const v16 value = (v16)((i16)p + exponent);
  return choose(underflow, (v16){}, value + (x - x));
}

CK_INLINE v16 tanh16(v16 x) {
  const v16 t = abs16(x), s = x * x;
  v16 p = splat(-5.6790784e-3f);
  p = fma16(p, s, splat(2.06179307e-2f));
  p = fma16(p, s, splat(-5.37339448e-2f));
  p = fma16(p, s, splat(1.3331383e-1f));
  p = fma16(p, s, splat(-3.33332802e-1f));
  const v16 small = fma16(p * s, x, x);
  const v16 large = 1.0f - 2.0f / (exp16(t + t) + 1.0f);
  const v16 sign = (v16)((i16)x & (i16)splat(-0.0f));
  return choose(t < 0.625f, small, (v16)((i16)large | (i16)sign));
}

/* The normal distribution function and density share one exponential:
 * P(-t) = exp(-t^2/2) q(t), q(t) = u Q(u), u = 1 / (1 + 0.35 t), good to 3e-8 for every t >= 0. */
CK_INLINE void normal16(v16 x, v16 *below, v16 *density) {
  const v16 t = abs16(x);
  const v16 e = exp16(t * t * -0.5f);
  const v16 u = 1.0f / fma16(t, splat(0.35f), splat(1.0f));
  v16 q = splat(-0.02914491837f);
  q = fma16(q, u, splat(0.1439673042f));
  q = fma16(q, u, splat(-0.2557062131f));
  q = fma16(q, u, splat(0.1591660828f));
  q = fma16(q, u, splat(-0.02310497942f));
  q = fma16(q, u, splat(0.1055062211f));
  q = fma16(q, u, splat(0.1198332568f));
  q = fma16(q, u, splat(0.1398618237f));
  q = fma16(q, u, splat(0.1396214065f));
  const v16 tail = e * (q * u);
  *below = choose(x > 0.0f, 1.0f - tail, tail);
  *density = e * 0.398942280f;
}

/* tanh GELU is x / (1 + exp(-2 k (x + c x^3))), k = sqrt(2 / pi), c = 0.044715. */
CK_INLINE v16 logistic_of_gelu(v16 x) {
  const v16 inner = x * fma16(x * x, splat(0.044715f), splat(1.0f));
  return 1.0f / (exp16(inner * -1.59576912f) + 1.0f);
}

CK_INLINE v16 activation(int kind, v16 x) {
  v16 below, density;
  switch (kind) {
    case CK_GELU: normal16(x, &below, &density); return x * below;
    case CK_GELU_TANH: return x * logistic_of_gelu(x);
    case CK_TANH: return tanh16(x);
    default: return max16(x, (v16){});
  }
}

CK_INLINE v16 slope(int kind, v16 saved) {
  v16 below, density;
  switch (kind) {
    case CK_GELU: normal16(saved, &below, &density); return fma16(saved, density, below);
    case CK_GELU_TANH: {
      const v16 g = logistic_of_gelu(saved);
      const v16 inner = 1.59576912f * fma16(saved * saved, splat(0.134145f), splat(1.0f));
      return fma16(saved * g * (1.0f - g), inner, g);
    }
    case CK_TANH: return 1.0f - saved * saved;
    default: return choose(saved > 0.0f, splat(1.0f), (v16){});
  }
}

/* Runs BODY(count) over 16 values at a time with GET and PUT, then over the rest. */
#define CK_EACH(N, BODY)                                              \
  do {                                                                \
    ptrdiff_t i = 0;                                                  \
    for (; i + 16 <= (N); i += 16) { BODY(load, store, ) }            \
    if (i < (N)) { const ptrdiff_t some = (N) - i; BODY(load_some, store_some, CK_SOME) } \
  } while (0)
#define CK_SOME , some

CK_INLINE void activate_as(int kind, const float *x, float *y, ptrdiff_t n) {
#define BODY(GET, PUT, C) PUT(y + i, activation(kind, GET(x + i C)) C);
  CK_EACH(n, BODY);
#undef BODY
}

static void activate(int kind, const float *x, float *y, ptrdiff_t n) {
  switch (kind) {
    case CK_GELU: activate_as(CK_GELU, x, y, n); return;
    case CK_GELU_TANH: activate_as(CK_GELU_TANH, x, y, n); return;
    case CK_TANH: activate_as(CK_TANH, x, y, n); return;
    default: activate_as(CK_RELU, x, y, n);
  }
}

CK_INLINE void slope_as(int kind, const float *dY, const float *saved, float *dX, ptrdiff_t n) {
#define BODY(GET, PUT, C) PUT(dX + i, GET(dY + i C) * slope(kind, GET(saved + i C)) C);
  CK_EACH(n, BODY);
#undef BODY
}

static void activate_backward(int kind, const float *dY, const float *saved, float *dX, ptrdiff_t n) {
  switch (kind) {
    case CK_GELU: slope_as(CK_GELU, dY, saved, dX, n); return;
    case CK_GELU_TANH: slope_as(CK_GELU_TANH, dY, saved, dX, n); return;
    case CK_TANH: slope_as(CK_TANH, dY, saved, dX, n); return;
    default: slope_as(CK_RELU, dY, saved, dX, n);
  }
}

/* Two passes: the variance is of the centred values, so a large mean costs no digits. */
static void layer_norm(const float *x, const float *gain, const float *bias, float epsilon, float *y,
                       ptrdiff_t n, float *mean, float *inverse) {
  v16 sum = {};
#define BODY(GET, PUT, C) sum += GET(x + i C);
  CK_EACH(n, BODY);
#undef BODY
  const float m = sum16(sum) / (float)n;
  v16 squares = {};
  ptrdiff_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const v16 d = load(x + i) - m;
    squares = fma16(d, d, squares);
  }
  if (i < n) {
    const v16 d = choose(first_lanes(n - i), load_some(x + i, n - i) - m, (v16){});
    squares = fma16(d, d, squares);
  }
  const float r = 1.0f / __builtin_sqrtf(sum16(squares) / (float)n + epsilon);
#define BODY(GET, PUT, C) PUT(y + i, fma16((GET(x + i C) - m) * r, GET(gain + i C), GET(bias + i C)) C);
  CK_EACH(n, BODY);
#undef BODY
  *mean = m;
  *inverse = r;
}

/* dX = r (g - mean(g) - xhat mean(g xhat)), g = dY gain, xhat = (x - m) r. */
static void layer_norm_backward(const float *dY, const float *x, const float *gain, float mean,
                                float inverse, int accumulate, float *dX, ptrdiff_t n) {
  v16 sum = {}, product = {};
#define BODY(GET, PUT, C)                                     \
  const v16 g = GET(dY + i C) * GET(gain + i C);              \
  sum += g;                                                   \
  product = fma16(g, (GET(x + i C) - mean) * inverse, product);
  CK_EACH(n, BODY);
#undef BODY
  const float a = sum16(sum) / (float)n, b = sum16(product) / (float)n;
#define BODY(GET, PUT, C)                                                        \
  const v16 g = GET(dY + i C) * GET(gain + i C);                                 \
  v16 d = (g - a - (GET(x + i C) - mean) * inverse * b) * inverse;               \
  if (accumulate) d += GET(dX + i C);                                            \
  PUT(dX + i, d C);
  CK_EACH(n, BODY);
#undef BODY
}

static void softmax(const float *x, float scale, float *y, ptrdiff_t n) {
  v16 top = splat(x[0] * scale);
  ptrdiff_t j = 0;
  for (; j + 16 <= n; j += 16) top = max16(top, load(x + j) * scale);
  if (j < n) top = max16(top, choose(first_lanes(n - j), load_some(x + j, n - j) * scale, top));
  v8 half = low8(top);
  for (int lane = 0; lane < 8; lane++) half[lane] = top[lane + 8] > half[lane] ? top[lane + 8] : half[lane];
  float most = half[0];
  for (int lane = 1; lane < 8; lane++) most = half[lane] > most ? half[lane] : most;
  v16 sum = {};
  for (j = 0; j + 16 <= n; j += 16) {
    const v16 e = exp16(load(x + j) * scale - most);
    store(y + j, e);
    sum += e;
  }
  if (j < n) {
    const v16 e = exp16(load_some(x + j, n - j) * scale - most);
    store_some(y + j, e, n - j);
    sum += choose(first_lanes(n - j), e, (v16){});
  }
  const float inverse = 1.0f / sum16(sum);
#define BODY(GET, PUT, C) PUT(y + i, GET(y + i C) * inverse C);
  CK_EACH(n, BODY);
#undef BODY
}

static void softmax_backward(const float *dY, const float *y, float scale, float *dX, ptrdiff_t n) {
  v16 sum = {};
#define BODY(GET, PUT, C) sum = fma16(GET(dY + i C), GET(y + i C), sum);
  CK_EACH(n, BODY);
#undef BODY
  const float total = sum16(sum);
#define BODY(GET, PUT, C) PUT(dX + i, (GET(dY + i C) - total) * GET(y + i C) * scale C);
  CK_EACH(n, BODY);
#undef BODY
}

static void axpby(float a, const float *x, float b, float *y, ptrdiff_t n) {
#define BODY(GET, PUT, C) PUT(y + i, fma16(splat(a), GET(x + i C), GET(y + i C) * b) C);
  CK_EACH(n, BODY);
#undef BODY
}

static void add(const float *x, const float *w, float *y, ptrdiff_t n) {
#define BODY(GET, PUT, C) PUT(y + i, GET(x + i C) + GET(w + i C) C);
  CK_EACH(n, BODY);
#undef BODY
}

static void multiply(const float *x, const float *w, float *y, ptrdiff_t n) {
#define BODY(GET, PUT, C) PUT(y + i, GET(x + i C) * GET(w + i C) C);
  CK_EACH(n, BODY);
#undef BODY
}

static double dot(const float *x, const float *w, ptrdiff_t n) {
  d8 low = {}, high = {};
#define BODY(GET, PUT, C)                                \
  const v16 a = GET(x + i C), b = GET(w + i C);          \
  low += widen_low(a) * widen_low(b);                    \
  high += widen_high(a) * widen_high(b);
  CK_EACH(n, BODY);
#undef BODY
  return sum8d(low + high);
}

static void adamw(const ck_adamw *o, const float *gradient, float *value, float *first, float *second,
                  ptrdiff_t n) {
#define BODY(GET, PUT, C)                                                                    \
  const v16 g = GET(gradient + i C);                                                         \
  const v16 m = fma16(GET(first + i C), splat(o->beta1), g * (1.0f - o->beta1));             \
  const v16 v = fma16(GET(second + i C), splat(o->beta2), g * g * (1.0f - o->beta2));        \
  const v16 size = __builtin_elementwise_sqrt(v) / o->rootCorrection + o->epsilon;           \
  PUT(first + i, m C);                                                                       \
  PUT(second + i, v C);                                                                      \
  PUT(value + i, GET(value + i C) * o->decay - o->stepSize * (m / size) C);
  CK_EACH(n, BODY);
#undef BODY
}

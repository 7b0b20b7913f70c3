#pragma once
#include <stddef.h>
#include <stdint.h>

/* The few hot loops, in C. Every kernel is written once over 16-lane vectors and compiled for each
 * instruction set; the best one that the processor has is chosen once, at first use.
 * All matrices are row-major float32, strides in elements; packed weights may be bfloat16 (`narrow`).
 * Nothing here allocates or fails. */

/* Width of a panel of packed weights: 16 outputs side by side. */
#define CK_PANEL 16

#pragma clang assume_nonnull begin

/* Y = X Wt (+ bias) (+ Z Bt), or Y += .   X [rows, inputs], W packed [outputs, inputs], Z [rows, extra],
 * B packed [outputs, extraInputs] of which the first `extra` input columns are used. */
typedef struct {
  const float *x;
  ptrdiff_t xStride;
  const void *panels;
  ptrdiff_t rows, inputs, outputs;
  const float *_Nullable bias;
  const float *_Nullable z;
  ptrdiff_t zStride;
  const float *_Nullable extraPanels;
  ptrdiff_t extra, extraInputs;
  float *y;
  ptrdiff_t yStride;
  int accumulate, narrow;
  /* X is rounded to bfloat16 before the product, which then is one of pairs where the processor has it; only with
   * `narrow`. */
  int rounded;
} ck_linear;

/* dX = dY W or +=, from the same panels; the first `columns` of the inputs are computed. */
typedef struct {
  const float *dY;
  ptrdiff_t dYStride;
  const void *panels;
  ptrdiff_t rows, inputs, outputs, columns;
  float *dX;
  ptrdiff_t dXStride;
  int accumulate, narrow;
} ck_linear_backward;

/* C [m, n] = scale * op(A) op(B) or +=, the reduction over k in blocks of one fixed length. */
typedef struct {
  const float *a;
  ptrdiff_t aStride;
  const float *b;
  ptrdiff_t bStride;
  ptrdiff_t m, n, k;
  float *c;
  ptrdiff_t cStride;
  float scale;
  int accumulate;
} ck_product;

/* Causal attention of the query rows of one key-value head; query heads that share it are rows too.
 *     P = softmax(scale * Q Kt),  O = P V          Q, O [rows, size], P [rows, keys]
 * Row r stands at `position` + r / together and sees the keys up to its own place, the last `window` of them
 * where that is not 0. Keys lie in pages of `pageTokens`: K as panels of 16 keys (for each of `size` columns,
 * 16 keys side by side) from keyOffset, V row by row, `valueStride` apart and readable to a multiple of 16
 * columns, from valueOffset. Both products are one chain of multiply-adds each, so neither the page's length
 * nor the rows beside it change a row's bits. P has room for a multiple of 16 columns and is left holding the
 * probabilities, zero where a row sees nothing, from the first key that any row sees. O is overwritten. */
typedef struct {
  const float *q;
  ptrdiff_t qStride, rows, together, size;
  const float *_Nonnull const *_Nonnull pages;
  ptrdiff_t pageTokens, keyOffset, valueOffset, valueStride;
  ptrdiff_t position, window;
  float scale;
  float *p;
  ptrdiff_t pStride;
  float *o;
  ptrdiff_t oStride;
} ck_attention;

/* AdamW with decoupled decay (Loshchilov and Hutter, arXiv 1711.05101), as PyTorch orders it:
 * stepSize = rate / (1 - beta1^t), rootCorrection = sqrt(1 - beta2^t), decay = 1 - rate * weightDecay. */
typedef struct {
  float beta1, beta2, epsilon, decay, stepSize, rootCorrection;
} ck_adamw;

enum { CK_GELU = 0, CK_GELU_TANH = 1, CK_TANH = 2, CK_RELU = 3 };

/* One instruction set's kernels. */
typedef struct {
  const char *name;
  void (*linear)(const ck_linear *);
  void (*linear_backward)(const ck_linear_backward *);
  void (*product_nt)(const ck_product *);
  void (*product_nn)(const ck_product *);
  void (*product_tn)(const ck_product *);
  /* y = f(x) over n values; y may be x. */
  void (*activate)(int kind, const float *x, float *y, ptrdiff_t n);
  /* dX = dY f'(.); `saved` is the input x for GELU and ReLU, the output y for tanh. */
  void (*activate_backward)(int kind, const float *dY, const float *saved, float *dX, ptrdiff_t n);
  /* y = (x - mean) * inverse * gain + bias over one row; writes mean and inverse deviation. */
  void (*layer_norm)(const float *x, const float *gain, const float *bias, float epsilon, float *y,
                     ptrdiff_t n, float *mean, float *inverse);
  void (*layer_norm_backward)(const float *dY, const float *x, const float *gain, float mean,
                              float inverse, int accumulate, float *dX, ptrdiff_t n);
  void (*attention)(const ck_attention *);
  /* y = x * inverse * gain over one row, inverse = 1 / sqrt(mean(x^2) + epsilon), which is written. */
  void (*rms_norm)(const float *x, const float *gain, float epsilon, float *y, ptrdiff_t n, float *inverse);
  void (*rms_norm_backward)(const float *dY, const float *x, const float *gain, float inverse, int accumulate,
                            float *dX, ptrdiff_t n);
  /* y = gate * sigmoid(gate) * up, and its two gradients; each may be written over any input. */
  void (*swiglu)(const float *gate, const float *up, float *y, ptrdiff_t n);
  void (*swiglu_backward)(const float *dY, const float *gate, const float *up, float *dGate, float *dUp,
                          ptrdiff_t n);
  /* Turns each of `heads` vectors of 2 * half values in place by its angles, whose cosines and sines are
   * `half` each: (a, b) becomes (a cos - sign b sin, b cos + sign a sin). */
  void (*rotate)(float *x, const float *cosine, const float *sine, float sign, ptrdiff_t half, ptrdiff_t heads);
  /* y = softmax(scale * x) over one row, and dX = scale * y * (dY - sum(dY * y)). */
  void (*softmax)(const float *x, float scale, float *y, ptrdiff_t n);
  void (*softmax_backward)(const float *dY, const float *y, float scale, float *dX, ptrdiff_t n);
  /* y = a x + b y */
  void (*axpby)(float a, const float *x, float b, float *y, ptrdiff_t n);
  /* y = x + w, any of the three may be the same */
  void (*add)(const float *x, const float *w, float *y, ptrdiff_t n);
  /* y = x * w */
  void (*multiply)(const float *x, const float *w, float *y, ptrdiff_t n);
  /* Sum of x * w, products in float32, sums of them in double. */
  double (*dot)(const float *x, const float *w, ptrdiff_t n);
  void (*adamw)(const ck_adamw *, const float *gradient, float *value, float *first, float *second,
                ptrdiff_t n);
} ck_kernels;

/* The best set this processor runs. */
const ck_kernels *ck_best(void);
/* "scalar", "avx2", "avx512", "avx512-bf16" as 0, 1, 2, 3; NULL where the processor lacks it. */
const ck_kernels *_Nullable ck_at(int level);

/* Packs W [outputs, inputs] into panels: for each panel of 16 outputs, for each input, 16 floats. */
void ck_pack(const float *w, ptrdiff_t stride, ptrdiff_t outputs, ptrdiff_t inputs, float *panels);
/* The same in bfloat16, rounded to nearest, ties to even. */
void ck_pack_narrow(const float *w, ptrdiff_t stride, ptrdiff_t outputs, ptrdiff_t inputs, uint16_t *panels);

#pragma clang assume_nonnull end

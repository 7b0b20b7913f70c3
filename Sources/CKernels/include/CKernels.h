#pragma once
#include <stddef.h>
#include <stdint.h>

/* The few hot loops, in C. Every kernel is written once over 16-lane vectors and compiled for each
 * instruction set; the best one that the processor has is chosen once, at first use.
 * All matrices are row-major float32, strides in elements; packed weights have a format.
 * Nothing here allocates or fails. */

/* Width of a panel of packed weights: 16 outputs side by side. */
#define CK_PANEL 16
/* Inputs that share a scale in the formats that have one. */
#define CK_GROUP 32

/* What panels hold. A panel of the first two has for each input 16 values side by side. In the other two the inputs
 * are padded to whole groups, and a weight is scale * level, which float32 holds exactly; the scales, bfloat16, lie
 * apart: for each panel, for each group, 16. Levels lie in words of 32 bits, 16 words side by side. A word of CK_INT8
 * has four inputs, the first in its lowest byte: level + 128, -127...127. A word of CK_INT4 has eight inputs, indices
 * of ck_int4_levels: the first four in the lower halves of its bytes, the others in the upper halves. */
enum { CK_FLOAT32 = 0, CK_BFLOAT16 = 1, CK_INT8 = 2, CK_INT4 = 3 };

#pragma clang assume_nonnull begin

/* Y = X Wt (+ bias) (+ Z Bt), or Y += .   With scales, X is rounded to 127 steps each way of the largest magnitude in
 * each row's group, and a group's sum is exact.   X [rows, inputs], W packed [outputs, inputs], Z [rows, extra],
 * B packed [outputs, extraInputs] of which the first `extra` input columns are used. */
typedef struct {
  const float *x;
  ptrdiff_t xStride;
  const void *panels;
  const uint16_t *_Nullable scales;
  ptrdiff_t rows, inputs, outputs;
  const float *_Nullable bias;
  const float *_Nullable z;
  ptrdiff_t zStride;
  const float *_Nullable extraPanels;
  ptrdiff_t extra, extraInputs;
  float *y;
  ptrdiff_t yStride;
  int accumulate, format;
  /* CK_BFLOAT16 alone: X is rounded to bfloat16 too, for products of pairs where the processor has them. */
  int rounded;
} ck_linear;

/* dX = dY W or +=, from the same panels; the first `columns` of the inputs are computed. */
typedef struct {
  const float *dY;
  ptrdiff_t dYStride;
  const void *panels;
  const uint16_t *_Nullable scales;
  ptrdiff_t rows, inputs, outputs, columns;
  float *dX;
  ptrdiff_t dXStride;
  int accumulate, format;
} ck_linear_backward;

/* C [m, n] = scale * op(A) op(B) or +=, the reduction over k in blocks of one fixed length. `padded`, for A B alone:
 * 16 values can be read from every 16th column of B's rows on, so B is read where it lies. */
typedef struct {
  const float *a;
  ptrdiff_t aStride;
  const float *b;
  ptrdiff_t bStride;
  ptrdiff_t m, n, k;
  float *c;
  ptrdiff_t cStride;
  float scale;
  int accumulate, padded;
} ck_product;

/* Causal attention of the query rows of one key-value head; query heads that share it are rows too.
 *     P = softmax(scale * Q Kt),  O = P V          Q, O [rows, size], P [rows, keys]
 * Row r stands at `position` + r / together and sees the keys up to its own place, the last `window` of them
 * where that is not 0. Keys lie in pages of `pageTokens`: K as panels of 16 keys (for each of `size` columns,
 * 16 keys side by side) from keyOffset, V row by row, `valueStride` apart and readable to a multiple of 16
 * columns, from valueOffset. Both products are one chain of multiply-adds each, so neither the page's length
 * nor the rows beside it change a row's bits. Pages are CK_FLOAT32 or CK_BFLOAT16, offsets count elements. P has room for a multiple of 16 columns and is left holding the
 * probabilities, zero where a row sees nothing, from the first key that any row sees. O is overwritten. */
typedef struct {
  const float *q;
  ptrdiff_t qStride, rows, together, size;
  int format;
  const void *_Nonnull const *_Nonnull pages;
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
  /* Packs W [outputs, inputs] as CK_INT8 or CK_INT4. A group's scale is the one of a few candidates, the best for its
   * levels (least squares) among them, that leaves the smallest squared error; a group with a value that is not finite
   * becomes not-a-number. The same bits on every instruction set. */
  void (*quantise)(const float *w, ptrdiff_t stride, ptrdiff_t outputs, ptrdiff_t inputs, int format, void *panels,
                   uint16_t *scales);
  void (*adamw)(const ck_adamw *, const float *gradient, float *value, float *first, float *second,
                ptrdiff_t n);
} ck_kernels;

/* The best set this processor runs. */
const ck_kernels *ck_best(void);
/* "scalar", "avx2", "avx512", "avx512vnni", "avx512bf16" as 0...4; NULL where the processor lacks it. */
const ck_kernels *_Nullable ck_at(int level);

/* Packs W [outputs, inputs] into panels: for each panel of 16 outputs, for each input, 16 floats. */
void ck_pack(const float *w, ptrdiff_t stride, ptrdiff_t outputs, ptrdiff_t inputs, float *panels);
/* The same in bfloat16, rounded to nearest, ties to even. */
void ck_pack_narrow(const float *w, ptrdiff_t stride, ptrdiff_t outputs, ptrdiff_t inputs, uint16_t *panels);

/* Inputs of a panel as it lies in memory, and the bytes of its values and of its scales. */
ptrdiff_t ck_padded(ptrdiff_t inputs, int format);
ptrdiff_t ck_panel_bytes(ptrdiff_t inputs, int format);
ptrdiff_t ck_scale_bytes(ptrdiff_t inputs, int format);

/* One row of W as float32. */
void ck_row(const void *panels, const uint16_t *_Nullable scales, int format, ptrdiff_t inputs, ptrdiff_t output,
            float *row);

/* The least-squares levels of normally distributed weights (Lloyd, IEEE Trans. Inf. Theory 28, 1982), 0 among them. */
extern const float ck_int4_levels[16];
/* The same + 128, aligned to 16 bytes. */
extern const uint8_t ck_int4_bytes[16];

#pragma clang assume_nonnull end

/* The kernels of one instruction set, gathered under one name. Included last. */
#define CK_TABLE(SYMBOL, NAME)                                                                  \
  const ck_kernels SYMBOL = {                                                                   \
      .name = NAME, .linear = linear, .linear_backward = linear_backward,                       \
      .product_nt = product_nt, .product_nn = product_nn, .product_tn = product_tn,             \
      .activate = activate, .activate_backward = activate_backward, .layer_norm = layer_norm,   \
      .layer_norm_backward = layer_norm_backward, .softmax = softmax,                           \
      .softmax_backward = softmax_backward, .axpby = axpby, .add = add, .multiply = multiply,   \
      .dot = dot, .quantise = quantise, .adamw = adamw, .attention = attention, .rms_norm = rms_norm,                 \
      .rms_norm_backward = rms_norm_backward, .swiglu = swiglu,                                 \
      .swiglu_backward = swiglu_backward, .rotate = rotate}

/* Zero-padded copies of parts of an image. */
#ifndef SHIFTADDAUG_SLAB_H
#define SHIFTADDAUG_SLAB_H

#include "core.h"
#include "simd.h"

/* Rows and columns [low, high) of an image, channels [first, first + count); what lies outside is zero. */
typedef struct {
    int64_t low[2], high[2];
} Window;

INLINE int64_t slab_row(const Window *w, int64_t channels) { return (w->high[1] - w->low[1]) * channels; }

INLINE int64_t slab_floats(const Window *w, int64_t channels) { return (w->high[0] - w->low[0]) * slab_row(w, channels); }

/* image: first channel of pixel (0, 0); strides of rows and columns; slab: [rows][columns][channels]. */
static void pack_slab(const float *image, int64_t row_stride, int64_t column_stride, const int64_t size[2],
                      const Window *window, int64_t channels, float *slab) {
    int64_t left = window->low[1] < 0 ? -window->low[1] : 0;
    int64_t columns = window->high[1] - window->low[1];
    int64_t inside = (window->high[1] < size[1] ? window->high[1] : size[1]) - window->low[1]; /* one past the last */
    if (inside < left) inside = left;
    for (int64_t row = window->low[0]; row < window->high[0]; row++, slab += columns * channels) {
        if (row < 0 || row >= size[0] || inside == left) {
            memset(slab, 0, sizeof(float) * (size_t)(columns * channels));
            continue;
        }
        const float *from = image + row * row_stride + (window->low[1] + left) * column_stride;
        memset(slab, 0, sizeof(float) * (size_t)(left * channels));
        if (column_stride == channels) {
            memcpy(slab + left * channels, from, sizeof(float) * (size_t)((inside - left) * channels));
        } else {
            for (int64_t c = left; c < inside; c++, from += column_stride)
                memcpy(slab + c * channels, from, sizeof(float) * (size_t)channels);
        }
        memset(slab + inside * channels, 0, sizeof(float) * (size_t)((columns - inside) * channels));
    }
}

INLINE int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

/* Inputs that output rows (or columns) [low, high) read along one axis. */
INLINE void input_range(const Problem *p, int axis, int64_t low, int64_t high, Window *w) {
    w->low[axis] = low * p->stride[axis] - p->padding[axis];
    w->high[axis] = (high - 1) * p->stride[axis] - p->padding[axis] + p->dilation[axis] * (p->kernel[axis] - 1) + 1;
}

/* Outputs that read inputs [low, high) along one axis, those beyond the output's border included. */
INLINE void output_range(const Problem *p, int axis, int64_t low, int64_t high, Window *w) {
    w->low[axis] = floor_div(low + p->padding[axis] - p->dilation[axis] * (p->kernel[axis] - 1), p->stride[axis]);
    w->high[axis] = floor_div(high - 1 + p->padding[axis], p->stride[axis]) + 1;
}

#endif
